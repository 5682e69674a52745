# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator wants of the users of a host, and what of it no host could give."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass

from .host import Host

PRIVILEGED = 1024  # the kernel's own ip_unprivileged_port_start
# Names that a user may have, and those that useradd(8) gives. What is all digits is a number.
NAME = re.compile(r"(?![0-9]+$)[^-\s:/][^\s:/]*")
NEW_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LISTENER = re.compile(r"(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\]):([0-9]{1,5})")


@dataclass(frozen=True)
class Wanted:
    """A user as the operator wants it."""

    name: str
    absent: bool = False
    create: bool = True
    shell: str = "/bin/bash"
    data_root: str = ""  # where the containers lie, if not below the home
    purge: bool = False  # of an absent user the containers, too
    listen: tuple = ()  # addresses and ports


def problems(host: Host, users: list[Wanted], lowest_port: int) -> list[str]:
    """What is wrong with the variables. Only the accounts are looked up on the host."""
    found = [
        "dockerd_rootless_users: %s." % problem
        for number, one in enumerate(users)
        for problem in _user_problems(host, one, users[:number], lowest_port)
    ]
    if not 0 <= lowest_port <= PRIVILEGED:
        found.append(
            "dockerd_rootless_lowest_port: %d is no port from 0 to %d." % (lowest_port, PRIVILEGED)
        )
    return found


def _user_problems(host: Host, one: Wanted, others: list, lowest_port: int) -> list[str]:
    uid = host.uid(one.name) if NAME.fullmatch(one.name) else None
    if not (NAME if uid is not None or one.absent else NEW_NAME).fullmatch(one.name):
        return ["%r is no name of a user, useradd(8)" % one.name]
    found = [
        "%s and %s are the same user" % (other.name, one.name)
        for other in others
        if other.name == one.name or (uid is not None and host.uid(other.name) == uid)
    ]
    home = host.known(one.name).home if uid is not None else "/home/" + one.name
    above = posixpath.normpath(one.data_root or "/none").rstrip("/") + "/"
    if not posixpath.isabs(one.data_root or "/") or (home + "/").startswith(above):
        found.append(
            "the data_root of %s, %s, is no directory of its own; write an absolute path, and not"
            " that of the home or above it" % (one.name, one.data_root)
        )
    if not re.fullmatch(r"/[^\s:]+", one.shell):
        found.append("the shell of %s, %r, is no absolute path" % (one.name, one.shell))
    for address in one.listen:
        listener = _listener(address)
        if not listener:
            found.append(
                "%s listens on %r, which is no address and port. Write them as in 0.0.0.0:2376 or"
                " [::]:2376; names are not looked up" % (one.name, address)
            )
        elif listener[1] < lowest_port:
            found.append(
                "%s listens on %s, and ports below %d are root's. Choose another, or lower"
                " dockerd_rootless_lowest_port" % (one.name, address, lowest_port)
            )
        found += [
            "%s and %s both listen on %s" % (other.name, one.name, address)
            for other in others
            if not other.absent
            and any(_same(listener, _listener(theirs)) for theirs in other.listen)
        ]
    return found


def _listener(text: str) -> tuple | None:
    """Address and port; None for what is none."""
    match = _LISTENER.fullmatch(text)
    try:
        address = ipaddress.ip_address((match.group(1) or match.group(2)) if match else "")
    except ValueError:
        return None
    version, port = 4 if match.group(1) else 6, int(match.group(3))
    return (address, port) if address.version == version and 0 < port < 65536 else None


def _same(one: tuple | None, other: tuple | None) -> bool:
    """Whether two listeners are in each other's way."""
    if not one or not other or one[1] != other[1]:
        return False
    return one[0] == other[0] or one[0].is_unspecified or other[0].is_unspecified
