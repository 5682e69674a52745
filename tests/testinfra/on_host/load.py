# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a daemon for /_ping over mutual TLS, again and again, until SIGTERM.

Arguments: address, port, the client's DOCKER_CERT_PATH, and the file for the answers: a list of
[begin and end in seconds, what went wrong or nothing]. Each request is a connection of its own.
"""

import http.client
import json
import signal
import ssl
import sys
import time


def ping(address, port, context):
    connection = http.client.HTTPSConnection(address, port, timeout=30, context=context)
    try:
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        return "" if answer.read() == b"OK" else "status %d" % answer.status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main(address, port, directory, record):
    context = ssl.create_default_context(cafile=directory + "/ca.pem")
    context.load_cert_chain(directory + "/cert.pem", directory + "/key.pem")
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    answers = []
    while going:
        begin = time.time()
        trouble = ping(address, port, context)
        answers.append([begin, time.time(), trouble])
        time.sleep(0.002)
    with open(record, "w", encoding="ascii") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
