# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a daemon that does not start, where a change of it was cut off.

It runs on the host, by a unit that docker.service starts where it failed (ExecStopPost=). While a
run is at work it waits: that one rolls back by itself, unless it dies over it.
"""

from __future__ import annotations

import sys
import time

from . import certificates
from .errors import DockerdError
from .host import Host
from .instance import Instance
from .journal import forget, read, take_try
from .recovery import committed, instance_of, put_back
from .rollback import restore

# All imports at once: the roll-back may put another program in the place of this one.
__all__ = ["certificates", "did_not_start", "main"]
PATIENCE = 60.0  # seconds in which the former daemon has to start, and systemd to make up its mind
SHOWN = (
    "SubState",
    "ActiveState",
    "ActiveEnterTimestampMonotonic",
    "InactiveExitTimestampMonotonic",
)
STARTED = "ExecMainStartTimestampMonotonic"
PASSING = ("activating", "deactivating", "reloading")


def main(arguments: list[str]) -> int:
    """``system``: whose daemon. Returns the exit status."""
    host = Host()
    try:
        instance = instance_of(arguments[0], host)
        with host.locked(instance.lock_path):
            host.remove(instance.expected_path)
            return _rescue(instance, host.seen_by(instance.user, instance.safety))
    except (DockerdError, OSError, ValueError, KeyError) as error:
        sys.stderr.write("%s\n" % error)
        return 1


def _rescue(instance: Instance, host: Host) -> int:
    left = read(instance, host)
    if not left or not did_not_start(instance, host):
        return 0
    if committed(left, instance, host):
        forget(instance, host, left)
        return 0
    if left.config_path in put_back(host, left)[1]:
        sys.stderr.write("%s is somebody else's: left to the next run\n" % left.config_path)
        return 0
    if not take_try(instance, host):
        sys.stderr.write("the former configuration does not start either\n")
        return 1
    for note in restore(instance, host, left, PATIENCE).notes:
        sys.stderr.write("%s\n" % note)
    sys.stderr.write("a change of Docker's configuration was cut off; the former one is back\n")
    return 0


def did_not_start(instance: Instance, host: Host) -> bool:
    """Whether the daemon is down because a start of it failed.

    One that runs is the next run's business. Where a stop failed, whoever stopped it wants it down.
    """
    names = "--property=" + ",".join([*SHOWN, STARTED])
    deadline = time.monotonic() + PATIENCE
    while True:
        shown = host.run(instance.systemctl("show", names, instance.service)).out
        told = dict(line.partition("=")[::2] for line in shown.splitlines())
        step, state, up, *tried = (told.get(name, "") for name in (*SHOWN, STARTED))
        if state not in PASSING:
            break
        if step.startswith("auto-restart") and int(tried[-1] or 0) > int(up or 0):
            return True  # where no limit is set, systemd would try the same for ever
        if time.monotonic() > deadline:
            return False  # should it fail after all, systemd calls again
        time.sleep(0.2)  # it may be about to try once more
    if state == "inactive":
        return True  # it failed, and a rescue that was killed over it had reset that
    return state == "failed" and max(int(one or 0) for one in tried) > int(up or 0)
