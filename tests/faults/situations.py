# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The situations in which a run is struck: from which disk, to which desired state."""

from __future__ import annotations

from dataclasses import dataclass, field

# The lab's machine may not be allowed to raise limits above its own.
LIMITS = {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 8192, "Hard": 16384}}}
OPERATOR = [{"name": "operator", "hosts": "{{ groups['docker_hosts'] }}", "user": "root"}]
ALICE = [{"name": "alice", "listen": ["0.0.0.0:2377"]}]
VIRGIN = "virgin"


@dataclass(frozen=True)
class Situation:
    """A run of playbooks/harden.yml.

    ``base`` is the situation whose end is this one's start. ``holds`` is false for a change that
    cannot hold and is rolled back. ``keeps`` tells whether the daemon has live-restore at the
    start, so that a restart by anybody leaves the containers alone. ``users`` are those who may
    have daemons of their own, and ``tags`` the parts of the playbook that are run. ``moves`` tells
    that the listener is wanted elsewhere, so that it may be missing until the next run.
    """

    name: str
    base: str
    variables: dict = field(default_factory=dict)
    holds: bool = True
    keeps: bool = True
    users: tuple[str, ...] = ()
    tags: str = ""
    moves: bool = False


SITUATIONS = {
    one.name: one
    for one in (
        Situation("first", VIRGIN, {"dockerd_tls_clients": OPERATOR}, keeps=False),
        Situation(
            "change",
            "first",
            {
                "dockerd_listen": ["0.0.0.0:2376", "0.0.0.0:2377"],
                "dockerd_options": {**LIMITS, "shutdown-timeout": 20, "log-level": "warn"},
            },
        ),
        Situation("close", "first", {"dockerd_listen": []}),
        Situation("open", "close"),
        Situation("renew", "first", {"dockerd_tls_key_type": "ecdsa-p384"}),
        Situation(
            "rollback-start",
            "first",
            {
                "dockerd_options": {**LIMITS, "storage-driver": "zfs"},
                "dockerd_allow_hidden_data": True,
            },
            holds=False,
        ),
        Situation(
            "rootless",
            "first",
            {"dockerd_rootless_users": ALICE, "dockerd_rootless_options": LIMITS},
            users=("alice",),
            tags="dockerd_rootless",
        ),
        Situation(
            "rootless-change",
            "rootless",
            {
                "dockerd_rootless_users": ALICE,
                "dockerd_rootless_options": {**LIMITS, "shutdown-timeout": 5, "log-level": "warn"},
                "dockerd_rootless_allow_container_stop": True,
            },
            users=("alice",),
            tags="dockerd_rootless",
        ),
        Situation(
            "rollback-listen",
            "first",
            {"dockerd_listen": ["10.9.9.9:2376"]},  # an address that the host lacks
            holds=False,
            moves=True,
        ),
    )
}
