# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share: each host, and another machine to look at it from."""

from __future__ import annotations

import json

import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner


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
def survivor(host):
    """Assert that the container which ran before has the same process and answers."""

    def check() -> None:
        now = host.check_output("docker inspect --format '{{.State.Pid}}' survivor")
        assert now == host.file("/var/tmp/survivor.pid").content_string.strip()
        assert host.run("curl --silent --fail --max-time 5 http://127.0.0.1:8080/bin/").rc in (
            0,
            22,
        )

    return check
