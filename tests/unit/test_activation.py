# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemd and dockerd, in which order, and what comes of their answers."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from _dockerd import activation
from _dockerd.does import Does
from _dockerd.errors import HostError, Overtaken
from _dockerd.host import Result, User, digest
from _dockerd.instance import Instance, rootless
from conftest import CONFIG, Directory

INSTANCE = Instance()
UP = {name: {"ActiveState": "active"} for name in INSTANCE.units}
RESET = "systemctl reset-failed docker.service docker.socket docker-tls.socket"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")


class Recorder(Directory):
    """Records what is run; ``fails`` are commands that do not succeed."""

    fails = ()

    def __init__(self, root):
        super().__init__(root)
        self.asked, self.expected = [], []

    def run(self, argv, timeout=30, **rest):
        words = " ".join(argv)
        self.asked.append(words)
        self.expected.append(self.optional(INSTANCE.expected_path))
        return Result(1, "", "it says no") if words in self.fails else Result(0, "", "")


@pytest.fixture
def host(tmp_path):
    return Recorder(str(tmp_path))


def restart(host, remake=(), expected=None, units=UP, instance=INSTANCE):
    activation.restart(instance, host, Does(units=units), set(remake), 5, expected)
    return host.asked


def test_the_service_alone_is_one_job(host):
    assert restart(host) == [RESET, "systemctl restart docker.service"]


def test_a_tcp_listener_is_let_go_before_the_restart_opens_it_anew(host):
    stop = "systemctl stop docker-tls.socket"
    assert restart(host, ["docker-tls.socket"]) == [RESET, stop, "systemctl restart docker.service"]


def test_a_unix_socket_takes_the_service_down_and_up_with_it(host):
    assert restart(host, ["docker.socket"]) == [
        RESET,
        "systemctl restart docker.socket",
        "systemctl start docker.service",
    ]


def test_a_socket_that_is_down_comes_with_the_service(host):
    remake = ["docker.socket", "docker-tls.socket"]
    assert restart(host, remake, units={}) == [RESET, "systemctl restart docker.service"]


@pytest.mark.parametrize(
    ("fails", "remake"),
    [
        ("restart docker.service", []),
        ("restart docker.socket", ["docker.socket"]),
        ("start docker.service", ["docker.socket"]),
    ],
)
@as_root
def test_a_daemon_that_does_not_start_is_an_error_and_nothing_is_expected_any_more(
    host, fails, remake
):
    host.fails = ("systemctl " + fails,)
    host.put(CONFIG, "{}")
    with pytest.raises(HostError, match="systemctl %s: it says no" % fails):
        restart(host, remake, {CONFIG: b"{}"})
    assert host.stat(INSTANCE.expected_path) is None


@as_root
def test_the_guard_is_told_what_to_expect_for_as_long_as_the_start_takes(host):
    host.put(CONFIG, "{}")
    restart(host, ["docker.socket"], {CONFIG: b"{}", "/gone": None})
    during = host.expected[-2:]
    assert json.loads(during[0]) == json.loads(during[1]) == {CONFIG: digest(b"{}"), "/gone": ""}
    assert host.stat(INSTANCE.expected_path) is None


def test_a_user_s_daemon_has_no_guard_and_is_told_nothing(host):
    """What lies in /run is root's to write, and this is done with the user's rights."""
    alice = rootless(User("alice", 1001, 1001, "/home/alice"))
    host.put(CONFIG, "{}")
    restart(host, expected={CONFIG: b"{}"}, instance=alice)
    assert all("--user" in words and "alice" in words for words in host.asked)
    assert host.expected == [None] * 2
    assert host.list("/run") == []


@as_root
def test_a_daemon_is_not_stopped_for_a_file_of_somebody_else(host):
    host.put(CONFIG, "{ }")
    with pytest.raises(Overtaken, match=r"daemon[.]json was changed by somebody else"):
        restart(host, expected={CONFIG: b"{}"})
    assert host.asked == [RESET]
    assert host.stat(INSTANCE.expected_path) is None


def test_an_answer_is_waited_for(serve, empty, monkeypatch):
    answers = iter([(503, {}), (503, {}), (200, {})])
    server = serve({})
    monkeypatch.setattr(
        activation.time, "sleep", lambda seconds: server.answers.update({"/info": next(answers)})
    )
    activation.await_answer(replace(INSTANCE, socket_path=server.path), empty)
    assert len(server.asked) == 4


def test_without_an_answer_its_reason_is_given(serve, empty):
    server = serve({"/info": (503, {})})
    with pytest.raises(HostError, match="answers /info with 503"):
        activation.await_answer(replace(INSTANCE, socket_path=server.path), empty, patience=0)
    with pytest.raises(HostError, match="No such file"):
        activation.await_answer(replace(INSTANCE, socket_path="/none.sock"), empty, patience=0)


@pytest.mark.parametrize("wanted", [True, False])
def test_live_restore_is_waited_for(serve, empty, wanted, monkeypatch):
    server = serve({"/info": {"LiveRestoreEnabled": not wanted}})
    instance = replace(INSTANCE, socket_path=server.path)
    with monkeypatch.context() as patch:
        patch.setattr(activation, "ATTEMPTS", 0.1)
        word = str(wanted).lower()
        with pytest.raises(HostError, match="did not set live-restore to %s on reload" % word):
            activation.await_live_restore(instance, empty, wanted)
    server.answers["/info"] = {"LiveRestoreEnabled": wanted}
    activation.await_live_restore(instance, empty, wanted)


def test_members_that_cannot_be_set_are_an_error(host):
    activation.set_members(host, "docker", ["ci", "me"])
    assert host.asked == ["gpasswd --members ci,me docker"]
    host.fails = ("gpasswd --members  docker",)
    with pytest.raises(HostError, match="gpasswd docker: it says no"):
        activation.set_members(host, "docker", [])
