# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes of what the daemon reads and listens on, by bit mask."""

from __future__ import annotations

from ..findings import Control, Verdict, broken, not_applicable, unknown
from ..snapshot import Snapshot
from ..told import TLS_DIRECTIVES

_LATER = ("1.6", "1.7", "1.8")  # chapter 3 has the same ids in all three


def _cis(*ids: str) -> dict:
    return {version: ", ".join(ids) for version in _LATER}


def loose(mode: int, allowed: int) -> bool:
    """Whether a mode grants anything beyond ``allowed``, special bits included."""
    return bool(mode & ~allowed & 0o7777)


def _judge(snapshot: Snapshot, paths: list[str], allowed: int, owner: str = "root:root") -> Verdict:
    problems = []
    seen = False
    hidden = [snapshot.unreadable[path] for path in paths if path in snapshot.unreadable]
    for path in paths:
        status = snapshot.files.get(path)
        if not status:
            continue
        seen = True
        real = ":".join(snapshot.owners[path])
        if real != owner:
            problems.append("%s belongs to %s, not %s" % (path, real, owner))
        if loose(status.mode, allowed):
            problems.append("%s has mode %04o, more than %04o" % (path, status.mode, allowed))
    if hidden and not problems:
        return unknown("; ".join(hidden))
    if not seen:
        return not_applicable("%s: not there" % ", ".join(paths))
    return broken(problems)


def _named(directive: str):
    def paths(snapshot: Snapshot) -> list[str]:
        value = snapshot.told.setting(directive)
        return [value] if isinstance(value, str) else []

    return paths


def _unit(name: str):
    def paths(snapshot: Snapshot) -> list[str]:
        unit = getattr(snapshot.told, name)
        return [path for path in [unit.path, *unit.dropins] if path] if unit else []

    return paths


def _file(paths, allowed: int):
    return lambda snapshot: _judge(snapshot, paths(snapshot) or ["no such file"], allowed)


def _socket(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return unknown("a socket exists on a running host only")
    inode, path = snapshot.does.inode, snapshot.instance.socket_path
    if inode is None:
        return not_applicable("%s is not there" % path)
    user, group = snapshot.owners[path]
    wanted = snapshot.socket_owner
    problems = []
    if (user, group) != wanted[:2]:
        problems.append("%s belongs to %s:%s, not %s:%s" % (path, user, group, *wanted[:2]))
    if user != "root":
        problems.append("%s belongs to %s" % (path, user))
    if loose(inode.mode, wanted[2] & 0o660):
        problems.append("%s has mode %04o, more than %04o" % (path, inode.mode, wanted[2] & 0o660))
    return broken(problems)


CONTROLS = [
    Control(
        "socket-owner",
        "The unix socket belongs to whom its unit says, and to nobody else",
        "critical",
        "Whoever can write to the socket is root on the host.",
        "Set dockerd_socket_user, dockerd_socket_group and dockerd_socket_mode.",
        _socket,
        _cis("3.15", "3.16"),
    ),
    Control(
        "config-owner",
        "daemon.json belongs to root and nobody else writes it",
        "high",
        "Whoever writes daemon.json commands a root daemon.",
        "Run the dockerd role.",
        _file(lambda snapshot: [snapshot.told.config_path], 0o644),
        _cis("3.17", "3.18"),
    ),
    Control(
        "config-directory-owner",
        "The directory of daemon.json belongs to root and nobody else writes it",
        "high",
        "Whoever writes the directory replaces the file.",
        "chown root:root and chmod 0755 the directory.",
        _file(lambda snapshot: [snapshot.told.config_path.rpartition("/")[0]], 0o755),
        _cis("3.5", "3.6"),
    ),
    Control(
        "service-owner",
        "docker.service and its drop-ins belong to root and nobody else writes them",
        "high",
        "Whoever writes a unit chooses what root runs.",
        "chown root:root and chmod 0644 the file named.",
        _file(_unit("service"), 0o644),
        _cis("3.1", "3.2"),
    ),
    Control(
        "socket-unit-owner",
        "docker.socket and its drop-ins belong to root and nobody else writes them",
        "high",
        "Whoever writes the unit decides who owns the socket.",
        "chown root:root and chmod 0644 the file named.",
        _file(_unit("socket"), 0o644),
        _cis("3.3", "3.4"),
    ),
    Control(
        "authority-owner",
        "The client authority's certificate belongs to root and nobody writes it",
        "high",
        "Whoever replaces it decides which clients are let in.",
        "Run the dockerd_tls role.",
        _file(_named(TLS_DIRECTIVES[2]), 0o444),
        _cis("3.9", "3.10"),
    ),
    Control(
        "certificate-owner",
        "The server certificate belongs to root and nobody writes it",
        "medium",
        "A replaced certificate takes the daemon off the network.",
        "Run the dockerd_tls role.",
        _file(_named(TLS_DIRECTIVES[3]), 0o444),
        _cis("3.11", "3.12"),
    ),
    Control(
        "key-owner",
        "Only root reads the server's key",
        "critical",
        "Whoever has the key answers as this host.",
        "Run the dockerd_tls role; remove a key that others could read, so that it is made anew.",
        _file(_named(TLS_DIRECTIVES[4]), 0o400),
        _cis("3.13", "3.14"),
    ),
    Control(
        "defaults-owner",
        "/etc/default/docker belongs to root and nobody else writes it",
        "high",
        "It holds flags of a root daemon.",
        "chown root:root and chmod 0644 /etc/default/docker.",
        _file(lambda snapshot: ["/etc/default/docker"], 0o644),
        _cis("3.19", "3.20"),
    ),
]
