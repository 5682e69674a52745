# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A leaf that ends soon is renewed, in time and without anybody noticing much."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

LEAF = "Keep the daemon's key, certificate and trust"
DAEMON = "Bring the daemon to its desired state"
LOAD = "/run/test-load.json"
# Ten seconds less than the 90 days that the leaf was given; more than that have gone by.
DUE = {"dockerd_tls_renew_before": "%ds" % (90 * 86400 - 10), "dockerd_tls_clock_skew": "5s"}
SHORT = {
    "dockerd_tls_server_lifetime": "45s",
    "dockerd_tls_renew_before": "10s",
    "dockerd_tls_clock_skew": "5s",
}


@dataclass(frozen=True)
class State:
    """What a host shows before and after."""

    serial: int
    key: bytes
    daemon: str
    container: str


def state(fleet, name: str) -> State:
    leaf = fleet.served(name)
    key = leaf.public_key().public_numbers()
    return State(leaf.serial_number, key, fleet.daemon(name), fleet.containers(name))


def states(fleet) -> dict:
    return {name: state(fleet, name) for name in fleet.hosts}


@pytest.fixture(scope="module")
def issued(fleet) -> dict:
    """Hosts with leaves for 90 days."""
    fleet.harden()
    time.sleep(10)
    return states(fleet)


@pytest.fixture(scope="module")
def untouched(fleet, issued):
    """A run outside the window."""
    return fleet.harden(), states(fleet)


@pytest.fixture(scope="module")
def renewed(fleet, untouched):
    """A run inside it, while each host is asked by the other over mutual TLS."""
    for name, host in fleet.hosts.items():
        target = next(one for one in fleet.hosts if fleet.other(one) is host)
        words = (fleet.address[target], "2376", "/root/.docker/operator", LOAD)
        fleet.start(name, "load.py", *words)
    time.sleep(2)
    run = fleet.harden(DUE)
    time.sleep(2)
    answers = {
        target: fleet.stop(name, "load.py", LOAD)
        for name, host in fleet.hosts.items()
        for target in fleet.hosts
        if fleet.other(target) is host
    }
    return run, states(fleet), answers


@pytest.fixture(scope="module")
def expired(fleet, renewed):
    """Leaves that end before the next run, and that run."""
    fleet.harden(SHORT)
    short = states(fleet)
    time.sleep(46)
    refused = {name: fleet.version(name) for name in fleet.hosts}
    run = fleet.harden(SHORT)
    return short, refused, run, states(fleet), {name: fleet.version(name) for name in fleet.hosts}


def test_outside_the_window_nothing_happens(untouched, issued, name):
    run, now = untouched
    assert run.changed(name) == []
    assert now[name] == issued[name]


def test_inside_the_window_the_leaf_is_renewed(renewed, issued, name):
    run, now, _ = renewed
    (leaf,) = run.of(name, LEAF)["leaves"]
    assert "inside dockerd_tls_renew_before" in leaf["reasons"][0]
    assert run.of(name, LEAF)["files"] == ["/etc/docker/tls/server-cert.pem"]
    assert run.of(name, DAEMON)["activation"] == "restart"
    assert now[name].serial != issued[name].serial
    assert now[name].key == issued[name].key
    assert now[name].daemon != issued[name].daemon


def test_containers_live_on(renewed, expired, issued, name):
    assert renewed[1][name].container == expired[3][name].container == issued[name].container
    assert issued[name].container.endswith("true")


def test_clients_go_on_working(renewed, name):
    _, _, answers = renewed
    begun = answers[name][0][0]
    troubles = [[round(one - begun, 2), *rest] for one, *rest in answers[name] if rest[-1]]
    good = [end for _, end, trouble in answers[name] if not trouble]
    pause = max(later - former for former, later in zip(good, good[1:]))
    slowest = max(end - begin for begin, end, _ in answers[name])
    print(
        "%s: %d requests in %.1f s, %d failed %s, slowest %.2f s, longest pause %.2f s"
        % (name, len(answers[name]), good[-1] - begun, len(troubles), troubles, slowest, pause)
    )
    assert len(good) > 200
    assert answers[name][0][2] == answers[name][-1][2] == ""
    # systemd holds the listener over the restart: only what the old daemon had begun can fail.
    assert len(troubles) <= 2
    assert pause < 5


def test_expired_leaf_is_refused_and_mended(expired, renewed, name):
    short, refused, run, now, answers = expired
    assert short[name].serial != renewed[1][name].serial
    assert refused[name].rc != 0
    assert "expired" in refused[name].stderr
    (leaf,) = run.of(name, LEAF)["leaves"]
    assert "expire" in " ".join(leaf["reasons"])
    assert now[name].serial != short[name].serial
    assert answers[name].rc == 0, answers[name].stderr
