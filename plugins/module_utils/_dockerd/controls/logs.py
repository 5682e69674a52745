# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is logged, how much, and where it goes: CIS chapter 2."""

from __future__ import annotations

import re

from .. import logopts
from ..addresses import SIZE
from ..findings import Control, Verdict, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from .rules import chapter_two, directive_is, log_options, readable


def _log_level(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("debug", False) is True:
        told = snapshot.told
        return failed("debug is on (%s)" % told.where("debug"), told.place("debug"))
    return directive_is("log-level", "info", "info")(snapshot)


# Drivers that leave the logs on the host, docs.docker.com/config/containers/logging/configure.
_LOCAL = ("json-file", "local", "none", "")


def _remote(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    driver = told.setting("log-driver", "json-file")
    if driver == "journald":
        return unknown("journald may or may not send its logs on")
    address = str(log_options(snapshot).get("syslog-address", ""))
    if not logopts.built_in(str(driver), told.version):
        return unknown("%s is no driver of dockerd's own" % driver)
    if driver in _LOCAL or (driver == "syslog" and not address.startswith(("tcp", "udp"))):
        return failed("the %s driver keeps logs on this host" % driver, told.place("log-driver"))
    return passed("the log driver is %s" % driver)


def _logs_bounded(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    driver = told.setting("log-driver", "json-file")
    if not logopts.built_in(str(driver), told.version):
        return unknown("%s is no driver of dockerd's own" % driver)
    if driver != "json-file":
        return not_applicable("the %s driver bounds its own logs" % driver)
    size = str(log_options(snapshot).get("max-size") or "")
    if not size or size == "-1":
        return failed(
            "json-file without max-size grows until the disk is full", told.place("log-opts")
        )
    if not SIZE.match(size) or not re.search("[1-9]", size):
        return failed("no container starts with max-size %s" % size, told.place("log-opts"))
    return passed("max-size is %s" % size)


CONTROLS = readable(
    [
        Control(
            "log-level",
            "The daemon logs at level info",
            "low",
            "Less hides attacks, more leaks what passes through the API.",
            "Keep log-level: info and debug: false in dockerd_options.",
            _log_level,
            chapter_two("2.3", "2.3"),
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
        Control(
            "logs-remote",
            "Container logs leave the host",
            "low",
            "Whoever takes the host takes the logs that would tell.",
            "Set log-driver and log-opts in dockerd_options.",
            _remote,
            chapter_two("2.13", "2.14"),
        ),
    ]
)
