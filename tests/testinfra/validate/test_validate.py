# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every control, failing and passing on a real host; and a judge that nothing stops."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterable

import pytest
import testinfra
from conftest import Harden
from states import HOSTILE, PRELUDE, STATES
from testinfra.utils.ansible_runner import AnsibleRunner

JUDGE = "dockerd-validate --fail-on never --format json"
KEPT = (
    "/etc/docker /etc/default/docker /etc/systemd/system /etc/group /etc/gshadow /etc/environment"
)
KEEP = "touch /etc/environment; tar --create --file /var/tmp/kept.tar --absolute-names %s" % KEPT
RESTORE = r"""
timeout 5 docker swarm leave --force
systemctl stop docker-tls.socket docker.service docker.socket test-plugin.service
rm -rf /etc/docker /etc/sysconfig/docker /etc/systemd/system/docker* /run/docker/plugins
tar --extract --file /var/tmp/kept.tar --absolute-names --same-permissions --same-owner
chmod 0660 /run/containerd/containerd.sock
systemctl daemon-reload
systemctl reset-failed docker.service docker.socket docker-tls.socket
systemctl start docker.socket docker-tls.socket docker.service
docker rm --force $(docker ps --all --quiet --filter name=test-)
"""
# Controls that a host of the lab cannot show both ways, and why.
DEBIAN = "the engines of the lab are Debian's, and their numbers prove nothing"
ROOTLESS = "a user's daemon is judged in the scenario rootless"
UNSEEN = {
    **{
        "rootless-" + rule: ({"passed", "failed"}, ROOTLESS)
        for rule in (
            *("beside", "delegation", "directives", "ids", "limits", "linger", "loopback"),
            *("network", "socket", "userns-remap"),
        )
    },
    "daemon-readable": ({"failed"}, "what cannot be read is unknown, never failed"),
    "rootless": ({"passed"}, "a rootless daemon is in the scenario of that name"),
    "storage-driver": ({"failed"}, "the kernels of the lab have neither aufs nor devicemapper"),
    "base-device-size": ({"passed", "failed"}, "they have no devicemapper"),
    "engine-holes": ({"passed", "failed"}, DEBIAN),
    "engine-backports": ({"passed", "failed"}, DEBIAN),
    "engine-supported": ({"passed", "failed"}, DEBIAN),
    "grpc-bypass": ({"failed"}, "no engine of the lab is 29.2 or newer"),
}

SEEN: dict = {}  # (host, control) -> the statuses it has had


@pytest.fixture(scope="module")
def hosts(inventory) -> dict:
    """Every host of the lab by name."""
    return {
        name: testinfra.get_host("ansible://" + name, ansible_inventory=inventory)
        for name in AnsibleRunner(inventory).get_hosts("docker_hosts")
    }


def each(hosts: dict, work: Callable, *arguments: object) -> dict:
    """Work on all hosts at once; what came of it, by host."""
    with ThreadPoolExecutor() as pool:
        done = {name: pool.submit(work, name, host, *arguments) for name, host in hosts.items()}
        return {name: future.result() for name, future in done.items()}


def shell(_name: str, host, script: str, check: bool = True) -> str:
    """Run a script on the host, however long and whatever is in it."""
    encoded = base64.b64encode(script.encode()).decode()
    done = host.run("echo %s | base64 --decode | bash", encoded)
    assert not check or done.rc == 0, done.stderr
    return done.stdout


def judged(name: str, host) -> dict:
    """The result of the command on the host; its statuses are remembered."""
    result = json.loads(host.check_output(JUDGE))
    for finding in result["findings"]:
        assert "this control failed" not in finding["evidence"]
        SEEN.setdefault((name, finding["id"]), set()).add(finding["status"])
    return result


def about(result: dict, ids: Iterable[str]) -> list:
    """What was said of these controls."""
    chosen = [one for one in result["findings"] if one["id"] in ids]
    return [(one["id"], one["status"], one["evidence"]) for one in chosen]


def failed(result: dict, severities: str) -> set:
    return {
        one["id"]
        for one in result["findings"]
        if one["status"] == "failed" and one["severity"] in severities.split()
    }


@pytest.fixture(scope="module")
def hardened(hosts, inventory):
    """The hosts, hardened, and what they have then."""
    run = Harden(inventory, "docker_hosts")(dockerd_serial="100%")
    assert run.rc == 0, run.stdout
    each(hosts, shell, KEEP)


@pytest.fixture
def restored(hosts, hardened):
    """The hosts, put back afterwards as they were when hardened."""
    yield
    each(hosts, shell, RESTORE, False)
    for host in hosts.values():
        assert host.run("docker info").rc == 0


def test_as_the_distribution_leaves_it(hosts):
    for result in each(hosts, judged).values():
        assert result["starts"] is True
        assert not failed(result, "critical high")
        assert {"icc", "no-new-privileges", "logs-bounded"} <= failed(result, "medium")


def test_hardened(hosts, hardened):
    for result in each(hosts, judged).values():
        assert result["starts"] is True
        assert not about(result, failed(result, "critical high medium"))


@pytest.mark.parametrize("state", STATES)
def test_states(hosts, restored, state):
    script, fails, passes = STATES[state]
    each(hosts, shell, PRELUDE + script)
    wanted = {**dict.fromkeys(fails, "failed"), **dict.fromkeys(passes, "passed")}
    for result in each(hosts, judged).values():
        found = {one["id"]: one["status"] for one in result["findings"]}
        assert not about(result, [one for one in wanted if found[one] != wanted[one]])


def clocked(_name: str, host) -> tuple:
    begun = time.monotonic()
    done = host.run("dockerd-validate --format json")
    return done, time.monotonic() - begun


@pytest.mark.parametrize("state", HOSTILE)
def test_nothing_stops_the_judge(hosts, restored, state):
    script, unjudged = HOSTILE[state]
    each(hosts, shell, PRELUDE + script)
    try:
        for done, seconds in each(hosts, clocked).values():
            assert seconds < 10
            assert done.rc in (1, 2), done.stderr
            assert "Traceback" not in done.stderr
            result = json.loads(done.stdout)
            passed = {one["id"] for one in result["findings"] if one["status"] == "passed"}
            assert not unjudged & passed
            assert not [one for one in result["findings"] if "this control" in one["evidence"]]
    finally:
        each(hosts, shell, "systemctl stop impostor.service; pkill -CONT dockerd", False)


def test_every_control_was_seen_both_ways(hosts):
    """On one host of the lab at least; neither without its two states, nor excused in vain."""
    controls = {one["id"] for result in each(hosts, judged).values() for one in result["findings"]}
    unseen = {
        control: {"passed", "failed"} - set().union(*(SEEN[name, control] for name in hosts))
        for control in controls
    }
    excused = {control: statuses for control, (statuses, _reason) in UNSEEN.items()}
    assert {control: lacks for control, lacks in unseen.items() if lacks} == excused
