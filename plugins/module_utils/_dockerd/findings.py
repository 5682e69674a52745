# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls, their verdicts, waivers and what they add up to."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from .errors import DockerdError

if TYPE_CHECKING:
    from .snapshot import Snapshot

SEVERITIES = ("low", "medium", "high", "critical")
PASSED, FAILED, UNKNOWN, NOT_APPLICABLE, WAIVED = (
    "passed",
    "failed",
    "unknown",
    "not applicable",
    "waived",
)


@dataclass(frozen=True)
class Verdict:
    """What a control says of a snapshot, and what it saw."""

    status: str
    evidence: str = ""


def passed(evidence: str = "") -> Verdict:
    """The rule holds."""
    return Verdict(PASSED, evidence)


def failed(evidence: str) -> Verdict:
    """The rule is broken, and this shows it."""
    return Verdict(FAILED, evidence)


def unknown(reason: str) -> Verdict:
    """The rule could not be judged; that is never a pass."""
    return Verdict(UNKNOWN, reason)


def not_applicable(reason: str) -> Verdict:
    """The rule means nothing here."""
    return Verdict(NOT_APPLICABLE, reason)


def broken(problems: list[str]) -> Verdict:
    """Failed with every problem named, passed where there is none."""
    return failed("; ".join(problems)) if problems else passed()


@dataclass(frozen=True)
class Control:
    """One rule. ``cis`` maps a benchmark version to the rule's id there, quoted as text."""

    id: str
    title: str
    severity: str
    why: str
    remedy: str  # names the variable that mends it
    judge: Callable[[Snapshot], Verdict]
    cis: dict
    starts: bool = False  # dockerd does not start where this fails
    blocks: bool = False  # dockerd starts, but a candidate that fails this is not installed


@dataclass(frozen=True)
class Finding:
    """A control's verdict on one instance."""

    control: Control
    instance: str
    status: str
    evidence: str

    def as_dict(self) -> dict:
        """Plain data, as reports and modules give it."""
        return {
            "id": self.control.id,
            "title": self.control.title,
            "severity": self.control.severity,
            "cis": self.control.cis,
            "instance": self.instance,
            "status": self.status,
            "evidence": self.evidence,
            "why": self.control.why,
            "remedy": self.control.remedy,
        }


@dataclass(frozen=True)
class Waiver:
    """A finding somebody accepts until a day."""

    id: str
    reason: str
    expires: datetime.date


def waivers(entries: list[dict]) -> list[Waiver]:
    """Check what the operator wrote: ``id``, ``reason`` and ``expires`` (YYYY-MM-DD).

    Raises DockerdError naming the entry that is wrong.
    """
    found = []
    for entry in entries:
        name = entry.get("id")
        if not name or not entry.get("reason"):
            raise DockerdError("dockerd_waivers: %r needs an id and a reason" % (entry,))
        try:
            expires = datetime.date.fromisoformat(str(entry.get("expires")))
        except ValueError:
            raise DockerdError(
                "dockerd_waivers: %s needs an expiry date, expires: YYYY-MM-DD, so that somebody"
                " looks at it again" % name
            ) from None
        found.append(Waiver(name, entry["reason"], expires))
    return found


# user:password@ in a URL, as proxies and registry mirrors carry them (JSON may write \/ for /),
# the same without a scheme, and the tokens of log drivers.
_SECRETS = (
    (re.compile(r"(:(?:\\?/){2})[^/\s\"']+@"), r"\1***@"),
    (re.compile(r"[^\s\"'/@:=,]+:[^\s\"'/@]+@"), "***@"),
    (re.compile(r"((?:token|password|secret)\"?\s*[:=]\s*\"?)[^\s\"',]+", re.I), r"\1***"),
)


def redact(text: str) -> str:
    """The text without the credentials and tokens in it."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def judge(
    snapshot: Snapshot,
    controls: list[Control],
    accepted: list[Waiver] | None = None,
    today: datetime.date | None = None,
) -> list[Finding]:
    """Every control's verdict, waivers applied; an expired waiver accepts nothing.

    A control that breaks is itself a finding that could not be judged.
    """
    day = today or datetime.date.today()
    latest = {one.id: one for one in sorted(accepted or [], key=lambda one: one.expires)}
    found = []
    for control in controls:
        try:
            verdict = control.judge(snapshot)
        except Exception as error:
            verdict = unknown("this control failed on this host: %r" % error)
        finding = Finding(control, snapshot.instance.name, verdict.status, redact(verdict.evidence))
        waiver = latest.get(control.id)
        if waiver and finding.status == FAILED:
            if waiver.expires >= day:
                finding = replace(finding, status=WAIVED)
                note = "accepted until %s: %s" % (waiver.expires, waiver.reason)
            else:
                note = "its waiver ended on %s" % waiver.expires
            finding = replace(finding, evidence="%s (%s)" % (finding.evidence, note))
        found.append(finding)
    return found


def at_least(findings: list[Finding], severity: str) -> list[Finding]:
    """The failed findings of this severity and above."""
    floor = SEVERITIES.index(severity)
    return [
        finding
        for finding in findings
        if finding.status == FAILED and SEVERITIES.index(finding.control.severity) >= floor
    ]


def count(findings: list[Finding]) -> dict[str, int]:
    """How many controls failed by severity, and how many could not be judged or were waived."""
    numbers = {
        severity: sum(
            finding.status == FAILED and finding.control.severity == severity
            for finding in findings
        )
        for severity in reversed(SEVERITIES)
    }
    for status in (PASSED, UNKNOWN, WAIVED):
        numbers[status] = sum(finding.status == status for finding in findings)
    return numbers


def starts(findings: list[Finding]) -> bool | None:
    """Whether dockerd starts with what it is told; None where that cannot be known."""
    deciding = [finding.status for finding in findings if finding.control.starts]
    if FAILED in deciding:
        return False
    return None if UNKNOWN in deciding else True
