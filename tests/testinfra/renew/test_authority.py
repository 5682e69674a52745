# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another authority than the one that hosts trust: refused, meant, or with overlap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

PURPOSES = ("servers", "clients")
REPLACE = {"dockerd_tls_replace_authority": True}
DIGESTS = "find /etc /root -type f -exec sha256sum {} + | sort"
FORMER = "/var/tmp/former"


class Operator:
    """A checkout: where its authority and its own clients are."""

    def __init__(self, place: Path) -> None:
        self.authority, self.clients = place / "dockerd-authority", place / "dockerd-clients"
        self.told = {
            "dockerd_tls_authority_directory": str(self.authority),
            "dockerd_tls_client_directory": str(self.clients),
        }

    @property
    def files(self) -> list:
        places = (self.authority, self.clients)
        return [path for place in places for path in place.rglob("*") if path.is_file()]


class Story:
    """What a second operator does to the hosts of the first, and how it ends."""

    def __init__(self, fleet, place: Path) -> None:
        self.fleet = fleet
        self.first = Operator(Path(fleet.inventory).parent)
        self.second = Operator(place / "second")
        fleet.harden()
        for host in fleet.hosts.values():
            host.check_output("rm -rf %s && cp -a /root/.docker/operator %s", FORMER, FORMER)
        self.before = self.look()
        self.predicted = fleet.attempt(self.second.told, "--check")
        self.refused = fleet.attempt(self.second.told)
        self.after, self.made = self.look(), self.second.files
        self.replaced = fleet.harden(self.second.told, REPLACE)
        self.versions = self.ask()
        self.now = self.look()
        self.back = fleet.attempt()
        self.unmoved = self.look()
        # In front the first's, which signs, and behind it the second's, which is trusted, too.
        self.both = Operator(place / "both")
        shutil.copytree(self.first.authority, self.both.authority)
        for purpose in PURPOSES:
            bundle = self.both.authority / purpose / "ca.pem"
            old = (self.second.authority / purpose / "ca.pem").read_bytes()
            bundle.write_bytes(bundle.read_bytes() + old)
        self.overlap = fleet.harden(self.both.told)
        self.again = fleet.harden()
        self.settled = fleet.harden()
        self.last = self.ask()

    def look(self) -> list:
        return [
            (self.fleet.daemon(name), self.fleet.served(name), host.check_output(DIGESTS))
            for name, host in self.fleet.hosts.items()
        ]

    def ask(self) -> dict:
        """Whether the former client and the present one are let in."""
        return {
            name: (self.fleet.version(name, FORMER).rc, self.fleet.version(name).rc)
            for name in self.fleet.hosts
        }


@pytest.fixture(scope="module")
def story(fleet, tmp_path_factory) -> Story:
    return Story(fleet, tmp_path_factory.mktemp("operators"))


def test_a_second_operator_is_refused_on_every_host(story, name):
    for run in (story.predicted, story.refused):
        assert run.rc != 0
        said = [one["result"].get("msg", "") for one in run.results if one["host"] == name]
        assert "/etc/docker/tls/ca.pem trusts CN=Docker clients authority" in said[-1]
        assert "dockerd_tls_replace_authority: true" in said[-1]


def test_and_nothing_is_made_or_written(story):
    assert story.after == story.before
    assert story.made == []


def test_whoever_means_it_locks_the_others_out_at_once(story, name):
    assert story.replaced.changed(name)
    former, present = story.versions[name]
    assert former != 0
    assert present == 0


def test_the_first_operator_is_refused_then_as_well(story, name):
    assert story.back.rc != 0
    said = [one["result"].get("msg", "") for one in story.back.results if one["host"] == name]
    assert "there is none yet" not in said[-1]
    assert "dockerd_tls_replace_authority" in said[-1]
    assert story.unmoved == story.now


def test_with_overlap_no_word_is_needed(story, name):
    for run in (story.overlap, story.again):
        assert run.changed(name)
    assert story.settled.changed(name) == []
    former, present = story.last[name]
    assert (former, present) == (0, 0)  # the first's authority is back, its old leaf counts
