# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof that the daemon is what it shall be, and what it said where it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .does import steady_pid
from .errors import HostError
from .host import Host
from .instance import Instance
from .journal import Journal

if TYPE_CHECKING:
    from .plan import Plan

# Exit codes of a container that was stopped from outside: SIGKILL, SIGTERM, and runc's own.
STOPPED = (137, 143, 255)
# How dockerd, systemd and our guard begin what went wrong.
MARKS = (
    "level=error",
    "level=fatal",
    "failed to start",
    "failed to load",
    "Failed to",
    "unable to",
    "] error:",
    "no sockets found",
    "changed",
    "panic:",
)


def probe(plan: Plan, host: Host, journal: Journal) -> None:
    """See that the answering daemon does what the plan wants.

    Raises HostError with the first thing that is not so.
    """
    instance = plan.snapshot.instance
    certificate = plan.candidate.tls.leaf
    for listener in plan.candidate.told.tcp:
        served, answered = host.handshake(listener.reach, listener.port)
        if answered:
            raise HostError("%s answers a client without a certificate" % listener.address)
        if served != certificate:
            raise HostError("%s does not serve the certificate in tlscert" % listener.address)
    lost = lost_containers(instance, host, journal)
    if lost:
        raise HostError("containers did not survive: %s" % ", ".join(lost))


def live_restores(instance: Instance, host: Host) -> bool:
    """Whether containers outlive a restart of the daemon as it runs now."""
    status, body = host.get(instance.socket_path, "/info")
    told = json.loads(body) if status == 200 else {}
    return told.get("LiveRestoreEnabled") is True and not instance.rootless


def newcomers(instance: Instance, host: Host, journal: Journal) -> dict[str, list]:
    """Running containers that the journal does not know: id -> [name, pid]."""
    found = {}
    for one in json.loads(host.get(instance.socket_path, "/containers/json")[1]):
        number = one["Id"]
        if number not in journal.containers and number not in journal.given_up:
            status, body = host.get(instance.socket_path, "/containers/%s/json" % number)
            if status == 200:
                told = json.loads(body)
                found[number] = [told["Name"].lstrip("/"), steady_pid(told)]
    return found


def lost_containers(
    instance: Instance, host: Host, journal: Journal, given_up: bool = False
) -> list[str]:
    """Names of containers that ran before and were stopped from outside since.

    With ``given_up`` also those that the operator let stop. One that ended by itself, or was
    removed by its owner meanwhile, is not lost.
    """
    if journal.identity and journal.identity[0] != host.boot:
        return []  # the host was restarted meanwhile, which no container survives
    watched = {**journal.containers, **(journal.given_up if given_up else {})}
    lost = []
    for name, (label, pid) in watched.items():
        status, body = host.get(instance.socket_path, "/containers/%s/json" % name)
        if status == 404 or not pid:
            continue
        told = json.loads(body)
        state = told["State"]
        if state.get("Running"):
            # One that was let stop may have been started again by its restart policy, and so may
            # one that ended by itself. dockerd's own start does not count as that.
            ended = bool(told.get("RestartCount"))
            if state.get("Pid") != pid and name in journal.containers and not ended:
                lost.append(label)
        elif state.get("ExitCode") in STOPPED:
            lost.append(label)
    return lost


def daemon_words(instance: Instance, host: Host, since: float) -> str:
    """What the daemon and its sockets said that went wrong since then, shortened."""
    units = [word for unit in (instance.service, instance.tls_socket) for word in ("-u", unit)]
    if instance.rootless:
        units = ["_UID=%d" % instance.user.uid, "_SYSTEMD_USER_UNIT=%s" % instance.service]
    answer = host.run(
        ["journalctl", *units, "--since", "@%d" % since, "-o", "cat", "--no-pager", "-n", "200"]
    )
    words = [line for line in answer.out.splitlines() if any(mark in line for mark in MARKS)]
    return " / ".join(dict.fromkeys(words[:6]))[:2000]
