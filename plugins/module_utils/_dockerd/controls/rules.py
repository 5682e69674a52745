# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chapters share: kinds of rules, and the ids of CIS chapter 2."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Callable
from urllib.parse import urlsplit

from .. import config
from ..findings import Control, Verdict, broken, failed, passed, unknown
from ..snapshot import Snapshot
from ..told import strings


def chapter_two(old: str, new: str) -> dict:
    """A rule's id in benchmark 1.6 and 1.7, and in 1.8."""
    # 1.8 has a new 2.7 and moves everything after it by one.
    return {"1.6": old, "1.7": old, "1.8": new}


def directive_is(directive: str, wanted: object, default: object):
    """A control on one directive's effective value, from flag or file."""

    def judge(snapshot: Snapshot) -> Verdict:
        value = snapshot.told.setting(directive, default)
        if config.same(value, wanted):
            return passed("%s is %s" % (directive, as_written(wanted)))
        written = snapshot.told.setting(directive) is not None
        source = snapshot.told.where(directive) if written else "dockerd's default"
        place = snapshot.told.place(directive)
        return failed("%s is %s (%s)" % (directive, as_written(value), source), place)

    return judge


def unwanted(rules: dict):
    """Directives that may not hold certain values: name -> (what of a value is wrong)."""

    def judge(snapshot: Snapshot) -> Verdict:
        told = snapshot.told
        found = []
        for name, wrong in rules.items():
            value = told.setting(name)
            complaint = "" if value is None else wrong(value)
            if complaint:
                found.append((name, "%s %s (%s)" % (name, complaint, told.where(name))))
        return broken([text for dummy, text in found], [told.place(name) for name, dummy in found])

    return judge


def equal(wrong: object):
    """For :func:`unwanted`: this very value is wrong."""
    return lambda value: "is %s" % as_written(value) if config.same(value, wrong) else ""


def as_written(value: object) -> str:
    """A value as daemon.json writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def readable(controls: list[Control]) -> list[Control]:
    """Controls on what daemon.json holds: where it cannot be read, they are unknown."""

    def guarded(judge: Callable[[Snapshot], Verdict]) -> Callable[[Snapshot], Verdict]:
        def either(snapshot: Snapshot) -> Verdict:
            if snapshot.told.document is None:
                return unknown("daemon.json cannot be read")
            return judge(snapshot)

        return either

    return [replace(control, judge=guarded(control.judge)) for control in controls]


def security_options(snapshot: Snapshot) -> list[str]:
    """What /info says of security, moby daemon/info.go fillSecurityOptions."""
    return strings(snapshot.does.info.get("SecurityOptions")) if snapshot.does else []


def loopback(name: str) -> bool:
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


def log_options(snapshot: Snapshot) -> dict:
    """log-opts of file and flags."""
    told = snapshot.told
    written = told.data.get("log-opts")
    options = dict(written) if isinstance(written, dict) else {}
    for flag in told.flags:
        if flag.directive == "log-opts":
            name, value = str(flag.value).partition("=")[::2]
            options[name] = value
    return options
