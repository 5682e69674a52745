# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from _dockerd import answers, reports
from _dockerd.reports import page, prometheus, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from lxml import etree

TOP = Path(__file__).resolve().parents[2]
DOCUMENT = (TOP / "docs" / "report.md").read_text(encoding="utf-8")
SCHEMA = json.loads((TOP / "docs" / "report.schema.json").read_text(encoding="utf-8"))
SCHEMAS = Path(os.environ.get("REPORT_SCHEMAS", TOP.parent / "shared" / "schemas"))
CONFIG = "/etc/docker/daemon.json"
STATUSES = ("passed", "failed", "unknown", "not applicable", "waived")


def finding(status="failed", **rest):
    made = {
        "id": "icc",
        "title": "Containers are kept apart",
        "severity": "high",
        "cis": {"1.6": "2.2", "1.7": "2.2", "1.8": "2.3, 2.4"},
        "instance": "system",
        "status": status,
        "evidence": "icc is true",
        "why": "One is a neighbour of all.",
        "remedy": "Keep icc: false.",
        "places": [{"path": CONFIG, "line": 3, "column": 5}],
    }
    return {**made, **rest}


def counts(findings):
    keys = [words.standing(one) for one in findings]
    return {key: keys.count(key) for key in (*words.SEVERITIES, *words.STATUSES)}


def result(findings=(), names=("system",), starts=True, **rest):
    """A result in which all instances are alike; ``rest`` is of each instance."""
    engine = {"version": "26.1.5", "running": True, "containers": 2, "listeners": ["2376"]}
    certificate = {
        "role": "server",
        "path": "/etc/docker/tls/server-cert.pem",
        "subject": "CN=web1",
        "not_after": "2027-01-01T00:00:00Z",
    }
    instances = [
        {
            "name": name,
            "config": CONFIG,
            "starts": starts,
            "counts": counts([one for one in findings if one["instance"] == name]),
            "engine": engine,
            "certificates": [certificate],
            **rest,
        }
        for name in names
    ]
    return {
        "schema": 1,
        "tool": {"name": "dockerd-validate", "version": "0.1.0"},
        "host": "web1",
        "judged_at": "2026-11-22T05:30:00Z",
        "starts": starts,
        "counts": counts(findings),
        "instances": instances,
        "findings": list(findings),
    }


def every_status(instance="system"):
    return [finding(one, id=one.replace(" ", "-"), instance=instance) for one in STATUSES]


NASTY = (
    "]]></failure> </script><script>alert(1)</script> \"><img src=x onerror=alert(1)> '-- <!-- &lt;"
    " {0} {{ [a](https://example.com) %s \\n \\ \x00\x1b[2J\x9b\r\n\t\u202e\u2028\udcff\ud83d\ufffe"
)
RESULTS = {
    "ordinary": result(every_status()),
    "two instances": result(
        every_status() + every_status("user:alice"), ("system", "user:alice"), starts=False
    ),
    "empty": result((), (), starts=None),
    "an image": result(
        every_status(),
        starts=None,
        engine={"version": "", "running": None, "containers": None, "listeners": []},
        certificates=[],
    ),
    "hostile": result(
        [{**finding(one), **dict.fromkeys(("title", "evidence", "why"), NASTY)} for one in STATUSES]
    ),
}
each_result = pytest.mark.parametrize("data", RESULTS.values(), ids=RESULTS.keys())


# What all formats have in common


@each_result
@pytest.mark.parametrize("name", reports.FORMATS)
def test_a_report_is_text_that_ends_with_a_line(name, data):
    before = copy.deepcopy(data)
    rendered = reports.render(name, data)
    assert rendered.encode("utf-8").endswith(b"\n")
    assert data == before


def test_an_unknown_format_is_an_error():
    with pytest.raises(KeyError):
        reports.render("yaml", RESULTS["ordinary"])


# JSON


def strict(schema):
    """The schema, refusing fields that it does not describe."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False, **made} if "required" in made else made
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


JUDGE = Draft202012Validator(strict(SCHEMA))


@each_result
def test_json_is_the_result_and_fits_its_schema(data):
    rendered = reports.render("json", data)
    JUDGE.validate(json.loads(rendered))
    assert json.loads(rendered) == words.well_formed(data)
    assert rendered.isascii()


def test_only_surrogates_are_replaced():
    assert words.well_formed({"a": ["\udcff\0b\ud83d\ude00\U0001f600"]}) == {
        "a": ["\ufffd\0b\ufffd\ufffd\U0001f600"]
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"starts": "yes"},
        {"judged_at": "2026-11-22 05:30"},
        {"counts": {"critical": 0}},
        {"findings": [finding("fine")]},
        {"findings": [finding(severity="info")]},
        {"findings": [finding(places=[{"path": CONFIG, "line": -1, "column": 0}])]},
        {"surprise": True},
    ],
)
def test_the_schema_refuses(wrong):
    Draft202012Validator.check_schema(SCHEMA)
    assert not JUDGE.is_valid({**RESULTS["ordinary"], **wrong})


def test_the_schema_lets_fields_be_added():
    assert Draft202012Validator(SCHEMA).is_valid({**RESULTS["ordinary"], "later": 1})


def test_the_document_has_an_example_that_fits_and_names_every_field():
    example = json.loads(re.search(r"```json\n(.*?)```", DOCUMENT, re.S).group(1))
    JUDGE.validate(example)
    assert example["counts"] == counts(example["findings"])
    objects = [SCHEMA, *SCHEMA["$defs"].values(), SCHEMA["properties"]["tool"]]
    named = {name for one in objects for name in one.get("properties", ())}
    assert [name for name in named if "`%s`" % name not in DOCUMENT] == []


# Text


@pytest.mark.parametrize(
    ("status", "shown", "hidden"),
    [
        ("failed", ["high", "icc is true", "-> Keep icc"], []),
        ("unknown", ["unknown", "icc is true"], ["Keep icc"]),
        ("waived", ["waived", "icc is true"], ["Keep icc"]),
        ("passed", ["passed"], ["icc is true", "Keep icc"]),
        ("not applicable", ["not applicable"], ["icc is true"]),
    ],
)
def test_text(status, shown, hidden):
    rendered = reports.render("text", result([finding(status)]))
    assert all(word in rendered for word in shown)
    assert not any(word in rendered for word in hidden)
    key = "high" if status == "failed" else status
    assert rendered.endswith("\n1 %s\ndockerd starts with this configuration.\n" % key)


def test_the_worst_is_last():
    some = [finding(severity=one, id=one) for one in ("critical", "low", "high", "medium")]
    some += [finding(status=one, id=one) for one in ("passed", "unknown", "waived")]
    words = [line.split()[0] for line in reports.render("text", result(some)).splitlines()]
    order = ["passed", "waived", "unknown", "low", "medium", "high", "critical"]
    assert [word for word in words if word in order] == order


def test_colour_is_for_terminals_and_never_from_evidence():
    assert "\033[31mhigh" in reports.render("text", result([finding()]), colour=True)
    rendered = reports.render("text", result([finding(evidence="a\033[2Jb\nc\u202ed")]))
    assert "a [2Jb c d" in rendered
    assert "\033" not in rendered


@pytest.mark.parametrize("name", [one for one in reports.FORMATS if one != "text"])
def test_colour_changes_no_other_format(name):
    data = RESULTS["ordinary"]
    assert reports.render(name, data, colour=True) == reports.render(name, data)


@pytest.mark.parametrize(
    ("starts", "sentence"),
    [
        (True, "dockerd starts with this configuration."),
        (False, "dockerd does not start with this configuration."),
        (None, "Whether dockerd starts with this configuration could not be judged."),
    ],
)
def test_the_last_line_says_whether_dockerd_starts(starts, sentence):
    assert reports.render("text", result(starts=starts)).splitlines()[-1] == sentence


def test_several_instances_have_headings_and_the_answer_names_the_broken_one():
    data = result(every_status() + every_status("user:alice"), ("system", "user:alice"))
    data["starts"] = data["instances"][1]["starts"] = False
    lines = reports.render("text", data).splitlines()
    assert "user:alice, %s" % CONFIG in lines
    assert "user:alice: 1 high, 1 unknown, 1 waived, 1 passed, 1 not applicable" in lines
    assert lines[-2:] == [
        "2 high, 2 unknown, 2 waived, 2 passed, 2 not applicable",
        "dockerd does not start with this configuration (user:alice).",
    ]
    assert "system, %s" % CONFIG not in reports.render("text", RESULTS["ordinary"])


# JUnit and SARIF, with the schemas of those who defined them


def official(name):
    path = SCHEMAS / name
    if not path.is_file():
        pytest.skip(
            "%s is not there: put the official schema there, or its directory in REPORT_SCHEMAS"
            % path
        )
    return path


def junit(data):
    return ElementTree.fromstring(reports.render("junit", data).encode("utf-8"))


def sarif(data):
    return json.loads(reports.render("sarif", data))["runs"][0]


@each_result
def test_junit_fits_the_schema_of_jenkins(data):
    schema = etree.XMLSchema(etree.parse(str(official("junit-10.xsd"))))
    schema.assertValid(etree.fromstring(reports.render("junit", data).encode("utf-8")))


@each_result
def test_sarif_fits_the_schema_of_oasis(data):
    schema = json.loads(official("sarif-2.1.0.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(json.loads(reports.render("sarif", data)))


@pytest.mark.parametrize(
    ("status", "element"),
    [
        ("passed", None),
        ("failed", "failure"),
        ("unknown", "error"),
        ("waived", "skipped"),
        ("not applicable", "skipped"),
    ],
)
def test_junit_outcome(status, element):
    suite = junit(result([finding(status)])).find("testsuite")
    case = suite.find("testcase")
    assert [one.tag for one in case] == ([element] if element else [])
    assert (case.get("classname"), case.get("name")) == ("web1.system", "icc")
    totals = [suite.get(key) for key in ("failures", "errors", "skipped", "tests")]
    told = [int(element == one) for one in ("failure", "error", "skipped")]
    assert totals == ["%d" % number for number in (*told, 1)]
    if element:
        found = case.find(element)
        assert "icc is true" in found.get("message") + (found.text or "")


def test_junit_has_a_suite_an_instance():
    top = junit(RESULTS["two instances"])
    assert [one.get("name") for one in top] == ["web1.system", "web1.user:alice"]
    assert [len(one.findall("testcase")) for one in top] == [5, 5]
    assert (top.get("tests"), top.get("failures"), top.get("errors")) == ("10", "2", "2")


@pytest.mark.parametrize(
    ("status", "kind", "level"),
    [
        ("passed", "pass", "none"),
        ("failed", "fail", "error"),
        ("unknown", "review", "none"),
        ("waived", "fail", "error"),
        ("not applicable", "notApplicable", "none"),
    ],
)
def test_sarif_kind_and_level(status, kind, level):
    run = sarif(result([finding(status)]))
    (found,) = run["results"]
    assert (found["kind"], found["level"]) == (kind, level)
    assert ("suppressions" in found) == (status == "waived")


@pytest.mark.parametrize(
    ("severity", "level", "lowest", "highest"),
    [
        ("critical", "error", 9.1, 10.0),
        ("high", "error", 7.0, 8.9),
        ("medium", "warning", 4.0, 6.9),
        ("low", "note", 0.1, 3.9),
    ],
)
def test_sarif_severity(severity, level, lowest, highest):
    run = sarif(result([finding(severity=severity)]))
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["defaultConfiguration"]["level"] == run["results"][0]["level"] == level
    assert lowest <= float(rule["properties"]["security-severity"]) <= highest
    assert "cis-docker-1.8/2.4" in rule["properties"]["tags"]


def test_sarif_has_a_rule_a_control_and_a_result_an_instance():
    run = sarif(RESULTS["two instances"])
    rules = run["tool"]["driver"]["rules"]
    assert len(rules) == 5
    assert len(run["results"]) == 10
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


@pytest.mark.parametrize(
    ("place", "uri", "region"),
    [
        (
            {"path": "/etc/a b/ü%#?.json", "line": 3, "column": 5},
            "etc/a%20b/%C3%BC%25%23%3F.json",
            {"startLine": 3, "startColumn": 5},
        ),
        ({"path": CONFIG, "line": 3, "column": 0}, "etc/docker/daemon.json", {"startLine": 3}),
        ({"path": CONFIG, "line": 0, "column": 0}, "etc/docker/daemon.json", None),
        (None, "etc/docker/daemon.json", None),
    ],
)
def test_sarif_location(place, uri, region):
    run = sarif(result([finding(places=[place] if place else [])]))
    physical = run["results"][0]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": uri, "uriBaseId": "HOSTROOT"}
    assert physical.get("region") == region
    assert "HOSTROOT" in run["originalUriBaseIds"]


def test_sarif_fingerprints_stay_and_tell_results_apart():
    def prints(data):
        return [one["partialFingerprints"] for one in sarif(data)["results"]]

    moved = finding(evidence="other", places=[{"path": CONFIG, "line": 9, "column": 1}])
    assert prints(result([finding()])) == prints(result([moved]))
    others = [finding(id="other"), finding(instance="user:alice")]
    names = ("system", "user:alice")
    assert len({one["primaryLocationLineHash"] for one in prints(result(others, names))}) == 2
    elsewhere = {**result([finding()]), "host": "web2"}
    assert prints(elsewhere) != prints(result([finding()]))


def test_sarif_messages_hold_no_placeholder_and_no_link():
    run = sarif(result([finding(evidence='{"a": "{0}"} [here](https://example.com)')]))
    message = run["results"][0]["message"]["text"]
    assert message == '{{"a": "{{0}}"}} [here] (https://example.com)'


# HTML


class Seen(HTMLParser):
    """What a browser would make of a page: its tags with attributes, and its text."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.pieces, self.folded = [], [], [], []
        self.feed(text)
        self.close()
        self.text = "".join(self.pieces)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)
            self.folded += [data] if "details" in self.open else []

    def handle_comment(self, data):
        raise AssertionError("a comment: %r" % data)


@each_result
def test_html_is_whole_and_asks_for_nothing(data):
    seen = Seen(reports.render("html", data))
    assert seen.open == []
    attributes = [one for _tag, found in seen.tags for one in found]
    assert "script" not in [tag for tag, _found in seen.tags]
    assert all(value.startswith("#") for name, value in attributes if name in ("href", "src"))
    assert not [name for name, _value in attributes if name.startswith("on") or name == "style"]
    assert "url(" not in page.STYLE
    assert "@import" not in page.STYLE
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [value[1:] for name, value in attributes if name == "href"]
    assert set(targets) <= set(ids)


def test_html_allows_its_own_style_sheet_only():
    rendered = reports.render("html", RESULTS["ordinary"])
    style = re.search(r"<style>(.*)</style>", rendered, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    assert "content=\"default-src 'none'; style-src 'sha256-%s'\"" % digest in rendered


def test_html_answers_first_and_folds_what_passed():
    findings = [
        finding("passed", id="good", title="Good one"),
        finding("unknown", id="dark", title="Dark one"),
        finding(severity="low", id="small", title="Small one"),
        finding(severity="critical", id="big", title="Big one"),
    ]
    seen = Seen(reports.render("html", result(findings, starts=False)))
    body = seen.text[seen.text.index("Docker daemon on web1") :]
    order = ["does not start", "Instance", "Big one", "Small one", "Dark one", "Good one"]
    assert sorted(order, key=body.index) == order
    assert "Good one" in "".join(seen.folded)
    assert "Big one" not in "".join(seen.folded)
    assert "/etc/docker/daemon.json:3:5" in body


def test_html_headings_leave_out_no_level():
    tags = [tag for tag, _attrs in Seen(reports.render("html", RESULTS["ordinary"])).tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def luminance(colour):
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_html_contrast(theme):
    block = re.findall(r":root \{(.*?)\}", page.STYLE, re.S)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    tones = ("critical", "high", "medium", "low", "passed", "unknown", "waived")
    pairs = [("text", "ground"), ("text", "card"), ("dim", "ground"), ("dim", "card")]
    pairs += [(tone, "card") for tone in tones] + [("on", tone) for tone in tones]
    for pair in pairs:
        low, high = sorted(luminance(colours[one]) for one in pair)
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


# Prometheus


SAMPLE = re.compile(r"([a-z_]+)(?:\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)+)\})? (\d+)")
LABEL = re.compile(r"([a-z_]+)=\"((?:[^\"\\\n]|\\[\\\"n])*)\"")


def samples(rendered):
    """Every sample by name and labels; fails where a line is neither that nor a comment."""
    found = {}
    assert rendered.endswith("\n")
    for line in rendered[:-1].split("\n"):
        if re.fullmatch(r"# (HELP|TYPE) dockerd_[a-z_]+ [^\n\\]+", line):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        told = {key: unescaped(text) for key, text in LABEL.findall(labels or "")}
        key = (name, *told.values())
        assert key not in found
        found[key] = int(value)
    return found


def unescaped(text):
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)


@each_result
def test_prometheus_is_what_promtool_takes(data):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    rendered = reports.render("prometheus", data).encode("utf-8")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=rendered, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@each_result
def test_prometheus_lines(data):
    found = samples(reports.render("prometheus", data))
    assert found["dockerd_judged_timestamp_seconds",] == 1795325400
    assert {one[0] for one in found} <= {one[0] for one in prometheus.METRICS}


@pytest.mark.parametrize(
    ("status", "failed", "unknown"),
    [
        ("passed", 0, 0),
        ("failed", 1, 0),
        ("unknown", None, 1),
        ("waived", 0, 0),
        ("not applicable", None, None),
    ],
)
def test_prometheus_tells_unknown_from_passed(status, failed, unknown):
    found = samples(reports.render("prometheus", result([finding(status)])))
    labels = ("system", "icc", "high")
    assert found.get(("dockerd_control_failed", *labels)) == failed
    assert found.get(("dockerd_control_unknown", *labels)) == unknown


@pytest.mark.parametrize(("starts", "value"), [(True, 1), (False, 0), (None, None)])
def test_prometheus_starts_is_absent_where_it_cannot_be_known(starts, value):
    found = samples(reports.render("prometheus", result(starts=starts)))
    assert found.get(("dockerd_starts", "system")) == value


def test_prometheus_has_the_certificate_of_a_bundle_that_expires_first():
    bundle = [
        {"role": "authority", "path": "/ca.pem", "subject": "CN=%s" % day, "not_after": day}
        for day in ("2030-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "2031-01-01T00:00:00Z")
    ]
    found = samples(reports.render("prometheus", result(certificates=bundle)))
    name = "dockerd_certificate_expiry_timestamp_seconds"
    assert found[name, "system", "authority", "/ca.pem"] == 86400


# Whatever the host says


hostile = st.one_of(
    st.text(st.characters(), max_size=40),
    st.sampled_from([NASTY, "]]>", "</script>", "<b>", '"', "'", "&", "\\", "\r\n", "\x85"]),
    st.builds("".join, st.lists(st.sampled_from('<>&"\\\n\r\t{}[]()=\0\x1b\ud800a '), max_size=30)),
).map(lambda text: "x" + text)
examples = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def filled(said):
    """A result in which everything that is free text says this."""
    texts = dict.fromkeys(("title", "evidence", "why", "remedy"), said)
    places = [{"path": "/" + said, "line": 0, "column": 0}]
    findings = [
        finding(status, id=status.replace(" ", "-"), instance=said, places=places, **texts)
        for status in STATUSES
    ]
    made = result(
        findings,
        (said,),
        config=said,
        engine={"version": said, "running": True, "containers": 1, "listeners": [said]},
        certificates=[
            {"role": "server", "path": said, "subject": said, "not_after": "2027-01-01T00:00:00Z"}
        ],
    )
    return {**made, "host": said}


@examples
@given(hostile)
def test_hostile_text_reaches_a_terminal_as_text(said):
    rendered = reports.render("text", filled(said))
    assert all(one.isprintable() or one == "\n" for one in rendered)
    assert rendered.count("\n") == reports.render("text", filled("x")).count("\n")


@examples
@given(hostile)
def test_hostile_text_stays_text_in_xml(said):
    top = junit(filled(said))
    texts = [one.text for one in top.iter() if one.tag in ("failure", "error")]
    shown = answers.printable(said)
    assert len(texts) == 2
    assert all(one.startswith("%s\n\n%s\n-> %s\n" % (shown, shown, shown)) for one in texts)
    assert [one.tag for one in top.iter()] == [one.tag for one in junit(filled("x")).iter()]


@examples
@given(hostile)
def test_hostile_text_stays_text_in_json_and_sarif(said):
    clean = words.well_formed({"said": said})["said"]
    assert json.loads(reports.render("json", filled(said)))["findings"][0]["evidence"] == clean
    rendered = reports.render("sarif", filled(said))
    assert rendered.isascii()
    message = json.loads(rendered)["runs"][0]["results"][0]["message"]["text"]
    assert message.replace("{{", "{").replace("}}", "}").replace("] (", "](") == clean.replace(
        "] (", "]("
    )


@examples
@given(hostile)
def test_hostile_text_stays_text_in_html(said):
    seen = Seen(reports.render("html", filled(said)))
    assert seen.tags[5:] == Seen(reports.render("html", filled("x"))).tags[5:]
    assert seen.text.count(answers.printable(said)) >= 20


@examples
@given(hostile)
def test_hostile_text_stays_a_label_in_prometheus(said):
    found = samples(reports.render("prometheus", filled(said)))
    clean = answers.printable(said)
    assert found["dockerd_engine_info", clean, clean] == 1
    assert found["dockerd_starts", clean] == 1


def test_a_line_of_a_million_characters_is_no_trouble():
    data = result([finding(evidence="x<" * 500_000)])
    for name in ("text", "json", "junit", "sarif", "html"):
        assert len(reports.render(name, data)) > 1_000_000
