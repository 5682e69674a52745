# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the daemon treats its containers, images and logs: CIS chapter 2."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from urllib.parse import urlsplit

from .. import config
from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..told import strings


def _cis(old: str, new: str) -> dict:
    # 1.8 has a new 2.7 and moves everything after it by one.
    return {"1.6": old, "1.7": old, "1.8": new}


def _told(directive: str, wanted: object, default: object):
    """A control on one directive's effective value, from flag or file."""

    def judge(snapshot: Snapshot) -> Verdict:
        value = snapshot.told.setting(directive, default)
        if config.same(value, wanted):
            return passed("%s is %s" % (directive, _text(wanted)))
        written = snapshot.told.setting(directive) is not None
        source = snapshot.told.where(directive) if written else "dockerd's default"
        return failed("%s is %s (%s)" % (directive, _text(value), source))

    return judge


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _icc(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("bridge") == "none":
        return not_applicable("there is no default bridge")
    told = _told("icc", False, True)(snapshot)
    if told.status != "passed" or snapshot.does is None:
        return told
    if snapshot.does.bridge.get("com.docker.network.bridge.enable_icc") == "true":
        return failed(
            "icc is false, but the live bridge still says enable_icc: true; it is made anew when"
            " dockerd starts without containers on it"
        )
    return told


def _live_restore(snapshot: Snapshot) -> Verdict:
    if snapshot.does and snapshot.does.swarm:
        return not_applicable("a swarm node cannot have live-restore")
    return _told("live-restore", True, False)(snapshot)


def _log_level(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("debug", False) is True:
        return failed("debug is on (%s)" % snapshot.told.where("debug"))
    return _told("log-level", "info", "info")(snapshot)


def _iptables(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    return broken(
        [
            "%s is false (%s)" % (name, told.where(name))
            for name in ("iptables", "ip6tables")
            if told.setting(name, True) is False
        ]
    )


def _loopback(name: str) -> bool:
    """Whether a registry or network, as insecure-registries names it, is this host itself."""
    try:
        return ipaddress.ip_network(name, strict=False).is_loopback
    except ValueError:
        pass
    try:
        host = urlsplit("//" + name).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _registries(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    problems = [
        "%s is trusted without TLS (%s)" % (name, told.where("insecure-registries"))
        for name in strings(told.setting("insecure-registries"))
        if not _loopback(name)
    ]
    problems += [
        "mirror %s is plain HTTP (%s)" % (name, told.where("registry-mirrors"))
        for name in strings(told.setting("registry-mirrors"))
        if name.lower().startswith("http://")
    ]
    return broken(problems)


def _seccomp(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.setting("seccomp-profile") == "unconfined":
        return failed("seccomp-profile is unconfined (%s)" % told.where("seccomp-profile"))
    options = snapshot.does.info.get("SecurityOptions") or [] if snapshot.does else []
    if any("seccomp" in option and "unconfined" in option for option in options):
        return failed("/info says %s" % ", ".join(options))
    return passed()


def _ulimits(snapshot: Snapshot) -> Verdict:
    return passed() if snapshot.told.setting("default-ulimits") else failed("no default-ulimits")


def _ulimits_grantable(snapshot: Snapshot) -> Verdict:
    """runc refuses to start a container whose limits it may not set, setrlimit(2)."""
    problems = []
    ulimits = snapshot.told.setting("default-ulimits")
    for name, ulimit in ulimits.items() if isinstance(ulimits, dict) else []:
        soft, hard = ulimit.get("Soft", 0), ulimit.get("Hard", 0)
        most = snapshot.does.limits.get(name) if snapshot.does else None
        if soft > hard:
            problems.append("%s: Soft %d is above Hard %d" % (name, soft, hard))
        elif most is not None and hard > most:
            problems.append("%s: this host grants at most %d, not %d" % (name, most, hard))
    return broken(problems)


def _logs_bounded(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    driver = told.setting("log-driver", "json-file")
    if driver != "json-file":
        return not_applicable("the %s driver bounds its own logs" % driver)
    options = told.data.get("log-opts") or {}
    flags = [str(flag.value) for flag in told.flags if flag.directive == "log-opts"]
    if options.get("max-size") or any(flag.startswith("max-size=") for flag in flags):
        return passed()
    return failed("json-file without max-size grows until the disk is full")


def _readable(judge):
    """``judge``, where daemon.json can be read; whatever it holds is unknown otherwise."""

    def either(snapshot: Snapshot) -> Verdict:
        if snapshot.told.document is None:
            return unknown("daemon.json cannot be read")
        return judge(snapshot)

    return either


_CONTROLS = [
    Control(
        "icc",
        "Containers on the default bridge cannot reach each other",
        "medium",
        "One broken container is otherwise a neighbour of all others.",
        "Keep icc: false, the default of dockerd_profile.",
        _icc,
        _cis("2.2", "2.2"),
    ),
    Control(
        "log-level",
        "The daemon logs at level info",
        "low",
        "Less hides attacks, more leaks what passes through the API.",
        "Keep log-level: info and debug: false in dockerd_options.",
        _log_level,
        _cis("2.3", "2.3"),
    ),
    Control(
        "iptables",
        "dockerd sets its packet filter rules",
        "high",
        "Without them containers are neither isolated nor their ports filtered.",
        "Remove iptables: false and ip6tables: false.",
        _iptables,
        _cis("2.4", "2.4"),
    ),
    Control(
        "registries",
        "Every registry and mirror is reached over TLS",
        "high",
        "Whoever sits between the host and a plain registry chooses what runs.",
        "Remove the entry from insecure-registries or registry-mirrors.",
        _registries,
        _cis("2.5", "2.5"),
    ),
    Control(
        "ulimits",
        "Containers have default ulimits",
        "low",
        "A container without limits starves the host of files and processes.",
        "Keep default-ulimits, which dockerd_profile sets.",
        _ulimits,
        _cis("2.8", "2.9"),
    ),
    Control(
        "ulimits-grantable",
        "The default ulimits are ones that this host can grant",
        "critical",
        "No container starts whose limits the runtime may not set.",
        "Lower default-ulimits in dockerd_options.",
        _ulimits_grantable,
        {},
        blocks=True,
    ),
    Control(
        "no-new-privileges",
        "Containers cannot gain privileges",
        "medium",
        "A setuid program in an image is otherwise a way to root in the container.",
        "Keep no-new-privileges: true, the default of dockerd_profile.",
        _told("no-new-privileges", True, False),
        _cis("2.14", "2.15"),
    ),
    Control(
        "live-restore",
        "Containers survive a restart of the daemon",
        "low",
        "Security updates of the engine wait for a window where restarts stop containers.",
        "Keep live-restore: true, the default of dockerd_profile.",
        _live_restore,
        _cis("2.15", "2.16"),
    ),
    Control(
        "userland-proxy",
        "Published ports need no proxy process",
        "low",
        "A root process for each port is attack surface, and hides the client's address.",
        "Keep userland-proxy: false, the default of dockerd_profile.",
        _told("userland-proxy", False, True),
        _cis("2.16", "2.17"),
    ),
    Control(
        "seccomp",
        "Containers run under a seccomp profile",
        "critical",
        "Without one a container reaches every system call of the kernel.",
        "Remove seccomp-profile: unconfined.",
        _seccomp,
        _cis("2.17", "2.18"),
    ),
    Control(
        "logs-bounded",
        "Container logs are bounded",
        "medium",
        "A chatty container otherwise fills the disk and stops every other.",
        "Keep log-opts, which dockerd_profile sets.",
        _logs_bounded,
        {},
    ),
]

CONTROLS = [replace(control, judge=_readable(control.judge)) for control in _CONTROLS]
