# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from _dockerd import findings
from _dockerd.errors import DockerdError
from _dockerd.findings import Control, Finding, Waiver
from _dockerd.told import Place

TODAY = datetime.date(2027, 1, 15)


def control(judge, severity="high", starts=False, name="rule"):
    return Control(name, "Title", severity, "Why.", "Remedy.", judge, {"1.6": "2.1"}, starts)


def judged(seen, judge, *waivers, **rest):
    return findings.judge(seen, [control(judge, **rest)], list(waivers), TODAY)[0]


def no(snapshot):
    return findings.failed("seen", Place("/etc/docker/daemon.json", 3, 5))


def test_a_finding_is_plain_data(host):
    assert judged(host.seen(), no).as_dict() == {
        "id": "rule",
        "title": "Title",
        "severity": "high",
        "cis": {"1.6": "2.1"},
        "instance": "system",
        "status": "failed",
        "evidence": "seen",
        "why": "Why.",
        "remedy": "Remedy.",
        "places": [{"path": "/etc/docker/daemon.json", "line": 3, "column": 5}],
    }


@pytest.mark.parametrize(
    "error", [KeyError("x"), IndexError(), RecursionError(), OSError(), ZeroDivisionError()]
)
def test_a_control_that_breaks_is_unknown_and_never_passed(host, error):
    def breaks(snapshot):
        raise error

    assert judged(host.seen(), breaks).status == findings.UNKNOWN


@pytest.mark.parametrize(
    ("waivers", "status", "words"),
    [
        ([], "failed", "seen"),
        ([("rule", 15)], "waived", "seen (accepted until 2027-01-15: agreed)"),
        ([("rule", 14)], "failed", "seen (its waiver ended on 2027-01-14)"),
        ([("other", 31)], "failed", "seen"),
        ([("rule", 14), ("rule", 31)], "waived", "seen (accepted until 2027-01-31: agreed)"),
    ],
)
def test_waivers(host, waivers, status, words):
    given = [Waiver(name, "agreed", datetime.date(2027, 1, day)) for name, day in waivers]
    finding = judged(host.seen(), no, *given)
    assert (finding.status, finding.evidence) == (status, words)


@pytest.mark.parametrize(
    "verdict", [findings.passed(), findings.unknown("x"), findings.not_applicable("x")]
)
def test_a_waiver_touches_failures_only(host, verdict):
    waiver = Waiver("rule", "agreed", TODAY)
    assert judged(host.seen(), lambda snapshot: verdict, waiver).status == verdict.status


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "needs an id and a reason"),
        ({"id": "a", "expires": "2027-01-01"}, "needs an id and a reason"),
        ({"id": "a", "reason": "", "expires": "2027-01-01"}, "needs an id and a reason"),
        ({"id": "a", "reason": "b"}, "a needs an expiry date"),
        ({"id": "a", "reason": "b", "expires": "never"}, "a needs an expiry date"),
        ({"id": "a", "reason": "b", "expires": "2027-02-30"}, "a needs an expiry date"),
        ({"id": "a", "reason": "b", "expires": 5}, "a needs an expiry date"),
        ("a", "needs an id and a reason"),
        ({"id": ["a"], "reason": "b", "expires": "2027-01-01"}, "there is no control"),
        ({"id": "a", "reason": "  ", "expires": "2027-01-01"}, "needs an id and a reason"),
        ({"id": "a", "reason": "b", "expires": "20270101"}, "a needs an expiry date"),
        ({"id": "a", "reason": "b", "expires": "2027-W10-1"}, "a needs an expiry date"),
        ({"id": "a", "reason": "b", "expires": "2027-01-01", "instnace": "x"}, "has a instnace"),
        ({"id": "a", "reason": "b", "expires": "2027-01-01", "instance": "x"}, "is system, or"),
        (
            {"id": "abc", "reason": "b", "expires": "2027-01-01"},
            "no control abc, but there is abcd",
        ),
    ],
)
def test_malformed_waivers(entry, words):
    with pytest.raises(DockerdError, match=words):
        findings.waivers([entry], [control(no, name="a"), control(no, name="abcd")])


def test_waivers_take_text_and_dates():
    entries = [
        {"id": "a", "reason": "b", "expires": "2027-01-31"},
        {"id": "c", "reason": "d", "expires": datetime.date(2027, 2, 1)},
    ]
    known = [control(no, name="a"), control(no, name="c")]
    assert [waiver.expires.day for waiver in findings.waivers(entries, known)] == [31, 1]


@pytest.mark.parametrize(
    "text",
    [
        "http://ci:s3cret@proxy.example:3128",
        "https://s3cret@mirror.example",
        "http://ci:s3c@s3cret@proxy.example",
        "http://ci:a/s3cret@proxy.example",
        '"http-proxy": "http:\\/\\/ci:s3cret@proxy.example"',
        '"http-proxy": "ci:s3cret@proxy.example:3128"',
        "Environment=HTTPS_PROXY=http://ci:s3cret@proxy.example NO_PROXY=x",
        '"splunk-token": "s3cret"',
        "--log-opt splunk-token=s3cret",
        "DB_PASSWORD=s3cret",
        "a http://x:s3cret@a.example and http://y:s3cret@b.example",
    ],
)
def test_redaction(text):
    shown = findings.redact(text)
    assert "s3cret" not in shown
    assert "***" in shown
    assert findings.redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "/etc/docker/daemon.json line 3",
        "tcp://0.0.0.0:2375",
        '{"icc": false, "registry-mirrors": ["https://mirror.example"]}',
        "SocketGroup=docker",
        "unix:///run/docker.sock",
        "docker@sha256",
    ],
)
def test_what_is_no_secret_stays(text):
    assert findings.redact(text) == text


def test_evidence_is_redacted(host):
    finding = judged(host.seen(), lambda snapshot: findings.failed("http://a:b@c"))
    assert finding.evidence == "http://***@c"


def found(*entries):
    return [
        Finding(control(no, severity, starts), "system", status, "")
        for status, severity, starts in entries
    ]


def test_severities_and_counts():
    some = found(
        ("failed", "low", False),
        ("failed", "high", False),
        ("failed", "critical", False),
        ("waived", "critical", False),
        ("unknown", "critical", False),
        ("passed", "high", False),
    )
    stopping = [(one.control.severity, one.status) for one in findings.stopping(some, "high")]
    assert stopping == [("high", "failed"), ("critical", "failed"), ("critical", "unknown")]
    assert len(findings.stopping(some, "low")) == 4
    assert findings.count(some) == {
        "critical": 1,
        "high": 1,
        "medium": 0,
        "low": 1,
        "passed": 1,
        "unknown": 1,
        "waived": 1,
        "not applicable": 0,
    }


@pytest.mark.parametrize(
    ("entries", "fail_on", "status"),
    [
        ([], "low", 0),
        (
            [("passed", "critical"), ("waived", "critical"), ("not applicable", "critical")],
            "low",
            0,
        ),
        ([("failed", "high")], "high", 1),
        ([("failed", "high")], "critical", 0),
        ([("failed", "critical")], "never", 0),
        ([("unknown", "high")], "high", 2),
        ([("unknown", "medium")], "high", 0),
        ([("unknown", "critical"), ("failed", "high")], "high", 1),
    ],
)
def test_exit_status(entries, fail_on, status):
    some = found(*[(one, severity, False) for one, severity in entries])
    assert findings.exit_status(some, fail_on) == status
    assert bool(findings.stopping(some, fail_on)) == bool(status)


def test_a_waiver_that_has_ended_is_a_finding_of_its_own(host):
    ended = Waiver("rule", "agreed", datetime.date(2027, 1, 14))
    kept = Waiver("rule", "agreed", TODAY)
    for given, statuses in (
        ([ended], ["failed", "failed"]),
        ([kept], ["waived", "passed"]),
        ([ended, kept], ["waived", "passed"]),
        ([], ["failed"]),
    ):
        judged = findings.judge(host.seen(), [control(no)], given, TODAY)
        assert [one.status for one in judged] == statuses
        assert [one.control.id for one in judged[1:]] == ["waivers-current"] * len(statuses[1:])


def test_a_waiver_may_be_for_one_instance(host):
    other = Waiver("rule", "agreed", TODAY, "user:alice")
    ours = Waiver("rule", "agreed", TODAY, "system")
    assert [one.status for one in findings.judge(host.seen(), [control(no)], [other], TODAY)] == [
        "failed"
    ]
    assert judged(host.seen(), no, other, ours).status == "waived"


@pytest.mark.parametrize(
    ("statuses", "starts"),
    [
        (["passed", "not applicable"], True),
        (["passed", "unknown"], None),
        (["unknown", "failed"], False),
        (["waived"], False),
        ([], True),
    ],
)
def test_whether_it_starts(statuses, starts):
    some = found(*[(status, "critical", True) for status in statuses])
    assert findings.starts(some + found(("failed", "critical", False))) is starts
