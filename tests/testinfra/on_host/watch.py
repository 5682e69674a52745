# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See what processes and files show while something else runs, until SIGTERM.

Arguments: the file for what was seen, seconds between two looks at /proc, and directories. Seen
are the command line and environment of each process (a look every so often, so one that is
shorter than that may be missed) and each file that is made in these directories, or in new ones
below them (inotify, so none is missed; one that is gone at once is known by its name only).
"""

import base64
import ctypes
import json
import os
import select
import signal
import struct
import sys

CREATE, MOVED_TO, CLOSE_WRITE, ONLY_DIRECTORY = 0x100, 0x80, 0x8, 0x01000000
EVENT = struct.Struct("iIII")
LARGEST = 1 << 18


class Watch:
    """What was seen so far."""

    def __init__(self, directories):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.queue = self.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self.watched = {}
        self.files = {}  # path -> [mode, uid, content] as often as it was something else
        self.processes = {}  # what /proc said -> which process
        for directory in directories:
            self.add(directory)

    def add(self, directory):
        mask = CREATE | MOVED_TO | CLOSE_WRITE | ONLY_DIRECTORY
        number = self.libc.inotify_add_watch(self.queue, os.fsencode(directory), mask)
        self.watched[number] = directory

    def look(self, path):
        """Keep what a file is now; go into a directory that is new."""
        seen = self.files.setdefault(path, [])
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                self.add(path)
                for name in os.listdir(path):
                    self.look(path + "/" + name)
                return
            status = os.lstat(path)
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
                data = base64.b64encode(file.read(LARGEST)).decode()
        except OSError:
            return
        entry = [status.st_mode & 0o7777, status.st_uid, data]
        if entry not in seen:
            seen.append(entry)

    def events(self, seconds):
        if not select.select([self.queue], [], [], seconds)[0]:
            return
        data = os.read(self.queue, 1 << 16)
        while data:
            number, _mask, _cookie, length = EVENT.unpack_from(data)
            name = data[EVENT.size : EVENT.size + length].rstrip(b"\0")
            data = data[EVENT.size + length :]
            if number in self.watched:
                self.look(self.watched[number] + "/" + os.fsdecode(name))

    def look_at_processes(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("cmdline", "environ"):
                try:
                    with open("/proc/%s/%s" % (pid, name), "rb") as file:
                        self.processes.setdefault(file.read().decode("latin-1"), name + pid)
                except OSError:
                    pass


def main(record, pause, *directories):
    watch = Watch(directories)
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    with open(record + ".ready", "w", encoding="ascii"):
        pass
    while going:
        watch.events(float(pause))
        watch.look_at_processes()
    with open(os.open(record, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
        json.dump({"files": watch.files, "processes": watch.processes}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
