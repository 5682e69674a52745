# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last look before dockerd starts, in this process and as the program that a host runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from _dockerd import guard, program
from _dockerd.host import digest
from _dockerd.instance import Instance
from _dockerd.told import read_told
from conftest import CONFIG
from hypothesis import given
from hypothesis import strategies as st

INSTANCE = Instance()
GOOD = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/c.pem", "tlskey": "/k.pem"}
HOLD = """\
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    """The program as a host has it: ``run(config)`` gives its exit status and what it said."""
    place = tmp_path / "hardened-docker.pyz"
    place.write_bytes(program.files(INSTANCE, CONFIG)[INSTANCE.program_path])

    def start(config=tmp_path / "daemon.json"):
        words = [config, tmp_path / "expected.json", tmp_path / "lock"]
        done = subprocess.run(
            [sys.executable, "-I", str(place), "guard", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        assert done.stdout == b""
        return done.returncode, done.stderr.decode()

    return start


@contextmanager
def held(path):
    """A lock that another process holds."""
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


# -- does the file demand verified clients?

NOT_VERIFIED = [
    {},
    {**GOOD, "tlsverify": False},
    {**GOOD, "tlsverify": None},
    {**GOOD, "tlsverify": "true"},
    {**GOOD, "tlsverify": 1},
    {**GOOD, "tlscacert": ""},
    {**GOOD, "tlscacert": None},
    {**GOOD, "tlscert": ""},
    {name: GOOD[name] for name in GOOD if name != "tlsverify"},
    {name: GOOD[name] for name in GOOD if name != "tlscacert"},
    {name: GOOD[name] for name in GOOD if name != "tlscert"},
    {"tls": True, "tlscacert": "/ca.pem", "tlscert": "/c.pem"},
    {"proxies": GOOD},
    {"x": GOOD},
    [GOOD],
    "tlsverify",
    5,
    None,
]
JUNK = [b"", b"{", b"\xff\xfe\0", b'{"tlsverify": true,', b"[" * 99999, b'{"tlsverify": tru}']


def test_a_file_that_demands_verified_clients(empty):
    empty.put(CONFIG, GOOD)
    assert guard.verifies(empty.real(CONFIG))
    empty.put(CONFIG, {**GOOD, "icc": False, "hosts": []})
    assert guard.verifies(empty.real(CONFIG))


@pytest.mark.parametrize("data", NOT_VERIFIED, ids=repr)
def test_a_file_that_does_not(empty, data):
    empty.put(CONFIG, json.dumps(data))
    assert not guard.verifies(empty.real(CONFIG))


@pytest.mark.parametrize("raw", JUNK, ids=lambda raw: repr(raw[:20]))
def test_junk_demands_nothing(empty, raw):
    empty.put(CONFIG, raw)
    assert not guard.verifies(empty.real(CONFIG))


def test_no_file_and_no_regular_file_demand_nothing(empty):
    assert not guard.verifies(empty.real(CONFIG))
    os.makedirs(empty.real(CONFIG))
    assert not guard.verifies(empty.real(CONFIG))


values = st.sampled_from(
    [True, False, None, "", "/ca.pem", "true", 0, 1, [], {}, {"tlsverify": True}]
)
names = st.sampled_from([*GOOD, "tls", "hosts", "x"])


@given(st.dictionaries(names, values))
def test_what_the_guard_lets_through_dockerd_verifies(tmp_path_factory, data):
    """It may be stricter than dockerd, and never laxer; held to the project's own reading."""
    from conftest import Directory

    host = Directory(str(tmp_path_factory.mktemp("host", numbered=True)))
    host.put(CONFIG, data)
    if guard.verifies(host.real(CONFIG)):
        assert read_told(INSTANCE, host, "26.1.5").verifies


# -- is it what the run wrote?


@pytest.fixture
def started(tmp_path):
    """A run that is about to start dockerd with a file as it wrote it."""
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps(GOOD))
    expected = {str(config): digest(config.read_bytes()), str(tmp_path / "gone"): ""}
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    (tmp_path / "lock").touch()
    return tmp_path


def overtaken(place):
    return guard.overtaken(str(place / "expected.json"), str(place / "lock"))


def test_nobody_else_wrote(started):
    with held(started / "lock"):
        assert overtaken(started) == []


@pytest.mark.parametrize("other", [b"{}", b"", None])
def test_somebody_else_wrote_or_removed_it(started, other):
    config = started / "daemon.json"
    config.write_bytes(other) if other is not None else config.unlink()
    with held(started / "lock"):
        assert overtaken(started) == [str(config)]


def test_somebody_else_made_what_should_not_be_there(started):
    (started / "gone").touch()
    with held(started / "lock"):
        assert overtaken(started) == [str(started / "gone")]


def test_what_a_dead_run_expected_counts_no_more(started):
    """Or a run that was killed in the wrong moment would keep dockerd down for good."""
    (started / "daemon.json").write_bytes(b"{}")
    with held(started / "lock"):
        assert overtaken(started)
    assert overtaken(started) == []


def test_the_look_leaves_the_lock_to_whoever_wants_it(started):
    assert overtaken(started) == []
    with held(started / "lock"):
        pass


def test_without_a_run_nothing_is_expected(started):
    (started / "daemon.json").write_bytes(b"{}")
    (started / "lock").unlink()
    assert overtaken(started) == []
    (started / "lock").touch()
    (started / "expected.json").unlink()
    with held(started / "lock"):
        assert overtaken(started) == []


@pytest.mark.parametrize("raw", ["", "{", "[]", "5", "null", '"text"'])
def test_an_expectation_that_is_junk_expects_nothing(started, raw):
    (started / "expected.json").write_text(raw)
    with held(started / "lock"):
        assert overtaken(started) == []


# -- the program


def test_its_exit_status_says_what_it_saw(started, run):
    assert run() == (0, "")
    with held(started / "lock"):
        assert run() == (0, "")
        (started / "daemon.json").write_text("{}")
        status, words = run()
        assert status == guard.OVERTAKEN == 3
        assert words == "failed to start: somebody else changed %s meanwhile\n" % (
            started / "daemon.json"
        )
    status, words = run()
    assert status == guard.UNVERIFIED == 1
    assert words.endswith("does not demand verified clients: TCP stays closed\n")


def test_overtaken_counts_for_more_than_verified(started, run):
    """Somebody else's file may verify and still not be what was judged."""
    (started / "daemon.json").write_text(json.dumps({**GOOD, "icc": True}))
    with held(started / "lock"):
        assert run()[0] == guard.OVERTAKEN
    assert run() == (0, "")
