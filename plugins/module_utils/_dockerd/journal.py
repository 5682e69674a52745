# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The former state, as it lies on disk while a transaction runs.

It appears by one rename before the first change and goes by one rename after the last. Beside it
each write is announced before it is made, so that whoever finds the journal can tell what the run
wrote from what somebody else did.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Iterable

from .errors import HostError
from .host import READY, Host, digest
from .instance import Instance

TRIES = "/tries-%d"  # its name counts, because another name takes no space
RESCUES = 3  # what they do not mend, a fourth does not either
WAY_OUT = "; put back by hand what is whole in %s, and then remove that directory"


@dataclass
class Entry:
    """One file: its bytes, None for no file, and whose it is."""

    path: str
    data: bytes | None = None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass
class Journal:
    """What a transaction may have to put back."""

    files: list[Entry] = field(default_factory=list)
    inode: tuple[str, str, int] | None = None  # user, group, mode of the unix socket
    members: tuple[str, list[str], list[str]] | None = None  # group, before, after
    identity: list | None = None  # of the process that ran
    active: bool = False
    containers: dict = field(default_factory=dict)  # that must survive: id -> [name, pid]
    given_up: dict = field(default_factory=dict)  # that the operator lets stop
    keeps: bool = False  # whether live-restore may carry containers over a restart
    live_restore: bool = False  # as the daemon did it, whatever it was told
    by_flag: bool = False  # live-restore, which then may not be in the file as well
    flags: list[str] = field(default_factory=list)  # directives that the command line gave
    dependents: list[str] = field(default_factory=list)  # units that a restart takes along
    enable: bool = False  # the unit, which did not start at boot
    config_path: str = ""
    boot: str = ""  # of the host, see Host.boot
    token: str = ""  # of this transaction; a manifest that holds it was the last to be written
    written: dict[str, set[str]] = field(default_factory=dict)  # path -> digests of what we wrote

    def former(self, path: str) -> Entry | None:
        """What was there; None for a file that this transaction does not change."""
        return next((entry for entry in self.files if entry.path == path), None)

    def ours(self, path: str, data: bytes | None) -> bool:
        """Whether a file's bytes are the former ones, or such as this transaction wrote."""
        former = self.former(path)
        return bool(former and former.data == data) or digest(data) in self.written.get(path, ())


def keep(
    instance: Instance,
    host: Host,
    journal: Journal,
    paths: list[str],
    beside: list[str] | None = None,
    spares: Iterable[bytes] = (),
) -> Journal:
    """Put the former state of these files on disk, before the first change.

    Those in ``beside`` (None: all) also beside their places, so that a roll-back needs no space on
    the disk, and with them ``spares``, what daemon.json may have to hold on the way back.
    Raises HostError.
    """
    draft = instance.journal_directory + ".draft"
    host.remove_tree(draft)
    host.make_directory(draft, 0o700)
    journal.token, journal.boot = os.urandom(16).hex(), host.boot
    for number, path in enumerate(paths):
        status = host.stat(path)
        entry = Entry(path)
        if status:
            entry = Entry(path, host.read(path), status.mode, status.uid, status.gid)
            host.write("%s/%d" % (draft, number), entry.data or b"", 0o600)
        journal.files.append(entry)
    _write(host, journal, draft)
    host.append(draft + TRIES % RESCUES, b"", 0o600)
    host.rename(draft, instance.journal_directory)
    try:
        for entry in journal.files:
            if beside is not None and entry.path not in beside:
                continue
            those = spares if entry.path == journal.config_path else ()
            for data in those:
                announce(instance, host, journal, entry.path, data)
            for one in (entry, *(replace(entry, data=data) for data in those)):
                if one.data is not None:
                    host.write(ready(host, one), one.data, one.mode, one.uid, one.gid)
    except HostError:
        with suppress(HostError):
            forget(instance, host, journal)
        raise
    return journal


def ready(host: Host, entry: Entry) -> str:
    """Where these bytes lie ready to take a file's place, if they do."""
    return host.beside(entry.path, READY % digest(entry.data)[:12])


def take_try(instance: Instance, host: Host) -> bool:
    """Count one more try to bring the daemon back; whether there was one left. Raises HostError."""
    directory = instance.journal_directory
    for left in range(RESCUES, 0, -1):
        if host.stat(directory + TRIES % left):
            host.rename(directory + TRIES % left, directory + TRIES % (left - 1))
            return True
    return False


def amend(instance: Instance, host: Host, journal: Journal) -> None:
    """Put what is known of the containers on disk again."""
    _write(host, journal, instance.journal_directory)


def _write(host: Host, journal: Journal, directory: str) -> None:
    told = {name: value for name, value in journal.__dict__.items() if name != "written"}
    told["files"] = [
        {
            **entry.__dict__,
            "data": None,
            "blob": None if entry.data is None else str(number),
            "digest": digest(entry.data),
        }
        for number, entry in enumerate(journal.files)
    ]
    host.write(directory + "/journal.json", json.dumps(told).encode(), 0o600)


def announce(
    instance: Instance, host: Host, journal: Journal, path: str, data: bytes | None
) -> None:
    """Say what will be written, before it is."""
    if not journal.ours(path, data):
        # On a line of its own, whatever became of the one before it.
        line = "\n%s\n" % json.dumps([path, digest(data)])
        host.append(instance.journal_directory + "/written", line.encode(), 0o600)
        journal.written.setdefault(path, set()).add(digest(data))


def forget(instance: Instance, host: Host, journal: Journal) -> None:
    """Drop the former state in one step; a half removed one would be taken for damaged.

    Raises HostError.
    """
    draft = instance.journal_directory + ".draft"
    host.remove_tree(draft)
    host.rename(instance.journal_directory, draft)
    # Not before: a roll-back that is gone through once more needs what lies ready.
    for entry in journal.files:
        host.tidy(entry.path)
    host.remove_tree(draft)


def read(instance: Instance, host: Host) -> Journal | None:
    """The former state that an unfinished run left; None where there is none.

    Raises HostError where it cannot be made out.
    """
    directory = instance.journal_directory
    path, way_out = directory + "/journal.json", WAY_OUT % directory
    if host.stat(path) is None:
        if host.list(directory):
            raise HostError("%s has no journal.json%s" % (directory, way_out), path=directory)
        return None
    try:
        told = json.loads(host.read(path))
        journal = Journal(
            **{**told, "files": [_entry(host, directory, one) for one in told["files"]]}
        )
        _check(journal)
    except HostError as error:
        raise HostError("%s%s" % (error, way_out), path=path) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = "%s %s" % (type(error).__name__, error)
        raise HostError("%s is damaged (%s)%s" % (path, why, way_out), path=path) from error
    for line in (
        (host.optional(directory + "/written") or b"").decode("utf-8", "replace").splitlines()
    ):
        try:
            changed, value = json.loads(line)
            journal.written.setdefault(str(changed), set()).add(str(value))
        except (ValueError, TypeError, RecursionError):
            continue  # the last line of a run that was killed while it wrote it; no write followed
    return journal


def _entry(host: Host, directory: str, told: dict) -> Entry:
    data = None if told["blob"] is None else _kept(host, directory, told)
    return Entry(told["path"], data, told["mode"], told["uid"], told["gid"])


def _kept(host: Host, directory: str, told: dict) -> bytes:
    """A file's former bytes, from the journal or, where they are damaged, from beside its place."""
    kept = "%s/%d" % (directory, int(told["blob"]))
    for path in (kept, host.beside(told["path"], READY % told["digest"][:12])):
        with suppress(FileNotFoundError, HostError):
            data = host.read(path)
            if digest(data) == told["digest"]:
                return data
    raise HostError("%s does not hold what %s was" % (kept, told["path"]), path=kept)


def _check(journal: Journal) -> None:
    """Raises TypeError or ValueError for what the rest of us would stumble over."""
    for entry in journal.files:
        if not isinstance(entry.path, str) or not entry.path.startswith("/"):
            raise ValueError("%r is no path" % (entry.path,))
        if not all(isinstance(value, int) for value in (entry.mode, entry.uid, entry.gid)):
            raise ValueError("%s has no owner and mode" % entry.path)
        owners = (entry.uid, entry.gid)
        if not (0 <= entry.mode <= 0o7777 and all(0 <= one < 2**32 for one in owners)):
            raise ValueError("%s has an owner or a mode that cannot be" % entry.path)
    for several in (journal.flags, journal.dependents, journal.identity or []):
        if not isinstance(several, list):
            raise TypeError("%r is no list" % (several,))
    for text in (
        journal.config_path,
        journal.boot,
        journal.token,
        *journal.flags,
        *journal.dependents,
    ):
        if not isinstance(text, str):
            raise TypeError("%r is no text" % (text,))
    for containers in (journal.containers, journal.given_up):
        for label, pid in containers.values():
            if not isinstance(label, str) or not isinstance(pid, int):
                raise ValueError("a container without name and process")
    if journal.inode is not None:
        user, group, mode = journal.inode
        journal.inode = (str(user), str(group), int(mode))
    if journal.members is not None:
        group, before, after = journal.members
        journal.members = (str(group), [*map(str, before)], [*map(str, after)])
