# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs a host that needs nothing."""

from __future__ import annotations

testinfra_hosts = ["ansible://docker_hosts"]

ROUND_TRIPS = 6  # docs/architecture.md, Cost


def test_a_host_that_needs_nothing_costs_a_handful_of_round_trips(harden, host, address):
    process = host.check_output("systemctl show docker.service --property=MainPID")
    run = harden("-vvv")
    assert "changed=0" in run.stdout.partition("PLAY RECAP")[2]
    commands = [line for line in run.stdout.splitlines() if "<%s> SSH: EXEC" % address in line]
    print(len(commands), "round trips")
    assert 2 <= len(commands) <= ROUND_TRIPS  # the certificate and the daemon were looked at
    assert host.check_output("systemctl show docker.service --property=MainPID") == process
