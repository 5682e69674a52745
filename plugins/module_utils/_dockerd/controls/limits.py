# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container may use up: CIS chapter 2."""

from __future__ import annotations

from ..findings import NOT_RUNNING, Control, Verdict, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from .rules import chapter_two, readable


def _cgroup(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    parent = told.setting("cgroup-parent")
    if parent in (None, ""):
        return passed("containers are in dockerd's own cgroup")
    if parent in snapshot.slices:
        return passed("%s is a unit" % parent)
    return failed(
        "cgroup-parent is %s (%s), and no unit says what that may use"
        % (parent, told.where("cgroup-parent")),
        told.place("cgroup-parent"),
    )


def _ulimits(snapshot: Snapshot) -> Verdict:
    return passed() if snapshot.told.setting("default-ulimits") else failed("no default-ulimits")


# docker/go-units ulimit.go
ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)


def _number(value: object) -> int:
    """Without a sign, as the runtime gets it: -1 is no limit, moby daemon/oci_linux.go."""
    return value % 2**64 if isinstance(value, int) else 0


def _refused(ulimit: dict, limits: dict) -> str:
    """Why runc starts no container with a ulimit, setrlimit(2); empty where it does."""
    fields = {key.lower(): value for key, value in ulimit.items()}  # as Go matches them
    name, soft, hard = (fields.get(field) or 0 for field in ("name", "soft", "hard"))
    short = str(name).lower()  # runc gets it in capitals
    if short not in ULIMITS:
        return "its Name is %s, and that is no ulimit" % (name or "not given")
    if _number(soft) > _number(hard):
        return "Soft %s is above Hard %s" % (soft, hard)
    most = limits.get(short)
    if most is not None and _number(hard) > most:
        return "this host grants at most %d, not %s" % (most, hard)
    return ""


def _ulimits_grantable(snapshot: Snapshot) -> Verdict:
    told, does = snapshot.told, snapshot.does
    ulimits = told.setting("default-ulimits")
    found = {
        key: _refused(ulimit, does.limits if does else {})
        for key, ulimit in (ulimits.items() if isinstance(ulimits, dict) else [])
        if isinstance(ulimit, dict)  # others dockerd refuses, or takes for nothing
    }
    problems = ["%s: %s" % (key, words) for key, words in found.items() if words]
    if problems:
        where = "%s (%s)" % ("; ".join(problems), told.where("default-ulimits"))
        return failed(where, told.place("default-ulimits"))
    if not found:
        return passed("there are none")
    if not does:
        return not_applicable(NOT_RUNNING)
    return passed() if does.limits else unknown("no process shows what this host grants")


CONTROLS = readable(
    [
        Control(
            "ulimits",
            "Containers have default ulimits",
            "low",
            "A container without limits starves the host of files and processes.",
            "Keep default-ulimits, which dockerd_profile sets.",
            _ulimits,
            chapter_two("2.8", "2.9"),
        ),
        Control(
            "ulimits-grantable",
            "The default ulimits are ones that this host can grant",
            "critical",
            "No container starts whose limits the runtime may not set.",
            "Lower default-ulimits in dockerd_options, for daemons of users in"
            " dockerd_rootless_options; or raise the limits of the daemon's unit, and restart it.",
            _ulimits_grantable,
            {},
            blocks=True,
        ),
        Control(
            "cgroup-parent",
            "Containers are in a cgroup whose limits somebody set",
            "low",
            "A cgroup that no unit describes has no limits.",
            "Make a slice unit and name it, or take cgroup-parent out of dockerd_options.",
            _cgroup,
            chapter_two("2.10", "2.11"),
        ),
    ]
)
