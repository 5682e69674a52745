# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will this dockerd start with this, and is anything in it accepted and not applied?"""

from __future__ import annotations

from .. import config
from ..drift import gaps, unapplied
from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..told import TLS_DIRECTIVES, strings


def _problems(snapshot: Snapshot, fatal: bool) -> list[str]:
    told = snapshot.told
    if told.document is None:
        return []
    flags = {flag.directive: told.setting(flag.directive) for flag in told.flags}
    return [
        "%s%s: %s"
        % (told.config_path, " line %d" % problem.line if problem.line else "", problem.message)
        for problem in config.problems(told.document, told.version, flags)
        if problem.fatal == fatal
    ]


def _parses(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.unreadable:
        return unknown(told.unreadable)
    return failed(told.error) if told.error else passed()


def _accepted(snapshot: Snapshot) -> Verdict:
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    problems = _problems(snapshot, fatal=True)
    if not problems and snapshot.told.version is None:
        return unknown("the engine's version is not known, so neither are its directives")
    return broken(problems)


def _ignored(snapshot: Snapshot) -> Verdict:
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    return broken(_problems(snapshot, fatal=False))


def _unit(snapshot: Snapshot) -> Verdict:
    told, instance = snapshot.told, snapshot.instance
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
    paths = {}
    if told.setting("tls") is not None or told.setting("tlsverify") is not None:
        paths = {name: told.setting(name) for name in TLS_DIRECTIVES[2:]}
    seccomp = told.setting("seccomp-profile")
    if seccomp not in (None, "", "builtin", "unconfined"):
        paths["seccomp-profile"] = seccomp
    paths = {name: path for name, path in paths.items() if isinstance(path, str)}
    missing = [
        "%s (%s) is not there: %s" % (name, told.where(name), path)
        for name, path in paths.items()
        if path in snapshot.files and not snapshot.files[path] and path not in snapshot.unreadable
    ]
    unseen = [path for path in paths.values() if path not in snapshot.files]
    unseen += [snapshot.unreadable[path] for path in paths.values() if path in snapshot.unreadable]
    if unseen and not missing:
        return unknown("cannot be looked at: %s" % ", ".join(unseen))
    return broken(missing)


def _plugins(snapshot: Snapshot) -> Verdict:
    names = strings(snapshot.told.setting("authorization-plugins"))
    if not names:
        return not_applicable("no authorization plugin is configured")
    if snapshot.does is None:
        return unknown("plugins can be found on a running host only")
    missing = [name for name in names if not snapshot.plugins.get(name)]
    return broken(
        [
            "authorization plugin %s (%s) has no socket in /run/docker/plugins and no"
            " specification in /etc/docker/plugins or /usr/lib/docker/plugins"
            % (name, snapshot.told.where("authorization-plugins"))
            for name in missing
        ]
    )


def _swarm(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("live-restore") is not True:
        return passed()
    if snapshot.does is None or not snapshot.does.info:
        return unknown("whether this host is in a swarm is only known by its daemon")
    if snapshot.does.swarm:
        return failed(
            "live-restore is told (%s) on a swarm node" % snapshot.told.where("live-restore")
        )
    return passed()


def _applied(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return unknown("there is no running daemon to compare with")
    found = ["%s (%s)" % (gap.what, gap.need) for gap in gaps(snapshot)]
    found += ["/info shows another value for %s" % name for name in unapplied(snapshot)]
    return broken(sorted(set(found)))


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
        "plugins-present",
        "Every authorization plugin can be found",
        "critical",
        "dockerd waits for a plugin that is not there, and then does not start.",
        "Start the plugin first, or take it out of authorization-plugins in dockerd_options.",
        _plugins,
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
]
