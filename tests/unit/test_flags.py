# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from _dockerd import flags, units
from hypothesis import given
from hypothesis import strategies as st


def decode(line, version=(28, 5, 2)):
    words = units.words(line.split())
    return flags.decode(units.flags(words), units.arguments(words), version)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--icc=false -D", {"icc": False, "debug": True}),
        ("--mtu 0x5dc", {"mtu": 1500}),
        ("--mtu=1_500", {"mtu": 1500}),
        ("--mtu=010", {"mtu": 8}),
        ("-H fd:// --host=unix://", {"hosts": ["fd://", "unix://"]}),
        ("--log-opt max-size=1m --log-opt tag", {"log-opts": {"max-size": "1m", "tag": ""}}),
        ("--dns 192.0.2.1,::1", {"dns": ["192.0.2.1", "::1"]}),
        ("--feature cdi --feature a=0", {"features": {"cdi": True, "a": False}}),
        ("--add-runtime Crun=/bin/crun", {"runtimes": {"crun": {"path": "/bin/crun"}}}),
        (
            "--default-ulimit nofile=1:2",
            {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}},
        ),
        (
            "--default-address-pool base=10.0.0.0/16,size=24",
            {"default-address-pools": [{"base": "10.0.0.0/16", "size": 24}]},
        ),
        (
            "--default-network-opt bridge=a=b",
            {"default-network-opts": {"bridge": {"a": "b"}}},
        ),
        ("--ip=", {"ip": ""}),
    ],
)
def test_values_are_what_the_file_would_hold(line, values):
    given_ = decode(line)
    assert (given_.values, given_.problems) == (values, [])


# Each seen with `dockerd --validate` of Debian's 26.1.5 and 28.5.2.
@pytest.mark.parametrize(
    "line",
    [
        "--nope",
        "-x",
        "serve",
        "-- x",
        "--icc=maybe",
        "--icc false",
        "--mtu=x",
        "--mtu=99999999999999999999",
        "--log-level",
        "--dns=1.2.3",
        "--ip=x",
        "--add-runtime=runc=/x",
        "--add-runtime=x=/a --add-runtime=x=/b",
        "--add-runtime=x",
        "--default-ulimit=nofile",
        "--default-ulimit=nofile=2:1",
        "--default-ulimit=x=1",
        "--default-ulimit=nofile=-1:5",
        "--default-shm-size=x",
        "--default-address-pool=x",
        "--default-network-opt=bridge",
        "--feature=a=x",
        "--label=com.docker.x=1",
        "--graph=/x",
        "--oom-score-adjust=1",
        "--help",
        "--version",
    ],
)
def test_refused(line):
    assert len(decode(line).problems) == 1


@pytest.mark.parametrize(
    ("line", "version", "refused"),
    [
        ("--graph=/x", (20, 10), False),
        ("--feature=cdi", (26, 1), True),
        ("--dns=192.0.2.1,::1", (20, 10), True),
        ("--from-the-future", (29, 8), False),
        ("--from-the-future", None, True),
        ("--default-ulimit=nofile=5:-1", (20, 10), True),
        ("--default-ulimit=nofile=5:-1", (28, 5), False),
    ],
)
def test_engines_differ(line, version, refused):
    assert bool(decode(line, version).problems) == refused


def test_a_problem_names_the_flag_and_its_place():
    (problem,) = decode("--mtu=x").problems
    assert problem == (
        "--mtu=x in the running process: dockerd does not start with this value: it takes a whole"
        " number"
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(flags.FLAGS)), st.text(max_size=8)).map(
            "--{0[0]}={0[1]}".format
        )
    ),
    st.sampled_from([(20, 10), (26, 1), (28, 5), None]),
)
def test_no_command_line_breaks_the_judge(line, version):
    words = units.words(line)
    flags.decode(units.flags(words), units.arguments(words), version)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--log-opt splunk-token SECRET", "word 3 after dockerd in ExecStart"),
        ("--proxy-password SECRET", "--proxy-password in ExecStart"),
        ("--proxy-password=SECRET", "--proxy-password in ExecStart"),
        ("-zSECRET", "-z in ExecStart"),
        ("-D serve -- --icc", "--icc in ExecStart"),
    ],
)
def test_no_word_that_may_be_a_secret(line, words):
    given = units.words(line.split(), "ExecStart")
    found = flags.decode(units.flags(given), units.arguments(given), (28, 5, 2)).problems
    assert any(problem.startswith(words) for problem in found)
    assert "SECRET" not in str(found)
