# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML as Jenkins and GitLab read it: a test suite an instance, a test case a control."""

from __future__ import annotations

from xml.etree import ElementTree

from ..answers import printable
from .words import benchmark, of, verdict

# The element for each status. What could not be judged is an error, so that nobody takes it for a
# pass; only what passed has none.
ELEMENTS = {
    "failed": "failure",
    "unknown": "error",
    "waived": "skipped",
    "not applicable": "skipped",
}


def render(result: dict) -> str:
    """The document; it fits the schema junit-10.xsd of Jenkins' xUnit plugin."""
    top = ElementTree.Element("testsuites", name=printable(result["tool"]["name"]))
    top.attrib.update(_totals(result["findings"]))
    for instance in result["instances"]:
        _suite(top, result, instance)
    # A line an element, for people and for diff.
    for element in top.iter():
        element.tail = "\n"
        if len(element):
            element.text = "\n"
    body = ElementTree.tostring(top, encoding="unicode")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + body


def _suite(top: ElementTree.Element, result: dict, instance: dict) -> None:
    # The host is part of the name, so that the files of a fleet can be read together.
    name = printable("%s.%s" % (result["host"], instance["name"]))
    found = of(result, instance)
    totals = _totals(found)
    totals["skipped"] = "%d" % sum(ELEMENTS.get(one["status"]) == "skipped" for one in found)
    suite = ElementTree.SubElement(
        top,
        "testsuite",
        name=name,
        hostname=printable(result["host"]),
        timestamp=printable(result["judged_at"]),
        **totals,
    )
    properties = ElementTree.SubElement(suite, "properties")
    told = {
        "config": instance["config"],
        "engine": instance["engine"]["version"],
        "starts": verdict(instance["starts"], [instance]),
    }
    for key, value in told.items():
        ElementTree.SubElement(properties, "property", name=key, value=printable(value))
    for finding in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=printable(finding["id"]), time="0"
        )
        if finding["status"] in ELEMENTS:
            _outcome(case, finding)


def _outcome(case: ElementTree.Element, finding: dict) -> None:
    skipped = finding["status"] in ("waived", "not applicable")
    # Viewers of skipped tests show the message alone, so there it is the reason.
    message = "%s: %s" % (finding["status"], finding["evidence"]) if skipped else finding["title"]
    element = ElementTree.SubElement(case, ELEMENTS[finding["status"]], message=printable(message))
    element.set("type", printable(finding["severity"]))
    if not skipped:
        parts = [finding["evidence"], "", finding["why"], "-> %s" % finding["remedy"]]
        element.text = printable("\n".join([*parts, benchmark(finding["cis"])]))


def _totals(findings: list[dict]) -> dict:
    statuses = [one["status"] for one in findings]
    return {
        "tests": "%d" % len(statuses),
        "failures": "%d" % statuses.count("failed"),
        "errors": "%d" % statuses.count("unknown"),
    }
