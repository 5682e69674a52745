# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot does with a change that a loss of power cut off. It runs on the host, by a unit.

No daemon runs yet, so that files are all there is to put back. What was cut off without a boot is
the next run's, because there may be containers to keep.
"""

from __future__ import annotations

import sys

from .errors import DockerdError, HostError
from .host import Host
from .instance import Instance, rootless
from .journal import Journal, forget, read
from .writing import Change, lay

MANIFEST_TOKEN = '"transaction": "%s"'


def main(arguments: list[str]) -> int:
    """``system``, or the number of a user: whose daemon. Returns the exit status."""
    host = Host()
    try:
        instance = instance_of(arguments[0], host)
        with host.locked(instance.lock_path, wait=False):
            return _recover(instance, host.seen_by(instance.user, instance.safety))
    except DockerdError as error:
        sys.stderr.write("%s\n" % error)
        return 1


def instance_of(key: str, host: Host) -> Instance:
    """The daemon whose state is kept under this name. Raises HostError."""
    if key == "system":
        return Instance()
    user = next((user for user in host.users() if str(user.uid) == key), None)
    if not user or not host.stat(user.home):
        raise HostError("there is no user %s, or no home; the next run goes on with it" % key)
    return rootless(user)


def _recover(instance: Instance, host: Host) -> int:
    journal = read(instance, host)
    if not journal or not rebooted(journal, host):
        return 0
    if committed(journal, instance, host):
        forget(instance, host, journal)
        return 0
    changes, foreign = put_back(host, journal)
    for path in foreign:
        sys.stderr.write("%s was changed by somebody else meanwhile, and stays\n" % path)
    failures = lay(
        *(instance, host, journal, changes, journal.flags),
        lambda: _systemctl(host, "daemon-reload"),
        lambda: _systemctl(host, "stop", "--no-block", instance.tls_socket),
        go_on=True,
    )
    members = former_members(journal, host)
    if members is not None:
        host.run(["gpasswd", "--members", ",".join(members), journal.members[0]])
    if journal.enable:
        host.remove(instance.start_link)
    if instance.socket and host.stat(instance.tls_socket_path):
        # This boot has planned its jobs already, perhaps without a listener that was just put back.
        _systemctl(host, "start", "--no-block", instance.tls_socket)
    for failure in failures:
        sys.stderr.write("%s\n" % failure)
    if failures:
        return 1
    forget(instance, host, journal)
    sys.stderr.write("a change of Docker's configuration was cut off; the former one is back\n")
    return 0


def _systemctl(host: Host, *words: str) -> None:
    host.run(["systemctl", *words])


def rebooted(journal: Journal, host: Host) -> bool:
    """Whether the host has booted since the transaction began."""
    return journal.boot != host.boot


def committed(journal: Journal, instance: Instance, host: Host) -> bool:
    """Whether the transaction was cut off after its last write, so that all of it holds."""
    written = host.optional(instance.manifest_path) or b""
    return bool(journal.token) and (MANIFEST_TOKEN % journal.token).encode() in written


def former_members(journal: Journal, host: Host) -> list[str] | None:
    """The members of the socket's group without what the transaction did; None if that is nothing.

    Whom somebody else added or removed meanwhile, stays so.
    """
    if not journal.members:
        return None
    group, before, after = journal.members
    now = host.members(group)
    wanted = sorted({*now} - ({*after} - {*before}) | ({*before} - {*after}))
    return None if wanted == sorted(now) else wanted


def put_back(host: Host, journal: Journal) -> tuple[list[Change], list[str]]:
    """The changes that restore the former files, and those of somebody else, which stay."""
    changes, foreign = [], []
    for entry in journal.files:
        try:
            now = host.read(entry.path)
        except FileNotFoundError:
            now = None
        except DockerdError:
            foreign.append(entry.path)
            continue
        if journal.ours(entry.path, now):
            changes.append(Change(entry, now))
        else:
            foreign.append(entry.path)
    return changes, foreign
