# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings for people, on a terminal."""

from __future__ import annotations

COLOURS = {"critical": "1;31", "high": "31", "medium": "33", "low": "36", "passed": "32"}


def render(result: dict, colour: bool = False) -> str:
    """One line a control, what failed with its evidence and remedy; the counts last.

    ``result`` is plain data, as judgement.Judgement.as_dict gives it.
    """
    findings, lines = result["findings"], []
    for finding in findings:
        status = finding["severity"] if finding["status"] == "failed" else finding["status"]
        code = COLOURS.get(status) if colour else None
        word = "\033[%sm%-14s\033[0m" % (code, status) if code else "%-14s" % status
        lines.append("%s %-28s %s" % (word, finding["id"], finding["title"]))
        if finding["status"] in ("failed", "unknown", "waived"):
            lines.append("%16s%s" % ("", _plain(finding["evidence"])))
        if finding["status"] == "failed":
            lines.append("%16s-> %s" % ("", finding["remedy"]))
    counts: dict = {}
    for finding in findings:
        counts[finding["status"]] = counts.get(finding["status"], 0) + 1
    lines.append(", ".join("%d %s" % (number, status) for status, number in sorted(counts.items())))
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return "".join(one if one.isprintable() else " " for one in text)
