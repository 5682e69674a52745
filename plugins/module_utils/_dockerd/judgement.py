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
from .errors import DockerdError, HostError
from .findings import UNKNOWN, Control, Finding, Waiver, passed
from .host import Host
from .instance import Instance, discover
from .snapshot import Snapshot, read

SCHEMA = 1  # of the result; it grows when a field changes its meaning or goes


# The one control on a daemon that nobody can look at.
READABLE = Control(
    "daemon-readable",
    "The daemon's files can be read",
    "critical",
    "Whatever stands in the way of reading them hides everything else.",
    "Mend or remove what is named, and judge as root.",
    lambda snapshot: passed(),
    {},
    starts=True,
)


@dataclass
class Daemon:
    """One instance: what was seen of it, None where it cannot be read, and the findings."""

    instance: Instance
    snapshot: Snapshot | None
    findings: list[Finding]

    def as_dict(self) -> dict:
        """Plain data, as reports and modules give it."""
        seen = self.snapshot
        return {
            "name": self.instance.name,
            "config": findings.redact(seen.told.config_path if seen else self.instance.config_path),
            "starts": findings.starts(self.findings),
            "counts": findings.count(self.findings),
            "engine": engine(seen),
            "certificates": certificates(seen),
        }


@dataclass
class Judgement:
    """What was seen on a host, and what the controls say of it."""

    host: str
    root: str
    time: datetime.datetime
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """Those on every daemon."""
        return [finding for daemon in self.daemons for finding in daemon.findings]

    @property
    def starts(self) -> bool | None:
        """Whether every daemon starts with what it is told; None where that cannot be known."""
        answers = [findings.starts(daemon.findings) for daemon in self.daemons]
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
            "instances": [daemon.as_dict() for daemon in self.daemons],
            "findings": [finding.as_dict() for finding in self.findings],
        }


def engine(snapshot: Snapshot | None) -> dict:
    """The daemon in a few facts; None is what could not be seen."""
    if snapshot is None:
        return {"version": "", "running": None, "containers": None, "listeners": []}
    does = snapshot.does
    running = does.info.get("ServerVersion") if does else None
    return {
        "version": str(running or snapshot.told.version_text),
        "running": does.answers if does else None,
        "containers": len(does.containers) if does and does.answers else None,
        "listeners": [findings.redact(listener.address) for listener in snapshot.told.tcp],
    }


def certificates(snapshot: Snapshot | None) -> list[dict]:
    """What the daemon serves and trusts, and until when."""
    if snapshot is None:
        return []
    leaf, others = snapshot.tls.server[:1], snapshot.tls.server[1:] + snapshot.tls.authorities
    return [
        {
            "role": role,
            "path": one.path,
            "subject": one.subject,
            "not_after": one.not_after.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20),
        }
        for role, found in (("server", leaf), ("authority", others))
        for one in found
    ]


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
    no such instance.
    """
    time = now or datetime.datetime.now(datetime.timezone.utc)
    judgement = Judgement(host.name, host.root, time)

    def one(instance: Instance) -> Daemon:
        try:
            snapshot = read(instance, host.seen_by(instance.user), version, flags, time)
        except HostError as error:
            found = [Finding(READABLE, instance.name, UNKNOWN, findings.redact(str(error)))]
            return Daemon(instance, None, found)
        found = findings.judge(snapshot, [READABLE, *CONTROLS], accepted, time.date())
        return Daemon(instance, snapshot, found)

    instances = chosen(host, names or [])
    if len(instances) == 1:
        judgement.daemons = [one(instances[0])]
        return judgement
    # Together, because each daemon that hangs keeps its reader waiting for some seconds.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        judgement.daemons = list(pool.map(one, instances))
    return judgement
