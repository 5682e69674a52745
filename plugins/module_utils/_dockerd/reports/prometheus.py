# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus text exposition format 0.0.4, for the textfile collector of node_exporter."""

from __future__ import annotations

import datetime

from ..answers import printable
from .words import SEVERITIES, STATUSES


def _control(finding: dict) -> dict:
    return {
        "daemon": finding["instance"],
        "control": finding["id"],
        "severity": finding["severity"],
    }


def _counts(result: dict, label: str, keys: tuple) -> list[tuple]:
    return [
        ({"daemon": one["name"], label: key}, one["counts"][key])
        for one in result["instances"]
        for key in keys
    ]


def _seconds(when: str) -> int:
    read = datetime.datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ")
    return int(read.replace(tzinfo=datetime.timezone.utc).timestamp())


def _labels(labels: dict) -> str:
    told = ['%s="%s"' % (name, _escaped(value)) for name, value in labels.items()]
    return "{%s}" % ",".join(told) if told else ""


def _escaped(value: str) -> str:
    clean = printable(value)
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


# Name, help, and what gives its samples. An instance is called daemon here: Prometheus gives every
# series a label instance of its own, for the host.
METRICS = (
    (
        "dockerd_starts",
        "Whether dockerd starts with its configuration: 1 or 0, absent where that cannot be known.",
        lambda result: [
            ({"daemon": one["name"]}, int(one["starts"]))
            for one in result["instances"]
            if one["starts"] is not None
        ],
    ),
    (
        "dockerd_control_failed",
        "Whether the control failed: 1, or 0 where it passed or is waived. Absent where it could"
        " not be judged or does not apply.",
        lambda result: [
            (_control(one), int(one["status"] == "failed"))
            for one in result["findings"]
            if one["status"] in ("failed", "passed", "waived")
        ],
    ),
    (
        "dockerd_control_unknown",
        "Whether the control could not be judged: 1 or 0. Absent where it does not apply.",
        lambda result: [
            (_control(one), int(one["status"] == "unknown"))
            for one in result["findings"]
            if one["status"] != "not applicable"
        ],
    ),
    (
        "dockerd_findings",
        "How many controls failed, by severity.",
        lambda result: _counts(result, "severity", SEVERITIES),
    ),
    (
        "dockerd_controls",
        "How many controls did not fail, by status.",
        lambda result: _counts(result, "status", STATUSES),
    ),
    (
        "dockerd_certificate_expiry_timestamp_seconds",
        "When the first certificate in the file expires.",
        lambda result: [
            (
                {"daemon": one["name"], "role": found["role"], "path": found["path"]},
                _seconds(found["not_after"]),
            )
            for one in result["instances"]
            for found in sorted(one["certificates"], key=lambda found: found["not_after"])
        ],
    ),
    (
        "dockerd_judged_timestamp_seconds",
        "When the host was judged.",
        lambda result: [({}, _seconds(result["judged_at"]))],
    ),
    (
        "dockerd_engine_info",
        "The version of the engine; the value is always 1.",
        lambda result: [
            ({"daemon": one["name"], "version": one["engine"]["version"]}, 1)
            for one in result["instances"]
            if one["engine"]["version"]
        ],
    ),
)


def render(result: dict) -> str:
    """Every metric with its help and type, in the order of METRICS."""
    lines = []
    for name, told, samples in METRICS:
        lines += ["# HELP %s %s" % (name, told), "# TYPE %s gauge" % name]
        # A page that has one series twice is refused whole, so the first sample counts.
        series: dict = {}
        for labels, value in samples(result):
            series.setdefault(_labels(labels), value)
        lines += ["%s%s %d" % (name, labels, value) for labels, value in series.items()]
    return "\n".join(lines) + "\n"
