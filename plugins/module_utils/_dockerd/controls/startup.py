# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will this dockerd start with this, and is anything in it accepted and not applied?"""

from __future__ import annotations

import posixpath

from .. import flags, rules
from ..drift import gaps, unapplied
from ..findings import (
    NOT_RUNNING,
    PASSED,
    Control,
    Verdict,
    broken,
    failed,
    not_applicable,
    passed,
    unknown,
)
from ..snapshot import DEFAULTS, Snapshot
from ..told import Place, Told, strings


def _problems(snapshot: Snapshot, fatal: bool) -> Verdict:
    told = snapshot.told
    given = flags.decode(told.flags, told.arguments, told.version)
    named = {**{flag.directive: None for flag in told.flags}, **given.values}
    found = [
        problem
        for problem in rules.problems(told.document, told.version, named)
        if problem.fatal == fatal
    ]
    problems = ["%s: %s" % (_where(told, problem), problem.message) for problem in found]
    places = [_place(told, problem) for problem in found]
    return broken(problems + (given.problems if fatal else []), places)


def _where(told: Told, problem: rules.Problem) -> str:
    """The line in the file, or else the flag."""
    if problem.line:
        return "%s line %d" % (told.config_path, problem.line)
    return told.where(problem.directive)


def _place(told: Told, problem: rules.Problem) -> Place:
    if problem.line:
        return Place(told.config_path, problem.line, problem.column or 0)
    return told.place(problem.directive)


def _parses(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.unreadable:
        return unknown(told.unreadable)
    return failed(told.error, told.error_place) if told.error else passed()


def _accepted(snapshot: Snapshot) -> Verdict:
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    verdict = _problems(snapshot, fatal=True)
    if verdict.status == PASSED and snapshot.told.version is None:
        return unknown("the engine's version is not known, so neither are its directives")
    return verdict


def _ignored(snapshot: Snapshot) -> Verdict:
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    return _problems(snapshot, fatal=False)


def _origin(told: Told) -> str:
    return told.words[0].origin


def _unit(snapshot: Snapshot) -> Verdict:
    told, instance = snapshot.told, snapshot.instance
    if told.service is None and told.words:
        return passed("there is no %s here; judged with %s" % (instance.service, _origin(told)))
    if told.service is None:
        return unknown("there is no %s here" % instance.service)
    masked = [
        "%s is masked" % name
        for name, unit in ((instance.service, told.service), (instance.socket, told.socket))
        if unit and unit.masked
    ]
    return broken(masked or ([] if told.words else ["%s has no ExecStart" % instance.service]))


def _socket_group(snapshot: Snapshot) -> Verdict:
    """systemd does not start a socket whose user or group it cannot find, systemd.socket(5)."""
    missing = [
        "%s=%s names nobody on this host" % (key, name)
        for key, name in snapshot.missing_owners.items()
    ]
    return broken(missing)


def _referenced(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    paths: dict = dict(told.tls_files)
    seccomp = told.setting("seccomp-profile")
    words = ("", "builtin", "unconfined") if (told.version or (23,)) >= (23,) else ("",)
    if isinstance(seccomp, str) and seccomp not in words:
        paths["seccomp-profile"] = seccomp
    paths = {
        name: posixpath.join("/", path)
        for name, path in paths.items()
        if path and isinstance(path, str)
    }
    missing = [
        "%s (%s) is not there: %s" % (name, told.where(name), path)
        for name, path in paths.items()
        if not snapshot.files.get(path) and path not in snapshot.unreadable
    ]
    if missing and not snapshot.whole:
        return unknown("this directory may lack what the host has: %s" % "; ".join(missing))
    missing += [
        "%s (%s) is a directory: %s" % (name, told.where(name), path)
        for name, path in paths.items()
        if getattr(snapshot.files.get(path), "kind", "") == "directory"
    ]
    unseen = [snapshot.unreadable[path] for path in paths.values() if path in snapshot.unreadable]
    if unseen and not missing:
        return unknown("cannot be looked at: %s" % ", ".join(unseen))
    places = [told.place(name) for name, path in paths.items() if not snapshot.files.get(path)]
    return broken(missing, places)


def _provided(snapshot: Snapshot) -> Verdict:
    needs = snapshot.needs
    if needs.unknown and not needs.missing:
        return unknown("; ".join(needs.unknown))
    return broken(needs.missing)


def _swarm(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.setting("live-restore") is not True:
        return passed("live-restore is off")
    if snapshot.swarm is None:
        return unknown("whether this host is in a swarm is not known")
    if snapshot.swarm:
        return failed(
            "live-restore is told (%s) on a swarm node" % told.where("live-restore"),
            told.place("live-restore"),
        )
    return passed("this host is in no swarm")


def _applied(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    found = ["%s (%s)" % (gap.what, gap.need) for gap in gaps(snapshot)]
    found += ["/info shows another value for %s" % name for name in unapplied(snapshot)]
    if not found and not snapshot.does.answers:
        return unknown(snapshot.does.problem)
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
            differing.append(
                (
                    directive,
                    "%s is %s, and %s says %s" % (directive, _text(wanted), option, live[option]),
                )
            )
    return broken(
        ["%s (%s)" % (what, told.where(directive)) for directive, what in differing],
        [told.place(directive) for directive, dummy in differing],
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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
CONTROLS = [
    Control(
        "config-parses",
        "daemon.json is readable JSON",
        "critical",
        "dockerd refuses to start with a file that it cannot parse.",
        "Mend the file at the position named; the dockerd role writes it from dockerd_options.",
        _parses,
        {},
        starts=True,
    ),
    Control(
        "config-accepted",
        "Every directive is one that this engine takes",
        "critical",
        "dockerd refuses to start with a directive that it does not know, cannot decode, or is"
        " also given by a flag.",
        "Change or remove the directive named, in dockerd_options or in the file.",
        _accepted,
        {},
        starts=True,
    ),
    Control(
        "config-ignored",
        "No directive is accepted and silently ignored",
        "high",
        "A setting that dockerd accepts without applying it protects nobody.",
        "Write the directive under the name given.",
        _ignored,
        {},
    ),
    Control(
        "unit-usable",
        "The units can start dockerd",
        "critical",
        "A masked unit, or one without a command, starts nothing.",
        "systemctl unmask the unit, or remove the drop-in that empties ExecStart.",
        _unit,
        {},
        starts=True,
    ),
    Control(
        "socket-owner-exists",
        "The owner that docker.socket names exists",
        "critical",
        "systemd does not open a socket whose user or group it cannot find.",
        "Create the group, or set dockerd_socket_user and dockerd_socket_group.",
        _socket_group,
        {},
        starts=True,
    ),
    Control(
        "files-present",
        "Every file that the configuration names is there",
        "critical",
        "dockerd does not start without the certificates and the seccomp profile it is told of.",
        "Run the dockerd_tls role first, or mend the path in dockerd_options.",
        _referenced,
        {},
        starts=True,
    ),
    Control(
        "host-provides",
        "The host has what the configuration needs",
        "critical",
        "dockerd does not start without the users, programs and directories it is told of, nor with"
        " what the kernel does not do.",
        "Make what is named, or change the directive in dockerd_options.",
        _provided,
        {},
        starts=True,
    ),
    Control(
        "swarm-live-restore",
        "live-restore is off in a swarm",
        "critical",
        "dockerd refuses live-restore on a swarm node and does not start.",
        "Remove live-restore from daemon.json; the dockerd role leaves it out in a swarm.",
        _swarm,
        {},
        starts=True,
    ),
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
