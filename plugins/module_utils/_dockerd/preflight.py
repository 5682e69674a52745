# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The candidate judged before anything is touched."""

from __future__ import annotations

from . import config
from .controls import CONTROLS
from .does import data_root
from .errors import Refused
from .findings import FAILED, Control, judge, redact
from .host import Host
from .plan import Plan
from .snapshot import Snapshot
from .told import TLS_DIRECTIVES, dockerd

VALIDATES = (23, 0)  # the first engine with dockerd --validate, moby 8f80e55111
ROOM = 1024 * 1024  # bytes that must be free before anything is written


def preflight(plan: Plan, host: Host, allow: frozenset) -> None:
    """Judge the candidate. Raises Refused naming everything that is wrong with it.

    What is as it was wanted, and does not work, is refused as well.
    """
    problems = wrong(plan.candidate, [one for one in CONTROLS if one.starts or one.blocks])
    if plan.changed and not problems:
        problems = _obstacles(plan, host) + _ports_taken(plan, host) + _validate(plan, host)
    if problems:
        raise Refused(
            "Docker would not work with this; nothing was changed. %s" % redact(" ".join(problems)),
            problems=[redact(problem) for problem in problems],
        )
    for variable, danger in plan.dangers.items():
        if variable not in allow:
            raise Refused(
                "Refused, and nothing was changed: %s. Set %s: true to accept that."
                % (danger, variable)
            )


def wrong(snapshot: Snapshot, controls: list[Control]) -> list[str]:
    """What fails of these controls, each with the way out."""
    return [
        "%s: %s. %s" % (finding.control.title, finding.evidence.rstrip("."), finding.control.remedy)
        for finding in judge(snapshot, controls)
        if finding.status == FAILED
    ]


def _obstacles(plan: Plan, host: Host) -> list[str]:
    """Places that cannot be written: by us, by a daemon that starts, or to put all back."""
    does, instance = plan.snapshot.does, plan.snapshot.instance
    paths = [change.path for change in plan.files]
    paths += [instance.state_directory, "/run", data_root(instance, plan.candidate.told, does)]
    if plan.keeper is not None:
        paths.append(plan.snapshot.told.config_path)
    found = [(path, host.obstacle(path, ROOM)) for path in dict.fromkeys(paths)]
    return ["%s %s." % (path, words) for path, words in found if words]


def _ports_taken(plan: Plan, host: Host) -> list[str]:
    """TCP ports that somebody else listens on already."""
    does = plan.snapshot.does
    if not does:
        return []
    ours = {
        listener.port
        for listener in plan.snapshot.told.tcp
        if does.active(plan.snapshot.instance.tls_socket or plan.snapshot.instance.service)
    }
    listen = "dockerd_rootless_users" if plan.snapshot.instance.rootless else "dockerd_listen"
    problems = []
    for listener in plan.candidate.told.tcp:
        inodes = does.ports.get(listener.port, set())
        if inodes and not inodes & does.descriptors and listener.port not in ours:
            problems.append(
                "Port %d (%s) is taken by %s; stop it, or choose another port in %s."
                % (listener.port, listener.address, _holder(host, inodes), listen)
            )
    return problems


def _holder(host: Host, inodes: set) -> str:
    wanted = {"socket:[%d]" % inode for inode in inodes}
    for pid in filter(str.isdigit, host.list("/proc")):
        links = (
            host.link("/proc/%s/fd/%s" % (pid, name)) for name in host.list("/proc/%s/fd" % pid)
        )
        if any(link in wanted for link in links):
            return "process %s (%s)" % (pid, host.link("/proc/%s/exe" % pid) or "unknown")
    return "another service"


def _validate(plan: Plan, host: Host) -> list[str]:
    """What this very dockerd says of the candidate, with the unit's own flags."""
    told = plan.candidate.told
    if not host.live or not told.words or not told.version:
        return []
    if told.version < VALIDATES or told.document is None:
        return []
    data = dict(told.data)
    # dockerd --validate creates the user and its id ranges, moby daemon/daemon_unix.go.
    data.pop("userns-remap", None)
    predicted = [data.get(name) for name in TLS_DIRECTIVES[2:]]
    if any(isinstance(path, str) and not host.stat(path) for path in predicted):
        for name in TLS_DIRECTIVES:
            data.pop(name, None)
    flags = [
        word
        for flag in told.flags
        if flag.directive not in ("config-file", "userns-remap")
        for word in flag.words
    ]
    instance, path = plan.snapshot.instance, "/dev/stdin"
    answer = host.run(
        [*dockerd(instance, told), *flags, "--validate", "--config-file", path],
        standard_input=config.render(data),
        env={} if instance.rootless else told.environment,
    )
    if answer.rc == 0:
        return []
    return ["dockerd --validate: %s." % answer.words.replace(path, told.config_path)]
