# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the daemon and could take the host: CIS chapter 5."""

from __future__ import annotations

from ..containers import Container, Mount, api_sockets
from ..findings import Control, Verdict, broken, not_applicable, unknown
from ..snapshot import Snapshot
from .rules import security_options

NAMED = 10  # containers in one finding's evidence
# Capabilities that hold the host as good as being root does, capabilities(7).
DANGEROUS = {
    "ALL",
    "BPF",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
}
# What switches a kernel's confinement off, by its name in /info.
UNCONFINED = {
    "seccomp": "seccomp=unconfined",
    "apparmor": "apparmor=unconfined",
    "selinux": "label=disable",
}


def _cis(number: str) -> dict:
    # Chapter 5 has the same ids in all three.
    return dict.fromkeys(("1.6", "1.7", "1.8"), number)


def _each(rule):
    """A control on each running container; ``rule`` gives what is wrong with one."""

    def judge(snapshot: Snapshot) -> Verdict:
        does = snapshot.does
        if does is None:
            return not_applicable("only a running host shows its containers")
        if not does.answers:
            return unknown("the containers are not known: %s" % does.problem)
        found = [(one.name, rule(snapshot, one)) for one in does.inspected]
        problems = ["%s %s" % (name, ", ".join(what)) for name, what in found if what]
        if len(problems) > NAMED:
            problems[NAMED:] = ["... and %d more" % (len(problems) - NAMED)]
        hidden = [
            "%s: %s" % (one.name, mount.problem)
            for one in does.inspected
            for mount in one.mounts
            if mount.problem
        ]
        if hidden and not problems and rule in (_socket, _sensitive):
            return unknown("; ".join(hidden[:NAMED]))
        return broken(problems, good="%d containers run" % len(found))

    return judge


def _mounts(mount: Mount) -> str:
    return "mounts %s on %s" % (mount.source, mount.destination)


def _socket(snapshot: Snapshot, container: Container) -> list[str]:
    """A read-only mount counts: it keeps nobody from connecting to the socket."""
    sockets = set(api_sockets(snapshot.instance, snapshot.told))
    return [_mounts(mount) for mount in container.mounts if sockets & set(mount.reaches)]


def _privileged(snapshot: Snapshot, container: Container) -> list[str]:
    return ["is privileged"] if container.privileged else []


def _confined(snapshot: Snapshot, container: Container) -> list[str]:
    if container.privileged:
        return []  # said already, and it switches all of this off
    added = sorted(DANGEROUS.intersection(container.capabilities))
    given = [option.replace(":", "=", 1) for option in container.security]
    # dockerd writes label=disable by itself, on hosts without SELinux too.
    off = [option for name, option in UNCONFINED.items() if _has(snapshot, name)]
    return ["has capability %s" % name for name in added] + [
        "has %s" % option for option in off if option in given
    ]


def _has(snapshot: Snapshot, name: str) -> bool:
    return any(one.split(",")[0] == "name=" + name for one in security_options(snapshot))


def _namespaces(snapshot: Snapshot, container: Container) -> list[str]:
    # Without userns-remap there is no other user namespace to be in.
    found = [kind for kind in container.shared if kind != "user" or _has(snapshot, "userns")]
    return ["shares the host's %s namespace" % " and ".join(found)] if found else []


def _limits(snapshot: Snapshot, container: Container) -> list[str]:
    info = snapshot.does.info
    return [
        "has no limit on %s" % name
        if name not in container.limits
        else "has a limit on %s that this host does not enforce" % name
        for name, key in (("memory", "MemoryLimit"), ("pids", "PidsLimit"))
        if name not in container.limits or info.get(key) is False
    ]


def _sensitive(snapshot: Snapshot, container: Container) -> list[str]:
    sockets = set(api_sockets(snapshot.instance, snapshot.told))
    return [
        _mounts(mount)
        for mount in container.mounts
        if mount.writable and set(mount.reaches) - sockets
    ]


CONTROLS = [
    Control(
        "container-socket",
        "No container can reach the socket of its own daemon",
        "critical",
        "Whoever takes over such a container is root on the host, be the mount read-only or not.",
        "Run the container without that mount; give it a TLS client of its own where it must have"
        " the API, and an authorization plugin in dockerd_options that limits it.",
        _each(_socket),
        _cis("5.32"),
    ),
    Control(
        "container-privileged",
        "No container is privileged",
        "high",
        "A privileged container has every capability and device, which is the host.",
        "Run it without --privileged, with the capabilities and devices that it needs.",
        _each(_privileged),
        _cis("5.5"),
    ),
    Control(
        "container-confined",
        "No container has capabilities that hold the host, or its confinement switched off",
        "medium",
        "What the default capabilities, seccomp and AppArmor keep in is the kernel's attack"
        " surface.",
        "Run it without that --cap-add or --security-opt.",
        _each(_confined),
        _cis("5.2, 5.4, 5.22"),
    ),
    Control(
        "container-namespaces",
        "No container shares a namespace of the host",
        "high",
        "It sees, and often reaches, the host's processes, memory or local services.",
        "Run it without that --pid, --network, --ipc, --uts or --userns host; publish ports"
        " instead.",
        _each(_namespaces),
        _cis("5.10, 5.16, 5.17, 5.21, 5.31"),
    ),
    Control(
        "container-limits",
        "Every container has a limit on memory and processes, its own or a slice's",
        "low",
        "One container otherwise starves the host and every other.",
        "Run it with --memory and --pids-limit, or set cgroup-parent in dockerd_options to a slice"
        " with MemoryMax= and TasksMax=.",
        _each(_limits),
        _cis("5.11, 5.29"),
    ),
    Control(
        "container-sensitive-mounts",
        "No container can write to a directory that makes the host what it is",
        "high",
        "Whoever writes to /etc, /boot or the daemon's own files is root on the host.",
        "Mount what the container needs and nothing above it, read-only where it only reads.",
        _each(_sensitive),
        _cis("5.6"),
    ),
]
