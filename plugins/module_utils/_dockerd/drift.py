# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dockerd is told but does not do, and what it takes to bring it in.

State, not events: whether the daemon must reload or restart follows from what it is running
against what it is told, so that a run which died half-way is finished by the next.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from . import units
from .directives import DIRECTIVES
from .snapshot import Snapshot
from .told import activated, strings

RELOAD, RESTART = "reload", "restart"
# The service cannot keep running while one of its sockets is made anew: both restart together.
RESTART_TLS, RESTART_UNIX = "restart with docker-tls.socket", "restart with docker.socket"
# What a reload sets back where it is no longer told. All else it leaves as it was, debug or an
# insecure registry: moby daemon/reload.go, and reload() in cmd/dockerd/daemon.go.
RESET = {
    "authorization-plugins",
    "features",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "network-diagnostic-port",
}
UPGRADED = "dockerd runs from a file that was replaced since, as by an upgrade"


@dataclass(frozen=True)
class Gap:
    """One difference between told and done. ``need`` is what closes it."""

    what: str
    need: str


def _security(name: str):
    return lambda info: any(
        option.split(",")[0] == "name=" + name for option in info.get("SecurityOptions") or []
    )


# Directives that /info shows: how to read them there, dockerd's default, and since when.
SHOWN = {
    "live-restore": (lambda info: info.get("LiveRestoreEnabled"), False, (1, 13)),
    "debug": (lambda info: info.get("Debug"), False, (1, 13)),
    "experimental": (lambda info: info.get("ExperimentalBuild"), False, (1, 13)),
    "log-driver": (lambda info: info.get("LoggingDriver"), "json-file", (1, 13)),
    "no-new-privileges": (_security("no-new-privileges"), False, (26, 0)),
}


def unapplied(snapshot: Snapshot) -> list[str]:
    """Directives for which the live daemon shows another value than it is told."""
    info = snapshot.does.info if snapshot.does else {}
    version = snapshot.told.version or ()
    return [
        name
        for name, (shown, default, since) in SHOWN.items()
        if info and version >= since and shown(info) != snapshot.told.setting(name, default)
    ]


def gaps(snapshot: Snapshot) -> list[Gap]:
    """Everything the running daemon lacks of what it is told; nothing for a directory of files."""
    told, does, instance = snapshot.told, snapshot.does, snapshot.instance
    if does is None:
        return []
    found = socket_gaps(snapshot)
    if not does.process or not does.active(instance.service):
        return [*found, Gap("%s is not running" % instance.service, RESTART)]
    if not does.answers:
        found.append(Gap("dockerd does not answer (%s)" % (does.problem or "no reason"), RESTART))
    # Not the binary: argv[0] is what systemd makes of it.
    if [word.text for word in told.words[1:]] != snapshot.read.words:
        found.append(Gap("dockerd runs with other flags than its unit gives", RESTART))
    if does.process.replaced:
        found.append(Gap(UPGRADED, RESTART))
    found += _directive_gaps(snapshot)
    certificate = snapshot.tls.leaf
    for address, answer in does.served.items():
        if certificate and answer[0] and answer[0] != certificate:
            found.append(Gap("%s serves another certificate than tlscert" % address, RESTART))
    return found


def socket_gaps(snapshot: Snapshot) -> list[Gap]:
    """What the daemon's sockets lack of what their units tell."""
    does, instance = snapshot.does, snapshot.instance
    found = tcp_gaps(snapshot)
    for path, value in snapshot.digests.items():
        if snapshot.read.digests.get(path, "") != value:
            socket = path == instance.tls_socket_path and does.active(instance.tls_socket)
            need = RESTART_TLS if socket else RESTART
            found.append(Gap("%s is newer than what dockerd has read" % path, need))
    return found + _unix_gaps(snapshot)


def tcp_gaps(snapshot: Snapshot) -> list[Gap]:
    """What the TCP listener lacks of what its unit tells, as far as the kernel shows it."""
    told, does, instance = snapshot.told, snapshot.does, snapshot.instance
    wanted = told.tls_socket is not None and not told.tls_socket.masked
    if wanted != does.active(instance.tls_socket):
        return [Gap("%s is %s" % (instance.tls_socket, "down" if wanted else "up"), RESTART)]
    if not wanted:
        return []
    found = [
        "%s does not listen at %s" % (instance.tls_socket, value)
        for value in units.listeners(told.tls_socket)
        if _let_go(does, does.bound, _places(value)) or _unheard(does, _places(value))
    ]
    # Whatever dockerd has read: the guard closes TCP when it starts anew.
    found += [
        "%s answers a client without a certificate" % address
        for address, (_served, answered) in does.served.items()
        if answered
    ]
    return [Gap(what, RESTART_TLS) for what in found]


def _unix_gaps(snapshot: Snapshot) -> list[Gap]:
    told, does, instance = snapshot.told, snapshot.does, snapshot.instance
    if not told.socket or told.socket.masked:
        return []
    loaded = does.units.get(instance.socket, {}).get("Listen", "").splitlines()
    ports = {activated(line.split()[0], "").port for line in loaded if line} - {0}
    wanted = {activated(value, "").port for value in units.listeners(told.socket)} - {0}
    if not does.active(instance.socket):
        what = "%s is down" % instance.socket
    elif does.active(instance.service) and (does.inode is None or does.refused):
        what = "nobody listens at %s" % instance.socket_path
    elif _let_go(does, does.paths, (instance.socket_path, "/var" + instance.socket_path)):
        what = "%s is active without a listener" % instance.socket
    elif ports != wanted:
        what = "%s listens on other ports than told" % instance.socket
    elif _took_over(snapshot):
        what = "dockerd made its own %s" % instance.socket_path
    else:
        return []
    return [Gap(what, RESTART_UNIX)]


def _places(value: str) -> list[tuple[str, int]]:
    """Where a ListenStream= address is bound; with a wildcard in either family.

    Nowhere that is known, where it is no address and port.
    """
    listener = activated(value, "")
    try:
        # The kernel's tables have no scope, systemd.socket(5) has.
        address = ipaddress.ip_address(listener.host.partition("%")[0])
    except ValueError:
        return []
    if not listener.port:
        return []
    hosts = ["0.0.0.0", "::"] if address.is_unspecified else [str(address)]
    return [(host, listener.port) for host in hosts]


def _let_go(does, bound: dict, places) -> bool:
    """Whether systemd holds a socket unit to be active and has no socket for it.

    So it is after a unit was masked, or read anew with another address: the next start of the
    service gets nothing, "not functional until restarted" in systemd's log.
    """
    return bool(does.manager and places) and not _inodes(bound, places) & does.manager


def _unheard(does, places) -> bool:
    """Whether dockerd was not given what systemd listens on."""
    return bool(does.manager and does.process and places) and not (
        _inodes(does.bound, places) & does.descriptors
    )


def _inodes(bound: dict, places) -> set:
    return set().union(*(bound.get(place, ()) for place in places))


def _took_over(snapshot: Snapshot) -> bool:
    """Whether dockerd, told -H unix://, put its own socket in the place of systemd's.

    That socket goes when dockerd stops, and systemd's is no longer reachable by its path.
    """
    process = snapshot.does.process
    if not process or not any(flag.value == "fd://" for flag in snapshot.told.flags):
        return False
    hosts = [
        flag.value
        for flag in units.flags(units.words(process.argv[1:]))
        if flag.directive == "hosts"
    ]
    hosts += strings((snapshot.read.data or {}).get("hosts"))
    return any(
        str(value).startswith("unix://")
        and str(value)[7:].replace("/var/run/", "/run/") in ("", snapshot.instance.socket_path)
        for value in hosts
    )


def _directive_gaps(snapshot: Snapshot) -> list[Gap]:
    told, running = snapshot.told, snapshot.read.data
    if running is None or told.document is None:
        return [Gap("%s changed after dockerd started" % told.config_path, RESTART)]
    names = [
        name
        for name in sorted(set(told.data) | set(running))
        if told.data.get(name) != running.get(name)
    ]
    if not snapshot.recorded:
        names += [name for name in unapplied(snapshot) if name not in names]
    found = []
    for name in names:
        directive = DIRECTIVES.get(name)
        if directive and directive.reloadable and (name in told.data or name in RESET):
            found.append(Gap("%s differs, which a reload applies" % name, RELOAD))
        elif directive and directive.reloadable:
            found.append(Gap("%s is told no more, which a reload passes over" % name, RESTART))
        else:
            found.append(Gap("%s differs, which dockerd reads at start only" % name, RESTART))
    return found


def stale(wanted: Snapshot, missed: list[Gap]) -> set[str]:
    """The socket units of an instance whose listeners are not as it is told."""
    needs, instance = {gap.need for gap in missed}, wanted.instance
    found = {instance.socket} if RESTART_UNIX in needs else set()
    # One that is told no more holds on to its listener until it is stopped.
    if RESTART_TLS in needs or wanted.told.tls_socket is None:
        found.add(instance.tls_socket)
    return found - {""}
