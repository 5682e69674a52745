# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last look before dockerd starts. It runs on the host, from a drop-in of docker.service.

docker-tls.socket hands dockerd a TCP listener, and what dockerd does with it is in daemon.json,
which others write, too. So each start asks whether that file still demands verified clients; if
not, the listener is closed and dockerd starts without it. While a run of ours is about to start
dockerd, it also asks whether what will be started is what the run wrote. And where a run was cut
off between a new certificate and its key, it puts both in place.

The standard library alone: each start of dockerd waits for this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time

from . import pair

UNVERIFIED, OVERTAKEN = 1, 3  # exit statuses; the drop-in closes TCP for any other than 0 and 3


def main(arguments: list[str]) -> int:
    """``CONFIG EXPECTED LOCK``: daemon.json, what a run of ours expects, and that run's lock."""
    config, expected, lock = arguments
    complete(config)
    for path in overtaken(expected, lock):
        sys.stderr.write("failed to start: somebody else changed %s meanwhile\n" % path)
        return OVERTAKEN
    if verifies(config):
        return 0
    sys.stderr.write("%s does not demand verified clients: TCP stays closed\n" % config)
    return UNVERIFIED


def complete(config: str) -> None:
    """Put a new certificate and its key in place that a run had decided on and not come to."""
    told = _told(config)
    certificate, key = str(told.get("tlscert", "")), str(told.get("tlskey", ""))
    try:
        if pair.waits(certificate) and pair.complete(certificate, key):
            # The kernel counts starts in ticks of 10 ms: dockerd's must be later than the files.
            time.sleep(0.02)
    except (OSError, ValueError) as error:
        sys.stderr.write("%s: %s\n" % (certificate, error))


def _told(config: str) -> dict:
    """The directives of daemon.json; none where they cannot be read."""
    try:
        with open(config, "rb") as file:
            told = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def verifies(config: str) -> bool:
    """Whether daemon.json demands client certificates of a named authority.

    Without tlscacert dockerd would trust every authority of the system.
    """
    told = _told(config)
    return (
        told.get("tlsverify") is True and bool(told.get("tlscacert")) and bool(told.get("tlscert"))
    )


def overtaken(expected: str, lock: str) -> list[str]:
    """Files that are not as the run wrote them that is about to start dockerd; none without one."""
    try:
        with open(expected, encoding="utf-8") as file:
            digests = json.load(file).items()
        if not _held(lock):
            return []  # the run that expected this is dead
    except (OSError, ValueError, AttributeError):
        return []
    return [path for path, value in digests if _digest(path) != value]


def _held(lock: str) -> bool:
    handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
