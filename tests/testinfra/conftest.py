# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share: each host, and another machine to look at it from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner
from xdist.scheduler import LoadScopeScheduling


class ByHost(LoadScopeScheduling):
    """With --numprocesses: one host's tests in their order, those of two hosts side by side."""

    def _split_scope(self, nodeid: str) -> str:
        return re.search("ansible://([a-z0-9]+)", nodeid).group(1)


def pytest_xdist_make_scheduler(config, log) -> ByHost:
    return ByHost(config, log)


@pytest.fixture(scope="session")
def inventory(request) -> str:
    """The inventory's path."""
    return request.config.option.ansible_inventory


@pytest.fixture
def name(host) -> str:
    """The host's name in the inventory."""
    return host.backend.host


@pytest.fixture
def address(host) -> str:
    """The host's address in the lab."""
    return host.ansible.get_variables()["ansible_host"]


@pytest.fixture
def other(name, inventory):
    """Another machine of the lab."""
    names = AnsibleRunner(inventory).get_hosts("docker_hosts")
    there = names[(names.index(name) + 1) % len(names)]
    assert there != name, "the lab needs two hosts"
    return testinfra.get_host("ansible://" + there, ansible_inventory=inventory)


@pytest.fixture
def info(host):
    """Ask the daemon for /info."""

    def ask() -> dict:
        return json.loads(host.check_output("docker info --format '{{json .}}'"))

    return ask


@pytest.fixture
def virgin(name):
    """The host as after its first boot."""
    lab = Path(__file__).parents[1] / "lab" / "lab.py"
    subprocess.run([sys.executable, lab, "reset", name], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def start_survivor(host):
    """Run the container that must survive."""

    def start() -> None:
        host.check_output("docker import /opt/busybox.tar busybox")
        host.check_output(
            "docker run --detach --name survivor --publish 8080:8080 busybox httpd -f -p 8080"
        )
        host.check_output(
            "docker inspect --format '{{.State.Pid}}' survivor > /var/tmp/survivor.pid"
        )

    return start


@pytest.fixture
def survivor(host):
    """Assert that the container which ran before has the same process and answers."""

    def check() -> None:
        now = host.check_output("docker inspect --format '{{.State.Pid}}' survivor")
        assert now == host.file("/var/tmp/survivor.pid").content_string.strip()
        assert "404" in host.check_output("curl --silent --max-time 5 http://127.0.0.1:8080/")

    return check


class Harden:
    """Runs playbooks/harden.yml against one host, as its operator would."""

    playbook = Path(__file__).parents[2] / "playbooks" / "harden.yml"

    def __init__(self, inventory: str, name: str, *arguments: str) -> None:
        self._command = ["ansible-playbook", "--inventory", inventory, "--limit", name, *arguments]

    def start(self, *arguments: str, **variables: object) -> Running:
        """Start a run; the lab's own variables hold where none are given."""
        # The lab's limits are in dockerd_options, which a test replaces as a whole.
        if "dockerd_options" in variables:
            variables["dockerd_options"] = {"default-ulimits": None, **variables["dockerd_options"]}
        extra = ["--extra-vars", json.dumps(variables)]
        return Running([*self._command, str(self.playbook), *extra, *arguments])

    def __call__(self, *arguments: str, **variables: object) -> Ended:
        """Run to the end."""
        return self.start(*arguments, **variables).wait()


@dataclass
class Ended:
    """A run that came to its end."""

    rc: int
    stdout: str


class Running:
    """A run that was started."""

    def __init__(self, command: list) -> None:
        wide = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self._process = subprocess.Popen(command, env=wide, **pipes)

    def wait(self) -> Ended:
        """Its end: the status and all that it printed."""
        output = self._process.communicate(timeout=300)[0]
        return Ended(self._process.returncode, output)


@pytest.fixture
def harden(name, inventory) -> Harden:
    """Run playbooks/harden.yml against the host."""
    return Harden(inventory, name)
