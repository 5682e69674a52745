# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SARIF 2.1.0 (OASIS), as GitHub code scanning and other viewers read it."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

HOME = "https://github.com/hardened-docker/hardened.docker"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "HOSTROOT"
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
# GitHub calls above 9.0 critical, from 7.0 high, from 4.0 medium, and anything else low.
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
KINDS = {
    "passed": "pass",
    "failed": "fail",
    "waived": "fail",
    "unknown": "review",
    "not applicable": "notApplicable",
}


def render(result: dict) -> str:
    """The log in ASCII: one run, one result a control and instance."""
    rules = list({one["id"]: one for one in result["findings"]}.values())
    numbers = {one["id"]: number for number, one in enumerate(rules)}
    configs = {one["name"]: one["config"] for one in result["instances"]}
    run = {
        "tool": {
            "driver": {
                "name": result["tool"]["name"],
                "semanticVersion": result["tool"]["version"],
                "informationUri": HOME,
                "rules": [_rule(one) for one in rules],
            }
        },
        # Keeps the hosts of a fleet apart where their logs meet.
        "automationDetails": {"id": "%s/%s/" % (result["tool"]["name"], result["host"])},
        "invocations": [
            {
                "executionSuccessful": True,
                "endTimeUtc": result["judged_at"],
                "machine": result["host"],
            }
        ],
        # Without a uri: the files are on another machine than the log's reader.
        "originalUriBaseIds": {
            ROOT: {"description": _message("The root directory of %s." % result["host"])}
        },
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(one, result["host"], numbers[one["id"]], configs.get(one["instance"], ""))
            for one in result["findings"]
        ],
        "properties": {"starts": result["starts"], "counts": result["counts"]},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(finding: dict) -> dict:
    tags = ["security"]
    for version, rules in sorted(finding["cis"].items()):
        tags += ["cis-docker-%s/%s" % (version, rule.strip()) for rule in rules.split(",")]
    return {
        "id": finding["id"],
        "shortDescription": _message(finding["title"]),
        "fullDescription": _message(finding["why"]),
        "help": _message(finding["remedy"]),
        "defaultConfiguration": {"level": LEVELS[finding["severity"]]},
        "properties": {
            "security-severity": SCORES[finding["severity"]],
            "precision": "very-high",
            "tags": sorted(set(tags)),
        },
    }


def _result(finding: dict, host: str, number: int, config: str) -> dict:
    kind = KINDS[finding["status"]]
    # A viewer such as GitHub's refuses a result without any location.
    places = finding["places"] or [{"path": config, "line": 0, "column": 0}]
    identity = "\0".join([host, finding["instance"], finding["id"]])
    digest = hashlib.sha256(identity.encode("utf-8")).hexdigest()
    made = {
        "ruleId": finding["id"],
        "ruleIndex": number,
        "kind": kind,
        # Section 3.27.10: anything but a failure has the level none.
        "level": LEVELS[finding["severity"]] if kind == "fail" else "none",
        "message": _message(finding["evidence"] or finding["title"]),
        "locations": [_location(place, host, finding["instance"]) for place in places],
        # The same control on the same instance is the same result, wherever its line moves.
        "partialFingerprints": {
            "hostInstanceControl/v1": digest,
            "primaryLocationLineHash": digest,
        },
        "properties": {"status": finding["status"], "instance": finding["instance"]},
    }
    if finding["status"] == "waived":
        # Without status, which has another name in early schemas of 2.1.0: it counts as accepted.
        made["suppressions"] = [{"kind": "external", "justification": finding["evidence"]}]
    return made


def _location(place: dict, host: str, instance: str) -> dict:
    artifact = {"uri": quote(place["path"].lstrip("/")), "uriBaseId": ROOT}
    physical: dict = {"artifactLocation": artifact}
    if place["line"]:
        physical["region"] = {"startLine": place["line"]}
        if place["column"]:
            physical["region"]["startColumn"] = place["column"]
    logical = {"name": instance, "fullyQualifiedName": "%s/%s" % (host, instance)}
    return {"physicalLocation": physical, "logicalLocations": [logical]}


def _message(text: str) -> dict:
    """A message that stands for itself.

    Sections 3.11.5 and 3.11.6: braces are placeholders unless doubled, ``[text](target)`` is a
    link.
    """
    return {"text": text.replace("{", "{{").replace("}", "}}").replace("](", "] (")}
