# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host grants, of a daemon that runs and of one that does not."""

from __future__ import annotations

import os
import resource

import pytest
from _dockerd import does
from _dockerd.controls import CONTROLS
from _dockerd.findings import judge
from _dockerd.host import Host
from conftest import CONFIG, running

STATUS = "Name:\tsystemd\nCapEff:\t%016x\n"
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max file size             unlimited            unlimited            bytes
Max processes             96364                96364                processes
Max open files            1024                 20000                files
Max nice priority         0                    0
"""
CAPABLE = 1 << 24


@pytest.fixture
def manager(empty):
    """A host whose first process has these capabilities, and the limits above."""

    def make(capabilities):
        empty.put("/proc/1/status", STATUS % capabilities)
        empty.put("/proc/1/limits", LIMITS)
        empty.put("/proc/sys/fs/nr_open", "1048576\n")
        return empty

    return make


@pytest.mark.parametrize(
    ("capabilities", "rootless", "unit", "limits"),
    [
        (CAPABLE, False, {"LimitNOFILE": "5"}, {"nofile": 1048576}),
        (0, False, {}, {"nproc": 96364, "nofile": 20000, "nice": 0}),
        (CAPABLE, True, {}, {"nproc": 96364, "nofile": 20000, "nice": 0}),
        (
            0,
            True,
            {"LimitNOFILE": "524288", "LimitNPROC": "infinity", "LimitFSIZE": "7"},
            {"nproc": 96364, "nofile": 20000, "nice": 0, "fsize": 7},
        ),
        (0, True, {"LimitNOFILE": "4096"}, {"nproc": 96364, "nofile": 4096, "nice": 0}),
    ],
)
def test_what_systemd_can_give(manager, capabilities, rootless, unit, limits):
    assert does._limits(manager(capabilities), 1, rootless, unit) == limits


def test_without_a_manager_nobody_knows(manager):
    assert does._limits(manager(0), 0, True, {}) == {}


def test_every_limit_of_this_very_process_is_read():
    hard = {
        name: resource.getrlimit(getattr(resource, "RLIMIT_" + name.upper()))[1]
        for name in ("core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack")
    }
    known = {name: most for name, most in hard.items() if most != resource.RLIM_INFINITY}
    found = does._limits(Host(), os.getpid(), True, {})
    assert {name: most for name, most in found.items() if name in hard} == known
    # Of each limit this kernel has a line.
    lines = Host().read("/proc/self/limits").decode()
    assert [label for label in does._LIMITS.values() if label not in lines] == []


def judged(seen):
    return judge(seen, [one for one in CONTROLS if one.id == "ulimits-grantable"])[0]


@pytest.mark.parametrize(
    ("ulimit", "words"),
    [
        ({"Name": "nofile", "Soft": 9, "Hard": 9}, ""),
        ({"name": "NOFILE", "soft": 8, "hard": 9}, ""),
        ({"Name": "core", "Soft": -1, "Hard": -1}, ""),
        ({"Name": "nofile", "Soft": 9, "Hard": 10}, "at most 9, not 10"),
        ({"Name": "nofile", "Soft": 9, "Hard": -1}, "at most 9, not -1"),
        ({"Name": "nofile", "Soft": -1, "Hard": 9}, "Soft -1 is above Hard 9"),
        ({"Name": "nofile", "Soft": 9}, "Soft 9 is above Hard 0"),
        ({"Soft": 9, "Hard": 9}, "its Name is not given"),
        ({"Name": "files", "Soft": 9, "Hard": 9}, "its Name is files"),
    ],
)
def test_ulimits_as_the_runtime_reads_them(host, ulimit, words):
    host.put(CONFIG, {"default-ulimits": {"any word": ulimit}})
    finding = judged(running(host, limits={"nofile": 9, "nproc": 5}))
    assert finding.status == ("failed" if words else "passed")
    assert words in finding.evidence


def test_where_nobody_knows_nothing_is_passed(host):
    assert judged(host.seen()).status == "passed"  # there are none
    host.put(CONFIG, {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 9, "Hard": 9}}})
    assert judged(host.seen()).status == "not applicable"
    assert judged(running(host, limits={})).status == "unknown"
