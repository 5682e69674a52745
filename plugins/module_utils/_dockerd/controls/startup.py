# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will this dockerd start with this, and does it take every directive as written?"""

from __future__ import annotations

import posixpath

from .. import flags, rules
from ..does import load_error
from ..findings import PASSED, Control, Verdict, broken, failed, passed, unknown
from ..snapshot import Snapshot
from ..told import Place, Told

_OLDEST = (20, 10)  # the first engine in the table of directives


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
    version = snapshot.told.version
    if version is not None and version < _OLDEST:
        engine = snapshot.told.version_text
        return unknown("Engine %s is older than 20.10, and its directives are not known" % engine)
    verdict = _problems(snapshot, fatal=True)
    if verdict.status == PASSED and version is None:
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
    if masked or not told.words:
        return broken(masked or ["%s has no ExecStart" % instance.service])
    loaded = snapshot.does.units.values() if snapshot.does else []
    refused = [*filter(None, map(load_error, loaded))]
    if refused:
        return broken(refused)
    commands = told.service.commands()
    if len(commands) > 1 and told.service.value("Service", "Type") != "oneshot":
        lines = ", ".join("%s line %d" % (one.path, one.line) for one in commands)
        return failed(
            "ExecStart gives %d commands (%s), and systemd loads no such unit but with"
            " Type=oneshot; empty it first, with a line ExecStart= in the drop-in"
            % (len(commands), lines),
            *(Place(one.path, one.line) for one in commands),
        )
    return _environment_files(snapshot) or _command(told)


def _environment_files(snapshot: Snapshot) -> Verdict | None:
    absent = snapshot.told.absent_files
    if not absent:
        return None
    words = "; ".join(
        "%s line %d names an EnvironmentFile that is not there, and systemd does not start the"
        " unit without it: %s; a - before the path lets it be absent"
        % (one.path, one.line, one.value)
        for one in absent
    )
    if not snapshot.whole:
        return unknown("this directory may lack what the host has: %s" % words)
    if any("%" in one.value for one in absent):
        return unknown("only systemd knows what the specifier stands for: %s" % words)
    return failed(words, *(Place(one.path, one.line) for one in absent))


def _command(told: Told) -> Verdict:
    if told.wrapper:
        return unknown(
            "%s runs %s, and what that gives dockerd cannot be known"
            % (_origin(told), told.wrapper)
        )
    return passed()


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
        "A masked unit starts nothing, nor does one without a command, with two, without a file of"
        " its environment, or with any other setting for which systemd does not load it.",
        "systemctl unmask the unit, or mend the drop-in that is at fault and daemon-reload.",
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
]
