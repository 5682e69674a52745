# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which files are written, so that a host that is cut off in between is safe.

Whatever has been written when power fails, or when somebody else restarts dockerd: it starts, and
it serves TCP to nobody without verification. That holds in both directions, for a change and for
its roll-back:

1. what guards and recovers comes first, and goes last;
2. a TCP listener that goes, goes before anything that verifies its clients;
3. daemon.json and the command line never give one directive twice, which dockerd refuses: what
   conflicts leaves the file before the units change, and enters it after systemd has read them;
4. a TCP listener that comes, comes after everything that verifies its clients.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Callable

from .errors import HostError
from .host import ANYTHING, Host
from .instance import Instance
from .journal import Entry, Journal, announce, ready


@dataclass
class Change:
    """One file as it shall be.

    ``expected`` are the bytes that it replaces, and once it is written its own. A ``foreign`` file
    is somebody else's: whatever is written of it, it never becomes ours to replace.
    """

    wanted: Entry
    expected: object = ANYTHING
    foreign: bool = False


def lay(
    instance: Instance,
    host: Host,
    journal: Journal,
    changes: list[Change],
    flags: list[str],
    reload_units: Callable[[], None],
    stop_tls: Callable[[], None],
    go_on: bool = False,
) -> list[HostError]:
    """Write these files, in order.

    ``flags`` are the directives that the command line gives once the units are written.
    ``reload_units`` makes systemd read them, ``stop_tls`` closes a TCP listener that goes.

    Raises HostError at the first file that cannot be written. With ``go_on``, as in a roll-back,
    it does all that is safe without that file, and returns what went wrong.
    """
    writer = _Writer(instance, host, journal, go_on)
    guards = [one for one in changes if one.wanted.path in instance.safety]
    listener = [one for one in changes if one.wanted.path == instance.tls_socket_path]
    told = [one for one in changes if one.wanted.path == journal.config_path]
    command = [one for one in changes if one.wanted.path == instance.command_dropin]
    rest = [one for one in changes if one not in (*guards, *listener, *told, *command)]
    comes, goes = _parted(guards)
    opens, closes = _parted(listener)
    if writer.all(comes):
        reload_units()
    unread = writer.all(closes)
    # Each of the next three may only be as it shall be where the one before it is.
    closed = writer.done(closes)
    clear = closed and all(one.foreign or writer.make_way(one, flags) for one in told)
    unread |= writer.all([*command, *rest] if clear else rest)
    if unread:
        reload_units()
    if closes:
        stop_tls()
    if clear and writer.done(command):
        writer.all(told)
    unread = writer.done([*comes, *told]) and writer.all(opens)
    if closed:
        unread |= writer.all(goes[::-1])  # none goes before what calls it
    if unread:
        reload_units()
    return writer.failures


def _parted(changes: list[Change]) -> tuple[list[Change], list[Change]]:
    """The files that shall be there, and those that shall not."""
    there = [one for one in changes if one.wanted.data is not None]
    return there, [one for one in changes if one.wanted.data is None]


class _Writer:
    """Writes what differs, each write announced in the journal."""

    def __init__(self, instance: Instance, host: Host, journal: Journal, go_on: bool) -> None:
        self._instance, self._host, self._journal = instance, host, journal
        self._go_on = go_on
        self.failures: list[HostError] = []

    def all(self, changes: list[Change]) -> bool:
        """Write some files; whether any of them had to be."""
        written = [self.put(change) for change in changes]
        return any(written)

    def put(self, change: Change) -> bool:
        """Write one file, or remove it; whether that was done."""
        host, wanted = self._host, change.wanted
        try:
            if same(host, wanted):
                return False
            if not change.foreign:
                announce(self._instance, host, self._journal, wanted.path, wanted.data)
            if wanted.data is None:
                host.remove(wanted.path, change.expected)
            elif self._go_on and _lies_ready(host, wanted):
                # What lies ready is for the way back: a disk that is full meanwhile bars it not.
                host.promote(wanted.path, ready(host, wanted), change.expected)
                with suppress(HostError):  # should this be cut off, and gone through once more
                    owner = (wanted.uid, wanted.gid)
                    host.write(ready(host, wanted), wanted.data, wanted.mode, *owner)
            else:
                owner = (wanted.uid, wanted.gid)
                host.write(wanted.path, wanted.data, wanted.mode, *owner, change.expected)
            change.expected = wanted.data
        except HostError as error:
            self._fail(error)
            return False
        return True

    def done(self, changes: list[Change]) -> bool:
        """Whether these files are as they shall be."""
        try:
            return all(same(self._host, change.wanted) for change in changes)
        except HostError as error:
            self._fail(error)
            return False

    def _fail(self, error: HostError) -> None:
        if not self._go_on:
            raise error
        self.failures.append(error)

    def make_way(self, change: Change, flags: list[str]) -> bool:
        """Take out of daemon.json what the command line is about to give; whether it is out."""
        path = change.wanted.path
        try:
            text, status = without(self._host.read(path), flags), self._host.stat(path)
        except HostError as error:
            self._fail(error)
            return False
        except FileNotFoundError:
            return True
        if text is None or not status:
            return True
        entry = Entry(path, text, status.mode, status.uid, status.gid)
        way = Change(entry, change.expected)
        if not self.put(way):
            return False
        change.expected = way.expected
        return True


def without(data: bytes | None, flags: list[str]) -> bytes | None:
    """daemon.json without what the command line gives; None where it gives none of that."""
    try:
        told = json.loads(data or b"{}")
        fewer = {name: value for name, value in told.items() if name not in flags}
    except (ValueError, AttributeError, RecursionError):
        return None
    return (json.dumps(fewer, indent=4) + "\n").encode() if len(fewer) < len(told) else None


def _lies_ready(host: Host, wanted: Entry) -> bool:
    with suppress(HostError):  # somebody put something else there, such as a directory
        return same(host, replace(wanted, path=ready(host, wanted)))
    return False


def same(host: Host, wanted: Entry) -> bool:
    """Whether a file is as it shall be already."""
    status = host.stat(wanted.path)
    if status is None or wanted.data is None:
        return status is None and wanted.data is None
    now = (status.mode, status.uid, status.gid)
    try:
        data = host.read(wanted.path)
    except FileNotFoundError:
        return False  # since the line above
    return now == (wanted.mode, wanted.uid, wanted.gid) and data == wanted.data
