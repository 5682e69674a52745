# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every format says in the same words."""

from __future__ import annotations

import json
import re

SEVERITIES = ("critical", "high", "medium", "low")
STATUSES = ("unknown", "waived", "passed", "not applicable")
_SURROGATES = re.compile("[\ud800-\udfff]")


def well_formed(result: dict) -> dict:
    """A copy with U+FFFD for the lone surrogates, which UTF-8 cannot hold.

    Python reads bytes that are no UTF-8, in names of files and in output, as such surrogates.
    """
    return json.loads(_SURROGATES.sub("\ufffd", json.dumps(result, ensure_ascii=False)))


def standing(finding: dict) -> str:
    """The severity of what failed, else the status: the key that ``counts`` has for it."""
    return finding["severity"] if finding["status"] == "failed" else finding["status"]


def counted(counts: dict) -> str:
    """``1 high, 20 passed``: what is not zero, the worst first."""
    told = ["%d %s" % (counts[key], key) for key in (*SEVERITIES, *STATUSES) if counts[key]]
    return ", ".join(told) or "nothing was judged"


def verdict(starts: bool | None, instances: list[dict]) -> str:
    """Whether dockerd starts, in one sentence; of several instances it names those meant."""
    sentence = {
        True: "dockerd starts with this configuration%s.",
        False: "dockerd does not start with this configuration%s.",
        None: "Whether dockerd starts with this configuration could not be judged%s.",
    }[starts]
    named = [one["name"] for one in instances if one["starts"] is starts]
    return sentence % (" (%s)" % ", ".join(named) if len(instances) > 1 else "")


def benchmark(cis: dict) -> str:
    """``CIS 2.2 (1.6, 1.7), 2.3 (1.8)``, or nothing: ids, and the benchmark's versions."""
    versions: dict = {}
    for version, rule in sorted(cis.items()):
        versions.setdefault(rule, []).append(version)
    told = ["%s (%s)" % (rule, ", ".join(found)) for rule, found in versions.items()]
    return "CIS %s" % ", ".join(told) if told else ""


def position(place: dict) -> str:
    """``/path:3:5``; without line and column where the whole file is meant."""
    numbers = [place[key] for key in ("line", "column") if place[key]]
    return ":".join([place["path"], *("%d" % number for number in numbers)])


def of(result: dict, instance: dict) -> list[dict]:
    """The findings of one instance."""
    return [one for one in result["findings"] if one["instance"] == instance["name"]]
