# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon's and the containers' clients noticed of two runs: a pause, and no refusal."""

from __future__ import annotations

import json

import pytest

testinfra_hosts = ["ansible://docker_hosts"]


@pytest.fixture
def load(host) -> dict:
    """The counts of tests/testinfra/load.py, which ran since before the first run."""
    host.run("systemctl stop load.service")
    return json.loads(host.check_output("cat /var/tmp/load.json"))


def test_no_request_on_the_socket_was_lost(load):
    print("unix socket:", load["socket"])
    assert load["socket"]["requests"] > 10000
    assert load["socket"]["lost"] == 0, load["socket"]["why"]
    assert load["socket"]["slowest"] < 10


def test_the_container_answered_throughout(load):
    print("container:", load["container"])
    assert load["container"]["requests"] > 500
    assert load["container"]["lost"] == 0, load["container"]["why"]


def test_the_published_port_paused_for_a_moment(load):
    """dockerd writes its packet filter rules anew when it starts; README.md, Promises."""
    print("published port:", load["published"])
    assert load["published"]["requests"] > 500
    assert load["published"]["lost"] * 0.02 < 1  # seconds
