# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole host judged: every instance, by every control, in one result.

The result is the JSON report, whose fields docs/report.md describes.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from . import VERSION, findings
from .controls import CONTROLS
from .errors import DockerdError
from .findings import Finding, Waiver
from .host import Host
from .instance import Instance, discover
from .snapshot import Snapshot, read

SCHEMA = 1  # of the result; it grows when a field changes its meaning or goes


@dataclass
class Judgement:
    """What was seen on a host, and what the controls say of it."""

    host: str
    root: str
    time: datetime.datetime
    snapshots: list[Snapshot] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def of(self, snapshot: Snapshot) -> list[Finding]:
        """The findings on one instance."""
        return [one for one in self.findings if one.instance == snapshot.instance.name]

    @property
    def starts(self) -> bool | None:
        """Whether every daemon starts with what it is told; None where that cannot be known."""
        answers = [findings.starts(self.of(snapshot)) for snapshot in self.snapshots]
        return False if False in answers else None if None in answers else True

    def as_dict(self) -> dict:
        """The result as plain data, as reports and modules give it."""
        return {
            "schema": SCHEMA,
            "tool": {"name": "dockerd-validate", "version": VERSION},
            "host": self.host,
            "judged_at": self.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "starts": self.starts,
            "counts": findings.count(self.findings),
            "instances": [
                {
                    "name": snapshot.instance.name,
                    "config": snapshot.told.config_path,
                    "starts": findings.starts(self.of(snapshot)),
                    "counts": findings.count(self.of(snapshot)),
                    "engine": engine(snapshot),
                }
                for snapshot in self.snapshots
            ],
            "findings": [finding.as_dict() for finding in self.findings],
        }


def engine(snapshot: Snapshot) -> dict:
    """The daemon in a few facts."""
    does = snapshot.does
    return {
        "version": snapshot.told.version_text,
        "running": bool(does and does.answers),
        "containers": len(does.containers) if does else 0,
        "listeners": [listener.address for listener in snapshot.told.tcp],
    }


def chosen(host: Host, names: list[str]) -> list[Instance]:
    """The instances of a host by name; all of them where no name is given.

    Raises DockerdError naming the one that is not there.
    """
    found = {instance.name: instance for instance in discover(host)}
    for name in names:
        if name not in found:
            raise DockerdError(
                "there is no daemon %s on this host; there is %s" % (name, ", ".join(found))
            )
    return [found[name] for name in names] or list(found.values())


def judge(
    host: Host,
    version: str = "",
    flags: str | None = None,
    accepted: list[Waiver] | None = None,
    names: list[str] | None = None,
    now: datetime.datetime | None = None,
) -> Judgement:
    """Judge a host.

    ``version`` is the engine's where it cannot be asked, ``flags`` the command line in the place
    of the unit's, ``names`` the instances (default: all). Raises DockerdError where the host has
    no such instance or cannot be read at all.
    """
    time = now or datetime.datetime.now(datetime.timezone.utc)
    judgement = Judgement(host.name, host.root, time)
    for instance in chosen(host, names or []):
        snapshot = read(instance, host, version, flags)
        judgement.snapshots.append(snapshot)
        judgement.findings += findings.judge(snapshot, CONTROLS, accepted, time.date())
    return judgement
