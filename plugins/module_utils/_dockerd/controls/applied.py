# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is anything told, accepted by dockerd, and not done?"""

from __future__ import annotations

from ..drift import UPGRADED, gaps, unapplied
from ..findings import (
    NOT_RUNNING,
    Control,
    Verdict,
    broken,
    failed,
    not_applicable,
    passed,
    unknown,
)
from ..snapshot import DEFAULTS, Snapshot
from ..told import Place, strings
from .rules import as_written

# Directives that make options of the default bridge, and their defaults.
BRIDGE = {
    "icc": ("com.docker.network.bridge.enable_icc", True),
    "ip-masq": ("com.docker.network.bridge.enable_ip_masquerade", True),
    "ip": ("com.docker.network.bridge.host_binding_ipv4", None),
    "mtu": ("com.docker.network.driver.mtu", None),
}
# systemd.resource-control(5)
SERVICE_LIMITS = (
    "CPUQuota",
    "MemoryHigh",
    "MemoryLimit",
    "MemoryMax",
    "MemorySwapMax",
    "TasksMax",
    "IOReadBandwidthMax",
    "IOWriteBandwidthMax",
    "IOReadIOPSMax",
    "IOWriteIOPSMax",
)


def _applied(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    found = ["%s (%s)" % (gap.what, gap.need) for gap in gaps(snapshot) if gap.what != UPGRADED]
    found += ["/info shows another value for %s" % name for name in unapplied(snapshot)]
    return broken(sorted(set(found)))


def _bridge(snapshot: Snapshot) -> Verdict:
    """The options of the default bridge, moby daemon/daemon_unix.go initBridgeDriver."""
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    if not snapshot.does.answers:
        return unknown(snapshot.does.problem)
    told, live = snapshot.told, snapshot.does.bridge
    if not live:
        return not_applicable("there is no default bridge")
    differing = []
    for directive, (option, default) in BRIDGE.items():
        wanted = told.setting(directive, default)
        if wanted is not None and option in live and str(wanted).lower() != live[option]:
            words = (directive, as_written(wanted), option, live[option])
            differing.append((directive, "%s is %s, and %s says %s" % words))
    return broken(
        ["%s (%s)" % (what, told.where(directive)) for directive, what in differing],
        [told.place(directive) for directive, dummy in differing],
    )


def _group(snapshot: Snapshot) -> Verdict:
    """The socket of systemd has its owner from docker.socket, moby issue 32611."""
    told = snapshot.told
    if told.setting("group") is None:
        return not_applicable("no group is told")
    hosts = strings(told.setting("hosts"))
    if any(host.startswith("unix://") for host in hosts) or not any(
        host.startswith("fd://") for host in hosts
    ):
        return passed("dockerd makes the socket itself")
    return failed(
        "group: %s (%s) does nothing, because systemd makes the socket"
        % (told.setting("group"), told.where("group")),
        told.place("group"),
    )


def _service_limits(snapshot: Snapshot) -> Verdict:
    """Containers are in cgroups beside the service's, moby daemon/daemon_unix.go UsingSystemd."""
    service = snapshot.told.service
    if service is None or service.masked:
        return not_applicable("there is no unit here")
    found = [
        (name, setting)
        for name in SERVICE_LIMITS
        for setting in service.settings("Service", name)[-1:]
        if setting.value not in ("infinity", "max")
    ]
    return broken(
        ["%s=%s in %s line %d" % (name, at.value, at.path, at.line) for name, at in found],
        [Place(at.path, at.line) for dummy, at in found],
    )


def _defaults(snapshot: Snapshot) -> Verdict:
    """Docker's own packages do not read /etc/default/docker; Debian's do."""
    told = snapshot.told
    if told.service is None or told.service.masked or snapshot.instance.rootless:
        return not_applicable("there is no unit here that could read it")
    origins = {word.path for word in told.words}
    ignored = [
        "%s in %s line %d reaches no command line" % (name, path, line)
        for path, assignments in snapshot.defaults.items()
        for name, value, line in assignments
        if name in DEFAULTS.values() and value and path not in origins
    ]
    return broken(ignored, [Place(path) for path in snapshot.defaults] if ignored else [])


def _loaded(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    stale = [
        name
        for name, shown in snapshot.does.units.items()
        if shown.get("NeedDaemonReload") == "yes"
    ]
    return broken(["%s changed on disk after systemd read it" % name for name in stale])


CONTROLS = [
    Control(
        "config-applied",
        "The running daemon has what it is told",
        "high",
        "A file that says so protects nobody while the daemon does otherwise.",
        "Run the dockerd role, which reloads or restarts the daemon as needed.",
        _applied,
        {},
    ),
    Control(
        "bridge-applied",
        "The default bridge has what the configuration says",
        "high",
        "A bridge with containers on it is not made anew, and keeps its former rules.",
        "Restart dockerd while no container is on the default bridge.",
        _bridge,
        {},
    ),
    Control(
        "group-ignored",
        "The socket's group is set where it counts",
        "high",
        "Under socket activation the group directive is accepted and does nothing.",
        "Remove group, and set dockerd_socket_group.",
        _group,
        {},
    ),
    Control(
        "service-limits",
        "No limit is set on docker.service in place of the containers",
        "high",
        "Limits of docker.service bind dockerd; containers run in cgroups of their own.",
        "Move the limits to a slice, and name it as cgroup-parent in dockerd_options.",
        _service_limits,
        {},
    ),
    Control(
        "defaults-ignored",
        "The options in the environment file reach dockerd",
        "high",
        "The unit of Docker's own packages does not read that file.",
        "Move the options to dockerd_options, and empty the file.",
        _defaults,
        {},
    ),
    Control(
        "units-loaded",
        "systemd has read the units as they are on disk",
        "high",
        "A unit that changed on disk does nothing until systemd reads it again.",
        "Run the dockerd role, or systemctl daemon-reload and restart the unit.",
        _loaded,
        {},
    ),
]
