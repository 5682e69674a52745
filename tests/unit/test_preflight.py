# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is written; what a candidate needs is in test_plan.py."""

from __future__ import annotations

import os

import pytest
from _dockerd import plan
from _dockerd.errors import Refused
from _dockerd.host import Result
from _dockerd.instance import Instance
from _dockerd.preflight import ROOM, _ports_taken, _validate, preflight
from conftest import CONFIG, running

INSTANCE = Instance()
LISTEN = "[Socket]\nListenStream=0.0.0.0:2376\n"


def made(host, directives, tls_socket="", **changes):
    return plan.make(running(host, **changes), host, plan.Desired(directives, "", "", tls_socket))


def stand_in_the_way(host, monkeypatch, *stuck):
    looked = []

    def obstacle(path, room):
        assert room == ROOM
        looked.append(path)
        return "is in a bad mood" if path in stuck else ""

    monkeypatch.setattr(host, "obstacle", obstacle)
    return looked


@pytest.mark.parametrize(
    "stuck", [CONFIG, *INSTANCE.safety, "/run", INSTANCE.state_directory, "/srv"]
)
def test_a_place_that_cannot_be_written_is_named(host, monkeypatch, stuck):
    stand_in_the_way(host, monkeypatch, stuck)
    info = {"DockerRootDir": "/srv", "Containers": 0, "Images": 0}
    with pytest.raises(
        Refused, match="nothing was changed. %s is in a bad mood[.]$" % stuck
    ) as error:
        preflight(made(host, {"icc": False}, info=info), host, frozenset())
    assert error.value.facts["problems"] == ["%s is in a bad mood." % stuck]


def test_each_place_is_looked_at_once(host, monkeypatch):
    looked = stand_in_the_way(host, monkeypatch)
    preflight(made(host, {"icc": False}), host, frozenset())
    assert len(looked) == len(set(looked)) > 5


@pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
def test_a_run_that_changes_nothing_needs_no_room(host, monkeypatch):
    host.keep_safe()
    looked = stand_in_the_way(host, monkeypatch, "/run")
    planned = made(host, {})
    assert not planned.changed
    preflight(planned, host, frozenset())
    assert looked == []


@pytest.mark.parametrize("answer", [5, None, "relative", "", ["x"]])
def test_a_data_root_that_the_daemon_answers_may_be_anything(host, answer):
    info = {"DockerRootDir": answer, "Containers": 0, "Images": 0}
    preflight(made(host, {"icc": False}, info=info), host, frozenset())


# -- ports


def test_a_port_that_another_service_holds_is_named(host):
    planned = made(host, {}, LISTEN, ports={2376: {77}})
    (problem,) = _ports_taken(planned, host)
    assert problem == (
        "Port 2376 (0.0.0.0:2376) is taken by another service; stop it, or choose another port in"
        " dockerd_listen."
    )


def test_the_process_that_holds_it_is_named(host):
    os.makedirs(host.real("/proc/42/fd"))
    os.symlink("socket:[77]", host.real("/proc/42/fd") + "/3")
    os.symlink("/usr/sbin/nginx", host.real("/proc/42") + "/exe")
    (problem,) = _ports_taken(made(host, {}, LISTEN, ports={2376: {77}}), host)
    assert "taken by process 42 (/usr/sbin/nginx)" in problem


@pytest.mark.parametrize(
    "changes", [{"ports": {}}, {"ports": {2376: {1}}}, {"ports": {2377: {77}}}]
)
def test_a_port_that_is_free_or_dockerd_s_own_is_none(host, changes):
    assert _ports_taken(made(host, {}, LISTEN, **changes), host) == []


def test_a_port_that_docker_tls_socket_has_already_is_ours(host):
    host.put(INSTANCE.tls_socket_path, LISTEN)
    assert _ports_taken(made(host, {}, LISTEN, ports={2376: {77}}), host) == []


# -- dockerd's own word


def validate(
    host, monkeypatch, directives, version="26.1.5", rc=1, out="unable to: /dev/stdin: bad"
):
    asked = []

    def run(argv, standard_input=b"", env=None, **rest):
        asked.append((argv, standard_input))
        return Result(rc, "", out)

    seen = running(host)
    seen.told = host.told(version)
    planned = plan.make(seen, host, plan.Desired(directives))
    monkeypatch.setattr(type(host), "live", True)
    monkeypatch.setattr(host, "run", run)
    monkeypatch.setattr(host, "stat", lambda path: None)
    return _validate(planned, host), asked


def test_what_dockerd_says_of_the_candidate_counts(host, monkeypatch):
    problems, asked = validate(host, monkeypatch, {"icc": False})
    assert problems == ["dockerd --validate: unable to: %s: bad." % CONFIG]
    ((argv, given),) = asked
    assert argv[-3:] == ["--validate", "--config-file", "/dev/stdin"]
    assert b'"icc": false' in given


def test_a_candidate_that_dockerd_takes_has_no_problem(host, monkeypatch):
    problems, asked = validate(host, monkeypatch, {"icc": False}, rc=0)
    assert (problems, len(asked)) == ([], 1)


def test_an_engine_without_validate_is_not_asked(host, monkeypatch):
    assert validate(host, monkeypatch, {"icc": False}, "20.10.24") == ([], [])


def test_validate_makes_no_user_and_misses_no_certificate_that_is_to_come(host, monkeypatch):
    """dockerd --validate would create the user of userns-remap."""
    tls = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/c.pem", "tlskey": "/k.pem"}
    _problems, asked = validate(host, monkeypatch, {**tls, "userns-remap": "default", "icc": True})
    assert b"userns" not in asked[0][1]
    assert b"tls" not in asked[0][1]
    assert b"icc" in asked[0][1]
