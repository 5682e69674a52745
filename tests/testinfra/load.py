#!/usr/bin/python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a daemon's unix socket and a container without pause until told to stop; count the losses.

Runs on the host, and is given two addresses: the container's own, and the host's, where the port
that it publishes is reached through the packet filter as from another machine. Writes
/var/tmp/load.json on SIGTERM, and ends by itself after five minutes.
"""

import json
import signal
import socket
import sys
import threading
import time

SECONDS = 300
stop = threading.Event()


class Load(threading.Thread):
    """Requests to one address, one after the other, each on a connection of its own."""

    def __init__(self, family, address, request, pause):
        super().__init__(daemon=True)
        self._where = (family, address, request, pause)
        self.result = {"requests": 0, "lost": 0, "slowest": 0.0, "why": []}

    def run(self):
        family, address, request, pause = self._where
        while not stop.is_set():
            started = time.monotonic()
            self.result["requests"] += 1
            try:
                with socket.socket(family) as connection:
                    connection.settimeout(30)
                    connection.connect(address)
                    connection.sendall(request)
                    if not connection.recv(12).startswith(b"HTTP/1."):
                        raise OSError("no answer")
            except OSError as error:
                self.result["lost"] += 1
                self.result["why"] = (self.result["why"] + [str(error)])[:5]
            self.result["slowest"] = max(self.result["slowest"], time.monotonic() - started)
            time.sleep(pause)


signal.signal(signal.SIGTERM, lambda *_rest: stop.set())
loads = {
    "socket": Load(socket.AF_UNIX, "/run/docker.sock", b"GET /_ping HTTP/1.0\r\n\r\n", 0.0005),
    "container": Load(socket.AF_INET, (sys.argv[1], 8080), b"GET / HTTP/1.0\r\n\r\n", 0.02),
    "published": Load(socket.AF_INET, (sys.argv[2], 8080), b"GET / HTTP/1.0\r\n\r\n", 0.02),
}
for load in loads.values():
    load.start()
stop.wait(SECONDS)
stop.set()
time.sleep(1)
with open("/var/tmp/load.json", "w", encoding="utf-8") as file:
    json.dump({name: load.result for name, load in loads.items()}, file)
