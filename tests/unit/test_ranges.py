# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes

import pytest
from _dockerd import ranges
from _dockerd.errors import Refused
from _dockerd.ranges import NEEDED, Range
from hypothesis import given, settings
from hypothesis import strategies as st

LOWEST, HIGHEST = 1000, 1000 + 6 * NEEDED
NAMES = ("alice", "1000", "bob", "carol")
# Neighbours on the small field between the bounds, touching, overlapping and twice.
LINES = st.builds(
    "{}:{}:{}".format,
    st.sampled_from(NAMES),
    st.integers(0, HIGHEST) | st.sampled_from([LOWEST + number * NEEDED for number in range(6)]),
    st.sampled_from([1, 1000, NEEDED - 1, NEEDED, NEEDED + 1]),
)
NONSENSE = st.sampled_from(["", "# a comment", "alice", "alice:1", "alice:x:5", "alice:5:0", "::"])
FILES = st.lists(LINES | NONSENSE, max_size=8).map("\n".join)


def others(text):
    """The lines that are not alice's, nonsense included."""
    mine = {one.line for one in ranges.owned(ranges.parse(text), "alice", 1000)}
    return [line for number, line in enumerate(text.splitlines(), 1) if number not in mine]


@given(FILES, FILES, st.sets(st.integers(0, HIGHEST), max_size=4))
def test_ids_are_enough_and_nobody_elses(subuid, subgid, taken):
    texts = {"/etc/subuid": subuid, "/etc/subgid": subgid}
    try:
        after, start = ranges.settle(texts, "alice", 1000, taken, LOWEST, HIGHEST)
    except Refused:
        return
    for path, text in after.items():
        before, found = ranges.parse(texts[path]), ranges.parse(text)
        mine = ranges.owned(found, "alice", 1000)
        assert sum(one.count for one in mine) >= NEEDED
        # No two of hers hold an id, none of hers is another's: newuidmap and the kernel agree.
        for number, one in enumerate(mine):
            assert one.owner == "alice"
            assert not any(one.overlaps(other) for other in mine[number + 1 :])
            assert not any(one.overlaps(other) for other in found if other not in mine)
        # What was hers is hers, what was others' is as it was, line for line.
        kept = {one[1:3] for one in ranges.owned(before, "alice", 1000)}
        assert kept <= {one[1:3] for one in mine}
        assert others(text)[: len(others(texts[path]))] == others(texts[path])
        new = {one[1:3] for one in mine} - kept
        assert new <= {(start, NEEDED)}
        for first, count in new:
            assert LOWEST <= first
            assert first + count - 1 <= HIGHEST
            assert not any(first <= one < first + count for one in taken)


@given(FILES, FILES)
def test_what_is_settled_stays(subuid, subgid):
    texts = {"/etc/subuid": subuid, "/etc/subgid": subgid}
    try:
        once = ranges.settle(texts, "alice", 1000, (), LOWEST, HIGHEST)[0]
    except Refused:
        return
    assert ranges.settle(once, "alice", 1000, (), LOWEST, HIGHEST) == (once, None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a:5:7", (5, 7)),
        ("a:0x10:0X20", (16, 32)),
        ("a:010:1", (8, 1)),
        ("a: 5:\t7", (5, 7)),
        ("a:+5:7", (5, 7)),
        ("a:0:7:note:more", (0, 7)),
        ("a:5:7 ", None),
        ("a:5:7\r", None),
        ("a:5", None),
        ("a:5:0", None),
        ("a:-5:7", None),
        ("a:09:7", None),
        ("a:0x:7", None),
        ("a:\u0665:7", None),
        (":5:7", None),
        ("", None),
    ],
)
def test_a_line_is_read_as_newuidmap_reads_it(line, expected):
    found = ranges.parse("# first\n" + line + "\n")
    assert [one[1:] for one in found] == ([(*expected, 2)] if expected else [])


# shadow's lib/subordinateio.c in the C library's own terms.
STRTOUL = ctypes.CDLL(None).strtoul
STRTOUL.restype, STRTOUL.argtypes = (
    ctypes.c_ulong,
    [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int],
)


def number(field):
    """What shadow makes of a field; None where it makes nothing of it."""
    raw, end = ctypes.create_string_buffer(field.encode()), ctypes.c_char_p()
    found = STRTOUL(ctypes.cast(raw, ctypes.c_char_p), ctypes.byref(end), 0)
    return found if field and not end.value else None


def as_shadow_reads(text):
    for line in text.split("\n"):
        fields = line.split(":")[:3]
        if len(fields) == 3 and all(fields):
            start, count = map(number, fields[1:])
            if start is not None and count:
                yield fields[0], start, count


BEFORE, AFTER = ["", "", " ", "\t", "\r", "+", " +", "++"], ["", "", " ", "\r", ":", ":x", "\v"]
FIELD = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(BEFORE),
    st.sampled_from(["", "", "0", "0x", "0X", "00", "x"]),
    st.text("0123456789af", max_size=3),
    st.sampled_from(AFTER),
)
ODD = st.builds("{}:{}:{}".format, st.sampled_from(["alice", "alice", "", " "]), FIELD, FIELD)


@settings(max_examples=1000)
@given(st.lists(ODD | LINES, max_size=3).map("\n".join))
def test_lines_are_read_as_the_c_library_reads_them(text):
    assert [one[:3] for one in ranges.parse(text)] == list(as_shadow_reads(text))


@given(FILES)
def test_a_gap_is_found_wherever_there_is_one(text):
    found = ranges.parse(text)
    candidates = [LOWEST, *(one.end for one in found if one.end >= LOWEST)]
    fits = [
        start
        for start in candidates
        if start + NEEDED - 1 <= HIGHEST
        and not any(Range("", start, NEEDED).overlaps(one) for one in found)
    ]
    if fits:
        assert ranges.gap(found, LOWEST, HIGHEST) == min(fits)
    else:
        with pytest.raises(Refused, match="No 65536 ids are left"):
            ranges.gap(found, LOWEST, HIGHEST)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "alice:100000:65536\n"),
        ("bob:100000:65536\n", "bob:100000:65536\nalice:165536:65536\n"),
        ("bob:100001:65536\n", "bob:100001:65536\nalice:165537:65536\n"),
        ("bob:165536:65536", "bob:165536:65536\nalice:100000:65536\n"),
        ("alice:500000:70000\n", "alice:500000:70000\n"),
        ("1000:500000:65536\n", "alice:500000:65536\n"),
        ("alice:500000:65536\nalice:500000:65536\n", "alice:500000:65536\n"),
        ("alice:500000:10\n", "alice:500000:10\nalice:100000:65536\n"),
    ],
    ids=["empty", "after", "odd", "before", "foreign", "number", "twice", "small"],
)
def test_one_file(before, after):
    assert ranges.settle({"/etc/subuid": before}, "alice", 1000)[0] == {"/etc/subuid": after}


def test_a_new_range_begins_alike_in_both_files():
    texts = {"/etc/subuid": "bob:100000:65536\n", "/etc/subgid": "carol:165536:65536\n"}
    after, start = ranges.settle(texts, "alice", 1000)
    assert start == 231072
    assert all("alice:231072:65536\n" in text for text in after.values())


def test_ids_that_two_users_have_are_named():
    text = "alice:100000:65536\nbob:165535:65536\n"
    with pytest.raises(Refused, match="/etc/subuid: lines 1 and 2 both hold the ids from 165535"):
        ranges.settle({"/etc/subuid": text}, "alice", 1000)


def test_what_was_given_is_taken_back_and_no_more():
    text = "alice:500000:65536\nbob:7:7\nalice:100000:65536\n"
    assert ranges.without(text, "alice", 100000) == "alice:500000:65536\nbob:7:7\n"
