# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host answers is taken for what the module may answer, and for nothing else."""

from __future__ import annotations

import ast
import json
import re
import time
from pathlib import Path

import pytest
import yaml
from _dockerd import answers, judgement, reports
from _dockerd.errors import DockerdError
from hypothesis import given, settings
from hypothesis import strategies as st

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
NAMES = ("dockerd", "dockerd_rootless", "dockerd_tls", "dockerd_validate")


def returned(module: str) -> dict:
    for node in ast.parse((MODULES / (module + ".py")).read_bytes()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "RETURN":
            return yaml.safe_load(node.value.value)
    raise LookupError(module)


COUNTS = dict.fromkeys(
    ("critical", "high", "medium", "low", "passed", "unknown", "waived", "not applicable"), 0
)
GOOD = {
    "changed": True,
    "files": ["/etc/docker/daemon.json"],
    "activation": "none",
    "reasons": [],
    "foreign": [],
    "displaced": [],
    "left": [],
    "notes": ["a note"],
    "recovered": False,
    "restart_seconds": 0.5,
    "engine": {"version": "26.1.5", "running": None, "containers": 2, "listeners": []},
    "before": COUNTS,
    "after": COUNTS,
    "findings": [
        {
            **dict.fromkeys(
                ("id", "title", "severity", "instance", "status", "evidence", "why", "remedy"), "x"
            ),
            "cis": {"1.6": "2.1"},
            "places": [{"path": "/etc/docker/daemon.json", "line": 3, "column": 0}],
        }
    ],
    "diff": [{"before": "a\n", "after": "b\n", "before_header": "x", "after_header": "x"}],
}


def accept(answer: object, module: str = "dockerd") -> dict:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return answers.accept(text, "", module, returned(module))


def refusal(answer: object, module: str = "dockerd") -> str:
    with pytest.raises(DockerdError) as refused:
        accept(answer, module)
    assert "no answer of module " + module in str(refused.value)
    assert str(refused.value).isprintable()
    return str(refused.value)


def test_a_good_answer_passes_whole():
    assert accept(GOOD) == GOOD
    assert accept("Welcome!\n\n" + json.dumps(GOOD) + "\nbye\n") == GOOD


def test_what_is_not_declared_is_left_out():
    found = accept(
        {
            **GOOD,
            "ansible_facts": {"dockerd_tls_clients": []},
            "_ansible_no_log": False,
            "_ansible_verbose_always": True,
            "exception": "\x1b[31m",
            "deprecations": [{"msg": "x"}],
            "invocation": {"module_args": {}},
            "add_host": {"host_name": "x"},
            "add_group": "x",
            "results": [],
            "rc": 1,
            "stdout": "x",
            "controller_files": ["/etc/passwd"],
            "engine": {**GOOD["engine"], "more": [[[[]]]]},
        }
    )
    assert found == GOOD


def test_a_failing_answer_passes_with_its_words():
    failed = {"failed": True, "msg": "No.", "changed": False, "problems": ["a", "b"]}
    assert accept({**failed, "path": "/x", "exception": "Traceback"}) == failed
    assert accept({"failed": True}) == {"failed": True, "msg": ""}


WRONG = [
    ({"engine": None}, "engine is no dictionary"),
    ({"engine": []}, "engine is no dictionary"),
    ({"engine": {}}, "engine.version is missing"),
    ({"engine": {**GOOD["engine"], "version": None}}, "engine.version is no text"),
    ({"engine": {**GOOD["engine"], "containers": True}}, "engine.containers is no whole number"),
    ({"notes": "a note"}, "notes is no list"),
    ({"notes": [1]}, "notes[] is no text"),
    ({"notes": [[]]}, "notes[] is no text"),
    ({"before": {**COUNTS, "high": "1"}}, "before.high is no whole number"),
    ({"before": {**COUNTS, "high": 2**63}}, "before.high is too large"),
    ({"restart_seconds": True}, "restart_seconds is no number"),
    ({"changed": "yes"}, "changed is neither true nor false"),
    ({"changed": None}, "changed is neither true nor false"),
    ({"failed": "no"}, "failed is neither true nor false"),
    ({"msg": {}}, "msg is no text"),
    ({"warnings": "x"}, "warnings is no list"),
    ({"warnings": [{}]}, "a warning is no text"),
    ({"diff": "x"}, "diff is no dictionary"),
    ({"diff": [{"before": {}}]}, "diff.before is no text"),
    ({"findings": [1]}, "findings[] is no dictionary"),
    ({"findings": [{**GOOD["findings"][0], "cis": {"1": 2}}]}, "cis is no text"),
    ({"findings": [{**GOOD["findings"][0], "cis": {str(n): "" for n in range(2000)}}]}, "2000"),
    ({"files": ["x"] * 20000}, "files has 20000 entries"),
]


@pytest.mark.parametrize(("lie", "words"), WRONG, ids=lambda one: str(one)[:40])
def test_what_has_another_type_is_no_answer(lie, words):
    assert words in refusal({**GOOD, **lie})


@pytest.mark.parametrize("missing", [key for key in GOOD if key not in ("changed", "diff")])
def test_what_the_documentation_promises_must_be_there(missing):
    answer = {key: value for key, value in GOOD.items() if key != missing}
    assert missing + " is missing" in refusal(answer)


TEXTS = [
    ("", "empty"),
    ("\x1b[2J", "no JSON"),
    ("null", "no dictionary"),
    ("[]", "no dictionary"),
    ('{"changed": fal', "no JSON"),
    ('{"ping": "pong", "changed": false}', "files is missing"),
    ('{"restart_seconds": NaN}', "NaN is no number"),
    ('{"restart_seconds": -Infinity}', "-Infinity is no number"),
    ('{"restart_seconds": 1e999}', "missing"),
    ('{"x": %s}' % ("9" * 100000), "number of 100000 digits"),
    ('{"x": %s' % ("[" * 100000), "nested too deeply"),
    ('{"x": %s' % ('{"x":' * 100000), "nested too deeply"),
    ('{"notes": "%s"}' % ("x" * 9000000), "characters"),
]


@pytest.mark.parametrize(("text", "words"), TEXTS, ids=lambda one: one[:20])
def test_what_is_no_answer_at_all(text, words):
    assert words in refusal(text)


def test_a_number_that_is_none_is_no_number():
    text = json.dumps(GOOD).replace('"restart_seconds": 0.5', '"restart_seconds": 1e999')
    assert "restart_seconds is no number" in refusal(text)


EVIL = "\x1b[31m\x00\r\u202e\u2066\x9b\u2028\ud800\U000e0041\x07é"


def test_nothing_that_a_terminal_obeys_is_left():
    answer = json.loads(json.dumps(GOOD))
    answer["notes"] = [EVIL]
    answer["findings"][0]["cis"] = {EVIL: EVIL + "\nPLAY RECAP"}
    answer["notes"].append("x\nPLAY RECAP ****")
    answer["diff"] = {"before": EVIL, "after": EVIL + "\n", "before_header": EVIL}
    answer.update(warnings=[EVIL, {"event": {"msg": EVIL}}, {"msg": EVIL}], msg=EVIL + "\r\n")
    found = json.dumps(accept(answer), ensure_ascii=False)
    assert found.isprintable()  # JSON writes a new line in two characters
    assert "é" in found
    assert "\\nPLAY" not in found
    found.encode()


def test_a_diff_is_short_enough_to_be_compared():
    text = "".join("%d\n" % (number * 7919 % 900) for number in range(200000))
    found = accept(
        {**GOOD, "diff": {"before": text, "after": text[::-1], "prepared": "PLAY RECAP"}}
    )
    (diff,) = found["diff"]
    assert set(diff) == {"before", "after"}
    assert all(len(side.splitlines()) == answers.LINES_LIMIT + 1 for side in diff.values())
    assert "(199500 more lines)" in diff["before"]


def test_no_key_is_one_of_ansible_s_own():
    answer = json.loads(json.dumps(GOOD))
    answer["findings"][0]["cis"] = {"__ansible_type": "x"}
    assert "a key of Ansible's own" in refusal(json.dumps(answer))


def test_warnings_are_few_and_short():
    found = accept({**GOOD, "warnings": ["TASK [x]\n" + "x" * 3000, *["x"] * 9999]})["warnings"]
    assert len(found) == answers.WARNINGS_LIMIT + 1
    assert found[-1] == "This host gave 9950 warnings more."
    assert all("\n" not in one and len(one) < 2100 for one in found)


def test_long_words_are_cut_and_say_so():
    (note,) = accept({**GOOD, "notes": ["x" * 100000]})["notes"]
    assert note == "x" * 65536 + "… (34464 characters more)"


def test_what_came_instead_is_shown_in_short():
    with pytest.raises(DockerdError) as refused:
        answers.accept("", "/bin/sh: 1: /usr/bin/python9: not found\x1b[A", "dockerd", {})
    assert refused.value.facts["module_stderr"].startswith("/bin/sh: 1: /usr/bin/python9")
    assert refused.value.facts["module_stderr"].isprintable()


def test_it_costs_milliseconds():
    answer = {**GOOD, "findings": GOOD["findings"] * 70}
    text = json.dumps(answer)
    declared = returned("dockerd")
    begun = time.process_time()
    for _time in range(10):
        answers.accept(text, "", "dockerd", declared)
    assert time.process_time() - begun < 0.3
    begun = time.process_time()
    refusal('{"notes": ["%s"]}' % ("x" * 40000000))
    refusal('{"notes": [%s""]}' % ('"x",' * 1900000))
    refusal('{"x": [%s[]]}' % ("[]," * 2500000))
    assert time.process_time() - begun < 5


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_no_answer_breaks_the_gate(key, value):
    try:
        found = accept(json.dumps({**GOOD, key: value}))
    except DockerdError as error:
        assert str(error).isprintable()
        return
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    assert set(found) <= {*GOOD, "msg", "failed", "skipped", "warnings"}


# -- the declaration


def kinds(declared: dict, where: str = ""):
    for key, kind in declared.items():
        yield where + key, kind
        yield from kinds(kind.get("contains", {}), where + key + ".")


@pytest.mark.parametrize("module", NAMES)
def test_a_declaration_says_all_that_the_gate_must_know(module):
    for place, kind in kinds(returned(module)):
        assert kind["type"] in ("str", "int", "float", "bool", "list", "dict"), place
        if kind["type"] == "list":
            assert kind["elements"] in ("str", "dict"), place
            assert ("contains" in kind) == (kind["elements"] == "dict"), place


def test_dictionaries_with_keys_of_the_hosts_own_are_texts():
    free = {
        "%s.%s" % (module, place)
        for module in NAMES
        for place, kind in kinds(returned(module))
        if kind["type"] == "dict" and "contains" not in kind and place != "reports"
    }
    assert free == {
        "dockerd.findings.cis",
        "dockerd_rootless.failures",
        "dockerd_validate.findings.cis",
    }


@pytest.mark.parametrize("module", NAMES)
def test_every_module_has_a_gate(module):
    action = MODULES.parent / "action" / (module + ".py")
    text = action.read_text(encoding="utf-8")
    assert "(Gated)" in text
    assert 'MODULE = "%s"' % module in text
    assert {path.stem for path in MODULES.glob("*.py")} == {*NAMES}


def literal(path: Path, key: str) -> set:
    """The keys of the dictionary in a source file that has this key."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Dict):
            keys = {one.value for one in node.keys if isinstance(one, ast.Constant)}
            if key in keys:
                return keys
    raise LookupError(key)


# What every module may return beside what it declares.
COMMON = {"changed", "diff", "warnings"}
SOURCES = [
    ("dockerd", "../module_utils/_ansible.py", "restart_seconds"),
    ("dockerd_rootless", "dockerd_rootless.py", "system_returns"),
]


@pytest.mark.parametrize(("module", "source", "key"), SOURCES, ids=[one[0] for one in SOURCES])
def test_what_a_module_gives_is_what_it_declares(module, source, key):
    declared = {
        name for name, kind in returned(module).items() if kind["returned"] in ("success", "always")
    }
    assert literal(MODULES / source, key) - COMMON == declared


def test_a_judgement_passes_whole(host):
    judged = judgement.judge(host, version="26.1.5").as_dict()
    declared = returned("dockerd_validate")
    del declared["reports"]  # the controller's
    assert answers.accept(json.dumps(judged), "", "dockerd_validate", declared) == judged


def test_the_module_knows_the_formats_that_the_controller_writes():
    tree = ast.parse((MODULES / "dockerd_validate.py").read_bytes())
    lists = [one for one in ast.walk(tree) if isinstance(one, ast.List)]
    choices = [[getattr(item, "value", None) for item in one.elts] for one in lists]
    assert list(reports.FORMATS) in choices


def test_what_is_known_of_a_user_is_declared():
    contains = returned("dockerd_rootless")["users"]["contains"]
    path = MODULES.parent / "module_utils" / "_dockerd" / "groundwork.py"
    assert literal(path, "data_root") == {*contains}


@pytest.mark.parametrize("playbook", ["playbooks/harden.yml", "tests/testinfra/hostile/lies.yml"])
def test_playbooks_know_the_facts_that_no_host_may_set(playbook):
    gate = (MODULES.parent / "plugin_utils" / "gated.py").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'NO_FACT = re[.]compile\("(.+)"\)', gate)
    text = (MODULES.parents[1] / playbook).read_text(encoding="utf-8")
    assert "unspoken: %s\n" % pattern in text
