# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every control, failing and passing on a real host; and a judge that nothing stops."""

from __future__ import annotations

import base64
import json
import time

import pytest
from states import HOSTILE, PRELUDE, STATES

testinfra_hosts = ["ansible://docker_hosts"]

JUDGE = "/usr/local/bin/dockerd-validate --fail-on never --format json"
KEPT = "/etc/docker /etc/default/docker /etc/systemd/system /etc/group /etc/gshadow /etc/profile.d"
KEEP = "tar --create --file /var/tmp/kept.tar --absolute-names %s" % KEPT
# Not the units alone: a container, a swarm and the socket's inode are put back as well.
RESTORE = r"""
docker swarm leave --force
docker rm --force $(docker ps --all --quiet --filter name=test-)
systemctl stop docker-tls.socket docker.service docker.socket
rm -rf /etc/docker /etc/sysconfig/docker /etc/systemd/system/docker* /run/docker/plugins
tar --extract --file /var/tmp/kept.tar --absolute-names --same-permissions --same-owner
chmod 0660 /run/containerd/containerd.sock
systemctl daemon-reload
systemctl reset-failed docker.service docker.socket docker-tls.socket
systemctl start docker.socket docker-tls.socket docker.service
"""
# Controls that a host of the lab cannot show both ways, and why.
UNSEEN = {}

SEEN: dict = {}  # (host, control) -> the statuses it has had


def shell(host, script: str, check: bool = True) -> str:
    """Run a script on the host, however long and whatever is in it."""
    encoded = base64.b64encode(script.encode()).decode()
    done = host.run("echo %s | base64 --decode | bash", encoded)
    assert not check or done.rc == 0, "%s\n%s" % (script, done.stderr)
    return done.stdout


def judged(host, name: str) -> dict:
    """The result of the command on the host; its statuses are remembered."""
    begun = time.monotonic()
    result = json.loads(host.check_output(JUDGE))
    assert time.monotonic() - begun < 10
    for finding in result["findings"]:
        assert "this control failed" not in finding["evidence"]
        SEEN.setdefault((name, finding["id"]), set()).add(finding["status"])
    return result


def failed(result: dict) -> set:
    return {one["id"] for one in result["findings"] if one["status"] == "failed"}


def about(result: dict, ids: set) -> list:
    """What was said of these controls."""
    chosen = [one for one in result["findings"] if one["id"] in ids]
    return [(one["id"], one["status"], one["evidence"]) for one in chosen]


@pytest.fixture
def hardened(host, name, harden):
    """The host hardened, and put back as it was then."""
    if not host.file("/var/tmp/kept.tar").exists:
        run = harden()
        assert run.rc == 0, run.stdout
        shell(host, KEEP)
    yield
    shell(host, RESTORE, check=False)
    assert host.run("docker info").rc == 0


def test_as_the_distribution_leaves_it(host, name):
    result = judged(host, name)
    assert result["starts"] is True
    assert {"icc", "no-new-privileges", "live-restore", "logs-bounded"} <= failed(result)


def test_hardened(host, name, hardened):
    result = judged(host, name)
    assert result["starts"] is True
    # The container was there before, so the bridge was not made anew.
    grave = [one["id"] for one in result["findings"] if one["severity"] in ("high", "critical")]
    assert failed(result) & set(grave) == {"bridge-applied"}


@pytest.mark.parametrize("state", STATES)
def test_broken(host, name, hardened, state):
    script, expected = STATES[state]
    shell(host, PRELUDE + script)
    result = judged(host, name)
    assert expected <= failed(result), about(result, expected - failed(result))


@pytest.mark.parametrize("state", HOSTILE)
def test_nothing_stops_the_judge(host, name, hardened, state):
    script, unjudged = HOSTILE[state]
    shell(host, PRELUDE + script)
    begun = time.monotonic()
    done = host.run("/usr/local/bin/dockerd-validate --format json")
    try:
        assert time.monotonic() - begun < 10
        assert done.rc in (1, 2), done.stderr
        assert "Traceback" not in done.stderr
        result = json.loads(done.stdout)
        passed = {one["id"] for one in result["findings"] if one["status"] == "passed"}
        assert not unjudged & passed
    finally:
        shell(host, "systemctl stop impostor.service; pkill -CONT dockerd", check=False)


def test_every_control_was_seen_both_ways(host, name):
    lacking = {}
    for finding in judged(host, name)["findings"]:
        control = finding["id"]
        lacks = {"passed", "failed"} - SEEN[name, control] - set(UNSEEN.get(control, {}))
        if lacks:
            lacking[control] = lacks
    assert not lacking


def test_no_excuse_is_stale(host, name):
    """What UNSEEN says cannot be seen was not seen."""
    for control, statuses in UNSEEN.items():
        assert not set(statuses) & SEEN[name, control], control
