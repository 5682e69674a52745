# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container may use up: CIS chapter 2."""

from __future__ import annotations

from ..findings import Control, Verdict, broken, failed, passed
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
    return value if isinstance(value, int) else 0


def _ulimits_grantable(snapshot: Snapshot) -> Verdict:
    """runc refuses to start a container whose limits it may not set, setrlimit(2)."""
    problems = []
    ulimits = snapshot.told.setting("default-ulimits")
    for name, ulimit in ulimits.items() if isinstance(ulimits, dict) else []:
        if not isinstance(ulimit, dict):
            continue  # which dockerd refuses, or takes for nothing
        soft, hard = (_number(ulimit.get(field)) for field in ("Soft", "Hard"))
        if name not in ULIMITS:
            problems.append("%s is no ulimit" % name)
        most = snapshot.does.limits.get(name) if snapshot.does else None
        if soft > hard:
            problems.append("%s: Soft %d is above Hard %d" % (name, soft, hard))
        elif most is not None and hard > most:
            problems.append("%s: this host grants at most %d, not %d" % (name, most, hard))
    return broken(problems)


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
            "Lower default-ulimits in dockerd_options.",
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
