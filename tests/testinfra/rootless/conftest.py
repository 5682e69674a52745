# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of rootless daemons share."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

USERS = json.loads((Path(__file__).parent / "users.json").read_text(encoding="utf-8"))


class Account:
    """A user of a host, and what the user's own docker says."""

    def __init__(self, host, name: str) -> None:
        self.host, self.name = host, name

    @property
    def uid(self) -> int:
        return self.host.user(self.name).uid

    @property
    def start(self) -> int:
        """The first of the user's subordinate ids."""
        own = "grep '^%s:' %s | cut -d: -f2-3"
        ids = self.host.check_output(own % (self.name, "/etc/subuid"))
        assert ids == self.host.check_output(own % (self.name, "/etc/subgid"))
        first, count = ids.split(":")
        assert int(count) == 65536
        return int(first)

    def run(self, command: str):
        """Run a command as the user would after logging in."""
        words = "runuser --user=%s -- env XDG_RUNTIME_DIR=/run/user/%d HOME=/home/%s %s"
        return self.host.run(words % (self.name, self.uid, self.name, command))

    def says(self, command: str) -> str:
        """What a command prints that must not fail."""
        done = self.run(command)
        assert done.rc == 0, done.stderr
        return done.stdout.strip()

    def has_image(self) -> None:
        if not self.says("docker images --quiet busybox"):
            self.says("docker import /opt/busybox.tar busybox")

    def info(self) -> dict:
        return json.loads(self.says("docker info --format '{{json .}}'"))

    @property
    def process(self) -> str:
        """The daemon's rootlesskit."""
        return self.says("systemctl --user show docker.service --property=MainPID --value")


@pytest.fixture
def account(host):
    """A user of the host by name."""
    return lambda name: Account(host, name)


@pytest.fixture
def alice(account) -> Account:
    return account("alice")


@pytest.fixture
def bob(account) -> Account:
    return account("bob")


@pytest.fixture
def users() -> list:
    """The scenario's users, to change."""
    return copy.deepcopy(USERS)


@pytest.fixture
def rootless(harden, host):
    """Run the part of playbooks/harden.yml that is about these users."""
    limits = host.ansible.get_variables()["dockerd_options"]

    def run(users: list, *arguments: str, **variables: object):
        return harden(
            *("--tags", "dockerd_rootless", *arguments),
            dockerd_rootless_users=users,
            dockerd_rootless_options=limits,
            **variables,
        )

    return run
