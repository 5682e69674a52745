# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result for people, on a terminal."""

from __future__ import annotations

from ..answers import printable
from .words import counted, of, standing, verdict

COLOURS = {"critical": "1;31", "high": "31", "medium": "33", "low": "36", "passed": "32"}
# The worst last, where somebody who ran the command looks first.
ORDER = ("not applicable", "passed", "waived", "unknown", "low", "medium", "high", "critical")
STARTS = {True: "32", False: "1;31", None: "33"}


def render(result: dict, colour: bool = False) -> str:
    """One line a control, what failed with its evidence and remedy; whether dockerd starts last."""
    lines = []
    for instance in result["instances"]:
        if len(result["instances"]) > 1:
            heading = "%s, %s" % (instance["name"], instance["config"])
            lines += [_painted(_line(heading), "1" if colour else None)]
        for finding in sorted(of(result, instance), key=lambda one: ORDER.index(standing(one))):
            lines += _finding(finding, colour)
        if len(result["instances"]) > 1:
            lines += ["%s: %s" % (_line(instance["name"]), counted(instance["counts"])), ""]
    lines.append(counted(result["counts"]))
    answer = _line(verdict(result["starts"], result["instances"]))
    lines.append(_painted(answer, STARTS[result["starts"]] if colour else None))
    return "\n".join(lines) + "\n"


def _finding(finding: dict, colour: bool) -> list[str]:
    word = standing(finding)
    painted = _painted("%-14s" % word, COLOURS.get(word) if colour else None)
    lines = ["%s %-28s %s" % (painted, _line(finding["id"]), _line(finding["title"]))]
    if finding["status"] in ("failed", "unknown", "waived"):
        lines.append("%16s%s" % ("", _line(finding["evidence"])))
    if finding["status"] == "failed":
        lines.append("%16s-> %s" % ("", _line(finding["remedy"])))
    return lines


def _line(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return printable(text, keep="", instead=" ")


def _painted(text: str, code: str | None) -> str:
    return "\033[%sm%s\033[0m" % (code, text) if code else text
