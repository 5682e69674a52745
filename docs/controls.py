# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print docs/controls.md from the table of controls."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins" / "module_utils"))

from _dockerd.controls import CONTROLS
from _dockerd.findings import WAIVERS
from _dockerd.judgement import READABLE

ALL = [READABLE, *CONTROLS, WAIVERS]

INTRODUCTION = """\
<!-- Made by `python3 docs/controls.py > docs/controls.md`. Change the table in
     plugins/module_utils/_dockerd/controls/ instead. -->
# Controls

What `dockerd_validate`, the `dockerd-validate` command and the `dockerd` module judge. A control
passes, fails, does not apply, or is unknown; what could not be judged never passes.

Under *candidate*, **starts** marks a rule without which dockerd does not start, **blocks** one
without which it starts and must not be installed all the same. A candidate that fails either is
refused before anything is written. The last columns are the rule's ids in the CIS Docker Benchmark
of that version.
"""


def cell(text: str) -> str:
    """Text as it may stand between two bars."""
    return text.replace("|", "\\|").replace("\n", " ")


def table() -> str:
    """The page."""
    versions = sorted({version for control in ALL for version in control.cis})
    head = ["control", "severity", "candidate", "rule, and why it matters", "remedy"]
    rows = [head + ["CIS " + version for version in versions]]
    rows.append(["---"] * len(rows[0]))
    for control in ALL:
        kind = "starts" if control.starts else "blocks" if control.blocks else ""
        rule = "**%s.** %s" % (control.title.rstrip("."), control.why)
        ids = [control.cis.get(version, "") for version in versions]
        rows.append(["`%s`" % control.id, control.severity, kind, rule, control.remedy, *ids])
    lines = ["| %s |" % " | ".join(map(cell, row)) for row in rows]
    return "%s\n%s\n" % (INTRODUCTION, "\n".join(lines))


if __name__ == "__main__":
    sys.stdout.write(table())
