# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes of what the daemon reads and listens on, by bit mask: CIS chapter 3."""

from __future__ import annotations

import os
from typing import Callable

from ..findings import NOT_RUNNING, Control, Verdict, broken, failed, not_applicable, unknown
from ..snapshot import DEFAULTS, Snapshot
from ..told import TLS_DIRECTIVES, Place

_LATER = ("1.6", "1.7", "1.8")  # chapter 3 has the same ids in all three


def _cis(*ids: str) -> dict:
    return {version: ", ".join(ids) for version in _LATER}


def loose(mode: int, allowed: int) -> bool:
    """Whether a mode grants anything beyond ``allowed``, special bits included."""
    return bool(mode & ~allowed & 0o7777)


def _owners(snapshot: Snapshot) -> list[str]:
    """Who may own the files of an instance, the best first."""
    return [snapshot.owner, "root:root"] if snapshot.instance.rootless else ["root:root"]


def _judge(snapshot: Snapshot, allowed: dict[str, int]) -> Verdict:
    """Judge files by path, each with the most that its mode may grant."""
    if not snapshot.whole:
        return not_applicable("a directory with a few files in it says nothing of owners")
    problems = []
    owners = _owners(snapshot)
    for path, most in allowed.items():
        status = snapshot.files.get(path)
        if not status:
            continue
        real = ":".join(snapshot.owners[path])
        if real not in owners:
            problems.append((path, "%s belongs to %s, not %s" % (path, real, owners[0])))
        if loose(status.mode, most):
            problems.append((path, "%s has mode %04o, more than %04o" % (path, status.mode, most)))
    hidden = [snapshot.unreadable[path] for path in allowed if path in snapshot.unreadable]
    if hidden and not problems:
        return unknown("; ".join(hidden))
    seen = [path for path in allowed if snapshot.files.get(path)]
    if not seen:
        return not_applicable("%s: not there" % ", ".join(allowed or ["no such file"]))
    places = {path: Place(path) for path, dummy in problems}
    return broken([text for dummy, text in problems], places.values(), ", ".join(seen))


def _files(paths: Callable[[Snapshot], list[str]], allowed: int):
    """A control on some files that may all have the same mode."""
    return lambda snapshot: _judge(snapshot, dict.fromkeys(paths(snapshot), allowed))


def _named(directive: str):
    def paths(snapshot: Snapshot) -> list[str]:
        value = snapshot.told.setting(directive)
        return [value] if isinstance(value, str) else []

    return paths


def _unit(*names: str):
    def paths(snapshot: Snapshot) -> list[str]:
        units = filter(None, (getattr(snapshot.told, name) for name in names))
        return [path for unit in units for path in [unit.path, *unit.dropins] if path]

    return paths


def _registries(snapshot: Snapshot) -> Verdict:
    """Keys as strictly as the server's; the certificates may be read by all."""
    modes = {path: 0o400 if path.endswith(".key") else 0o444 for path in snapshot.registries}
    return _judge(snapshot, modes)


def _defaults(snapshot: Snapshot) -> list[str]:
    return [] if snapshot.instance.rootless else list(DEFAULTS)


def _directories(snapshot: Snapshot) -> list[str]:
    found = {
        os.path.dirname(snapshot.told.config_path),
        os.path.dirname(snapshot.instance.config_path),
    }
    return sorted(path for path in found if path in snapshot.files)


def _socket(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return _socket_to_be(snapshot)
    inode, path = snapshot.does.inode, snapshot.instance.socket_path
    if inode is None:
        return not_applicable("%s is not there" % path)
    user, group = snapshot.owners[path]
    mode = inode.mode
    if snapshot.instance.rootless:
        # The group is the user's or one of the user's subordinate ids, as dockerd finds "docker";
        # the sticky bit keeps cleaners of the runtime directory away.
        wanted, mode = (snapshot.instance.user.name, group, 0o660), mode & 0o777
    else:
        wanted = ("root", *snapshot.socket_owner[1:])
    problems = []
    if (user, group) != wanted[:2]:
        problems.append("%s belongs to %s:%s, not %s:%s" % (path, user, group, *wanted[:2]))
    if loose(mode, wanted[2] & 0o660):
        problems.append("%s has mode %04o, more than %04o" % (path, mode, wanted[2] & 0o660))
    return broken(problems, [Place(path)], "%s:%s %04o" % (user, group, mode))


def _socket_to_be(snapshot: Snapshot) -> Verdict:
    """What is wrong with the unit, where there is no socket to see."""
    unit = snapshot.told.socket
    if unit is None or unit.masked:
        return not_applicable(NOT_RUNNING)
    user, _group, mode = snapshot.socket_owner
    problems = []
    if user not in ("root", "0"):
        problems.append("SocketUser is %s" % user)
    if loose(mode, 0o660):
        problems.append("SocketMode is %04o, more than 0660" % mode)
    said = [unit.settings("Socket", name)[-1:] for name in ("SocketUser", "SocketMode")]
    places = [Place(at.path, at.line) for settings in said for at in settings]
    return failed("; ".join(problems), *places) if problems else not_applicable(NOT_RUNNING)


def _containerd(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    return _judge(snapshot, dict.fromkeys(filter(None, [snapshot.containerd]), 0o660))


def _members(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    if snapshot.does.inode is None:
        return not_applicable("%s is not there" % snapshot.instance.socket_path)
    trusted = {"root", snapshot.instance.user.name}
    strangers = sorted({*snapshot.does.members, *snapshot.does.primary} - trusted)
    group = snapshot.owners[snapshot.instance.socket_path][1]
    return broken(
        ["%s is in %s" % (name, group) for name in strangers], [Place("/etc/group")], group
    )


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
        "socket-group-members",
        "Nobody is in the socket's group",
        "medium",
        "Every member is root on the host without a password.",
        "Give dockerd_socket_group_members, and a waiver for those who must be there.",
        _members,
        {"1.6": "1.1.2", "1.7": "1.1.2", "1.8": "1.1.2"},
    ),
    Control(
        "config-owner",
        "daemon.json belongs to root and nobody else writes it",
        "high",
        "Whoever writes daemon.json commands the daemon.",
        "Run the dockerd role.",
        _files(lambda snapshot: [snapshot.told.config_path], 0o644),
        _cis("3.17", "3.18"),
    ),
    Control(
        "config-directory-owner",
        "The directory of daemon.json belongs to root and nobody else writes it",
        "high",
        "Whoever writes the directory replaces the file.",
        "chown root:root and chmod 0755 the directory.",
        _files(_directories, 0o755),
        _cis("3.5", "3.6"),
    ),
    Control(
        "service-owner",
        "docker.service and its drop-ins belong to root and nobody else writes them",
        "high",
        "Whoever writes a unit chooses what it runs.",
        "chown root:root and chmod 0644 the file named.",
        _files(_unit("service"), 0o644),
        _cis("3.1", "3.2"),
    ),
    Control(
        "socket-unit-owner",
        "The socket units and their drop-ins belong to root and nobody else writes them",
        "high",
        "Whoever writes the unit decides who owns the socket.",
        "chown root:root and chmod 0644 the file named.",
        _files(_unit("socket", "tls_socket"), 0o644),
        _cis("3.3", "3.4"),
    ),
    Control(
        "registry-certificates-owner",
        "Certificates and keys for registries belong to root, nobody writes them or reads the keys",
        "high",
        "Whoever replaces them decides which registry is trusted; whoever has a key is this host.",
        "chown root:root, chmod 0444 the certificates and 0400 the keys below certs.d.",
        _registries,
        _cis("3.7", "3.8"),
    ),
    Control(
        "authority-owner",
        "The client authority's certificate belongs to root and nobody writes it",
        "high",
        "Whoever replaces it decides which clients are let in.",
        "Run the dockerd_tls role.",
        _files(_named(TLS_DIRECTIVES[2]), 0o444),
        _cis("3.9", "3.10"),
    ),
    Control(
        "certificate-owner",
        "The server certificate belongs to root and nobody writes it",
        "medium",
        "A replaced certificate takes the daemon off the network.",
        "Run the dockerd_tls role.",
        _files(_named(TLS_DIRECTIVES[3]), 0o444),
        _cis("3.11", "3.12"),
    ),
    Control(
        "key-owner",
        "Only root reads the server's key",
        "critical",
        "Whoever has the key answers as this host.",
        "Run the dockerd_tls role; remove a key that others could read, so that it is made anew.",
        _files(_named(TLS_DIRECTIVES[4]), 0o400),
        _cis("3.13", "3.14"),
    ),
    Control(
        "defaults-owner",
        "The environment file of dockerd belongs to root and nobody else writes it",
        "high",
        "It holds flags of a root daemon.",
        "chown root:root and chmod 0644 the file named.",
        _files(_defaults, 0o644),
        # The order of owner and mode is turned about for /etc/sysconfig/docker.
        _cis("3.19", "3.20", "3.21", "3.22"),
    ),
    Control(
        "containerd-socket-owner",
        "containerd's socket belongs to root and nobody else uses it",
        "critical",
        "containerd runs containers as root for whoever can write to its socket.",
        "Restart containerd, which makes its socket root:root and 0660; remove what changes that.",
        _containerd,
        _cis("3.23", "3.24"),
    ),
]
