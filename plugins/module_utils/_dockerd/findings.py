# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls, their verdicts, waivers and what they add up to."""

from __future__ import annotations

import datetime
import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Iterable

from .errors import DockerdError
from .told import Place

if TYPE_CHECKING:
    from .snapshot import Snapshot

CLEAN, FINDINGS, NO_VERDICT = 0, 1, 2
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
    places: tuple[Place, ...] = ()


def passed(evidence: str = "") -> Verdict:
    """The rule holds."""
    return Verdict(PASSED, evidence)


def failed(evidence: str, *places: Place) -> Verdict:
    """The rule is broken, this shows it, and there it can be mended."""
    return Verdict(FAILED, evidence, places)


def unknown(reason: str) -> Verdict:
    """The rule could not be judged; that is never a pass."""
    return Verdict(UNKNOWN, reason)


def not_applicable(reason: str) -> Verdict:
    """The rule means nothing here."""
    return Verdict(NOT_APPLICABLE, reason)


def broken(problems: list[str], places: Iterable[Place] = (), good: str = "") -> Verdict:
    """Failed with every problem named, passed (with ``good`` as evidence) where there is none."""
    return failed("; ".join(problems), *places) if problems else passed(good)


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
    places: tuple[Place, ...] = ()

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
            "places": [place._asdict() for place in self.places],
        }


@dataclass(frozen=True)
class Waiver:
    """A finding somebody accepts until a day, on every instance or on one."""

    id: str
    reason: str
    expires: datetime.date
    instance: str | None = None


def waivers(entries: list[dict], controls: Iterable[Control]) -> list[Waiver]:
    """Check what the operator wrote: ``id``, ``reason``, ``expires`` (YYYY-MM-DD), ``instance``.

    Raises DockerdError naming the entry that is wrong.
    """
    known = {control.id for control in controls}
    return [_waiver(entry, known) for entry in entries]


def _waiver(entry: dict, known: set[str]) -> Waiver:
    given = entry if isinstance(entry, dict) else {}
    # The module gives null for what is not given.
    texts = {name: str(value) for name, value in given.items() if value is not None}
    name, reason, instance = texts.get("id"), texts.get("reason", "").strip(), texts.get("instance")
    if not name or not reason:
        raise DockerdError("waivers: %r needs an id and a reason" % (entry,))
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise DockerdError(
            "waivers: there is no control %s%s"
            % (name, ", but there is %s" % near[0] if near else "")
        )
    strange = sorted(set(texts) - {"id", "reason", "expires", "instance"})
    if strange:
        raise DockerdError("waivers: %s has a %s, which means nothing" % (name, strange[0]))
    if instance is not None and not re.match(r"(system|user:.+)\Z", instance):
        raise DockerdError("waivers: %s: instance is system, or user:NAME" % name)
    try:
        # Python 3.11 would take more forms than others.
        if not re.match(r"\d{4}-\d\d-\d\d\Z", texts.get("expires", "")):
            raise ValueError
        expires = datetime.date.fromisoformat(texts["expires"])
    except ValueError:
        raise DockerdError(
            "waivers: %s needs an expiry date, expires: YYYY-MM-DD, so that somebody"
            " looks at it again" % name
        ) from None
    return Waiver(name, reason, expires, instance)


NOT_RUNNING = "only a running host shows this"
WAIVERS = Control(
    "waivers-current",
    "No waiver has ended",
    "medium",
    "A finding that was accepted for a while is either mended by now or accepted anew.",
    "Mend what the waiver accepted and remove it, or give it a new reason and date.",
    lambda snapshot: not_applicable("no waiver was given"),
    {},
)


# user:password@ in a URL, as proxies and registry mirrors carry them (JSON may write \/ for /),
# the same without a scheme, and the tokens of log drivers.
_SECRETS = (
    (re.compile(r"(:(?:\\?/){2})[^\s\"']+@"), r"\1***@"),
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
    name = snapshot.instance.name
    relevant = [one for one in accepted or [] if one.instance in (None, name)]
    latest = {one.id: one for one in sorted(relevant, key=lambda one: one.expires)}
    found = []
    for control in controls:
        try:
            verdict = control.judge(snapshot)
        except Exception as error:
            verdict = unknown("this control failed on this host: %r" % error)
        finding = Finding(control, name, verdict.status, redact(verdict.evidence), verdict.places)
        waiver = latest.get(control.id)
        if waiver and finding.status == FAILED:
            if waiver.expires >= day:
                finding = replace(finding, status=WAIVED)
                note = "accepted until %s: %s" % (waiver.expires, waiver.reason)
            else:
                note = "its waiver ended on %s" % waiver.expires
            finding = replace(finding, evidence="%s (%s)" % (finding.evidence, note))
        found.append(finding)
    if latest:
        ended = [
            "%s ended on %s: %s" % (one.id, one.expires, one.reason)
            for one in latest.values()
            if one.expires < day
        ]
        verdict = broken(ended)
        found.append(Finding(WAIVERS, name, verdict.status, redact(verdict.evidence)))
    return found


def _from(findings: list[Finding], severity: str) -> list[Finding]:
    floor = SEVERITIES.index(severity)
    return [one for one in findings if SEVERITIES.index(one.control.severity) >= floor]


def stopping(findings: list[Finding], fail_on: str) -> list[Finding]:
    """What makes ``exit_status`` other than CLEAN."""
    relevant = [] if fail_on == "never" else _from(findings, fail_on)
    return [one for one in relevant if one.status in (FAILED, UNKNOWN)]


def exit_status(findings: list[Finding], fail_on: str) -> int:
    """CLEAN, FINDINGS at ``fail_on`` or above, or NO_VERDICT where some could not be judged.

    ``fail_on`` is a severity or ``never``.
    """
    statuses = {finding.status for finding in stopping(findings, fail_on)}
    return FINDINGS if FAILED in statuses else NO_VERDICT if UNKNOWN in statuses else CLEAN


def count(findings: list[Finding]) -> dict[str, int]:
    """How many controls failed, by severity; and how many came out otherwise, by status."""
    numbers = {
        severity: sum(
            finding.status == FAILED and finding.control.severity == severity
            for finding in findings
        )
        for severity in reversed(SEVERITIES)
    }
    for status in (PASSED, UNKNOWN, WAIVED, NOT_APPLICABLE):
        numbers[status] = sum(finding.status == status for finding in findings)
    return numbers


def starts(findings: list[Finding]) -> bool | None:
    """Whether dockerd starts with what it is told; None where that cannot be known."""
    deciding = [finding.status for finding in findings if finding.control.starts]
    if FAILED in deciding or WAIVED in deciding:  # somebody's consent does not start it
        return False
    return None if UNKNOWN in deciding else True
