# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subordinate ids, subuid(5) and subgid(5): whose are which, and where the next ones fit.

Rootlesskit maps every range that a user has, one after the other. A kernel that is shown an id
twice refuses the map (user_namespaces(7)), and an id that two users have lets either touch the
other's files, so nothing here may overlap.
"""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple

from .errors import Refused

NEEDED = 65536  # ids in a container, from 0 to nobody's 65534 and one more
# What shadow has for users where login.defs(5) says nothing.
LOWEST, HIGHEST = 100000, 600100000
# A number as strtoul(3) reads it without a base.
_NUMBER = re.compile(r"[ \t\v\f\r]*\+?(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")


class Range(NamedTuple):
    """One line. ``line`` counts from 1; 0 is a line that is not written yet."""

    owner: str
    start: int
    count: int
    line: int = 0

    @property
    def end(self) -> int:
        """The first id after it."""
        return self.start + self.count

    def overlaps(self, other: Range) -> bool:
        """Whether both hold an id."""
        return self.start < other.end and other.start < self.end


def parse(text: str) -> list[Range]:
    """The ranges of a file, as shadow's lib/subordinateio.c reads them for newuidmap(1).

    Numbers may be hexadecimal or octal, and what follows a third colon does not count. Lines that
    are no ranges are passed over.
    """
    found = []
    for number, line in enumerate(_lines(text), 1):
        fields = line.split(":")[:3]
        start, count = map(_number, [*fields[1:], "", ""][:2])
        if fields[0] and start is not None and count:
            found.append(Range(fields[0], start, count, number))
    return found


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _number(field: str) -> int | None:
    match = _NUMBER.fullmatch(field)
    return match and next(
        int(digits, base) for digits, base in zip(match.groups(), (16, 8, 10)) if digits
    )


def owned(ranges: Iterable[Range], name: str, uid: int | None) -> list[Range]:
    """A user's own ranges, by name or number; ``uid`` is None for one who is still to be made."""
    return [one for one in ranges if one.owner in (name, str(uid))]


def conflicts(ranges: Iterable[Range], name: str, uid: int | None) -> list[tuple[Range, Range]]:
    """Pairs that hold an id in common, one of them the user's; a line written twice is no pair."""
    ranges = list(ranges)
    mine = owned(ranges, name, uid)
    found = []
    for number, one in enumerate(mine):
        others = [other for other in ranges if other not in mine] + mine[number + 1 :]
        found += [
            (one, other)
            for other in others
            if one.overlaps(other) and not (other in mine and one[1:3] == other[1:3])
        ]
    return found


def enough(ranges: Iterable[Range]) -> bool:
    """Whether a user's ranges hold as many ids as a container has; a repeated line counts once."""
    return sum(count for dummy, count in {(one.start, one.count) for one in ranges}) >= NEEDED


def gap(taken: Iterable[Range], lowest: int = LOWEST, highest: int = HIGHEST) -> int:
    """The first id after which :data:`NEEDED` are free, between two bounds that both belong.

    Raises Refused where there is no such gap.
    """
    start = lowest
    for one in sorted(taken, key=lambda one: one.start):
        if one.start - start >= NEEDED:
            break
        start = max(start, one.end)
    if start + NEEDED > highest + 1:
        raise Refused(
            "No %d ids are left in one piece between %d and %d. Take lines of users who are gone"
            " out of /etc/subuid and /etc/subgid, or raise SUB_UID_MAX and SUB_GID_MAX in"
            " /etc/login.defs." % (NEEDED, lowest, highest)
        )
    return start


def written(text: str, name: str, uid: int | None, start: int | None) -> str:
    """The file with the user's lines once and by name, and with a new range from ``start``.

    Rootlesskit 1 takes a line by number for two, and one that is there twice, too. All other
    lines stay as they are.
    """
    mine = {one.line: one for one in owned(parse(text), name, uid)}
    lines, seen = [], set()
    for number, line in enumerate(_lines(text), 1):
        one = mine.get(number)
        if one is None:
            lines.append(line)
        elif one[1:3] not in seen:
            seen.add(one[1:3])
            lines.append("%s:%d:%d" % (name, one.start, one.count))
    if start is not None:
        lines.append("%s:%d:%d" % (name, start, NEEDED))
    return "".join(line + "\n" for line in lines)


def without(text: str, name: str, start: int) -> str:
    """The file without a range that :func:`written` added."""
    ours = "%s:%d:%d" % (name, start, NEEDED)
    return "".join(line + "\n" for line in _lines(text) if line != ours)


def settle(
    texts: dict[str, str],
    name: str,
    uid: int | None,
    taken: Iterable[int] = (),
    lowest: int = LOWEST,
    highest: int = HIGHEST,
) -> tuple[dict[str, str], int | None]:
    """The files, by path, with enough ids for a user, and where a new range of theirs begins.

    What the user has already is kept, and used where it is enough. The new range begins at the
    same number in each file, and holds nobody's id: ``taken`` are those of users and groups.
    Raises Refused where the user's ids are another's too, or there is no room.
    """
    ranges = {path: parse(text) for path, text in texts.items()}
    for path, found in ranges.items():
        for one, other in conflicts(found, name, uid):
            raise Refused(
                "%s: lines %d and %d both hold the ids from %d to %d, and one of them is %s's. Take"
                " one of the lines out; files of containers may belong to its ids."
                % (
                    path,
                    one.line,
                    other.line,
                    max(one.start, other.start),
                    min(one.end, other.end) - 1,
                    name,
                )
            )
    short = [path for path, found in ranges.items() if not enough(owned(found, name, uid))]
    start = None
    if short:
        everybody = [one for found in ranges.values() for one in found]
        start = gap([*everybody, *(Range("", one, 1) for one in taken)], lowest, highest)
    return {
        path: written(text, name, uid, start if path in short else None)
        for path, text in texts.items()
    }, start
