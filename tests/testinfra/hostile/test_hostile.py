# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lie in the place of our modules: what they get, and what the operator sees of it.

One host of the lab stands in the inventory once for each lie, under the lie's name.
"""

from __future__ import annotations

import json
import re
import runpy
import time
from pathlib import Path

import play
import pytest
import testinfra
import yaml
from cryptography import x509
from testinfra.utils.ansible_runner import AnsibleRunner

HERE = Path(__file__).parent
LIAR = HERE / "liar.py"
LIES = runpy.run_path(str(LIAR))
PLACE = LIES["PLACE"]
LEAF = "Keep the daemon's key, certificate and trust"
CLIENT = "Keep the clients that live on this host"
DAEMON = "Bring the daemon to its desired state"
TOGETHER = {"dockerd_serial": "100%"}
CONFIG = """
[defaults]
collections_path = {collections}
interpreter_python = auto_silent
callback_result_format = yaml
forks = 8
# Ansible's default, which projects of others have.
inject_facts_as_vars = true

[ssh_connection]
pipelining = true
"""

# What was said of a lie about certificates; None where it is no lie that hurts.
REFUSALS = {
    "listed-more": "asked for were ecdsa-p256 and evil.prod.example",
    "wildcard": "*.prod.example (a wildcard)",
    "case": "db3 (which is of Db3)",
    "qualified": "db3.lab.test (which is of Db3)",
    "address": "203.0.113.33 (which is of Db3)",
    "by-other": "docker.prod.example (which is of Db3)",
    "many-names": "more than 500 names",
    "evil-names": "What this host calls itself",
    "names-no-list": "requests[].sans is no list",
    "other-key": "is for a key of rsa-2048",
    "authority": "the key does not match the leaf",
    "no-request": "no certificate request that can be read",
    "two-servers": "asks for certificates of honest, two-servers; it may have two-servers",
    "twice": "asks for certificates of twice, twice",
    "other-server": "asks for certificates of honest; it may have other-server",
    "path": "asks for certificates of ../../",
    "changed-mind": "asks for them again",
    "facts": None,
    "controller-files": None,
    "chain": "leaves has 100000 entries",
    "client-admin": "asks for certificates of admin; it may have client-admin",
    "client-usage": "and the names honest",
}
# Here the leaf is one that the host may have; what else it wanted is not in it.
SIGNED = ("authority", "changed-mind")
ANSWERS = {
    "engine-null": "engine is no dictionary",
    "not-a-number": "NaN is no number",
    "huge-number": "a number of 5001 digits",
    "failed-text": "failed is neither true nor false",
    "large": "2097152 are taken",
    "other-module": "files is missing",
    "failed-evil": "EVIL",
    "exit-1": None,
    "text": "it is no JSON",
    "tagged": "notes[] is no text",
    "deep": "it is nested too deeply",
    "drip": "timed out",
    "flood": "timed out",
    "unreachable": None,
    "pass-facts": None,
    "pass-internal": None,
    "pass-warnings": None,
    "pass-notes": None,
    "pass-diff": None,
    "pass-junk": None,
}


class Story:
    """Everything that was run, and what it left."""

    def __init__(self, lab: str, place: Path) -> None:
        self.place, self.project = place, place / "project"
        self.names = AnsibleRunner(lab).get_hosts("docker_hosts")
        honest, hostile = self.names[:2]
        known = {
            name: testinfra.get_host("ansible://" + name, ansible_inventory=lab)
            for name in (honest, hostile)
        }
        self.hostile = known[hostile]
        addresses = {
            name: host.ansible.get_variables()["ansible_host"] for name, host in known.items()
        }
        self.project.mkdir()
        (self.project / "ansible.cfg").write_text(
            CONFIG.format(collections=play.PROJECT / ".ansible/collections")
        )
        (self.project / "lies.yml").write_text((HERE / "lies.yml").read_text())
        (self.project / "templates").symlink_to(play.HARDEN.parent / "templates")
        self.inventory = place / "liars.yml"
        reached = yaml.safe_load(Path(lab).read_text())["docker_hosts"]["vars"]
        hosts = self.hosts(reached, addresses[honest], addresses[hostile])
        self.inventory.write_text(json.dumps(hosts))
        self.bring_liars()
        (place / "precious").write_text("precious")
        self.files = self.look()
        begun = time.monotonic()
        told = {"lies_place": str(place)}
        self.lies = self.run(self.project / "lies.yml", "--diff", told)
        self.seconds = time.monotonic() - begun
        self.facts = self.run(self.site("setup"), {"dockerd_hosts": "honest:setup"}, TOGETHER)
        fleet = {"dockerd_hosts": "engine-null:honest:pass-notes", "dockerd_listen": []}
        self.fleet = self.run(play.HARDEN, {**fleet, "dockerd_serial": [2, 1]})
        passing = {"dockerd_hosts": "honest:pass-notes:pass-facts"}
        self.harden = self.run(play.HARDEN, passing, TOGETHER)
        self.after = self.look()

    def hosts(self, reached: dict, honest: str, hostile: str) -> dict:
        """The inventory: the honest host, one alias of the other for each lie, one far away."""
        common = {
            **reached,
            "dockerd_tls_authority_directory": str(self.place / "authority"),
            "dockerd_tls_client_directory": str(self.place / "clients"),
            "dockerd_report": str(self.place / "report.json"),
            "dockerd_tls_clients": [],
        }

        def liar(name: str) -> dict:
            told = {
                "ansible_host": hostile,
                "ansible_python_interpreter": "%s/%s" % (PLACE, name),
                "dockerd_tls_directory": "%s/tls/%s" % (PLACE, name),
            }
            if name.startswith("listed-"):
                told["dockerd_tls_collect_sans"] = False
                told["dockerd_tls_server_sans"] = ["evil.prod.example"]
            if name.startswith("client-"):
                told["dockerd_tls_server"] = False
                client = {"name": name, "hosts": [name], "user": "root"}
                told["dockerd_tls_clients"] = [client]
            if name in ("drip", "flood"):
                told["dockerd_answer_timeout"] = 5
            if name == "packages":
                told["dockerd_packages"] = ["docker.io"]
            if name.startswith("pass-"):
                told["dockerd_listen"] = []
            return told

        groups = {
            "certificates": list(LIES["TLS"]),
            "answers": list(LIES["ANSWERS"]),
            "others": ["setup", "packages"],
        }
        children = {
            group: {"hosts": {name: liar(name) for name in names}}
            for group, names in groups.items()
        }
        children["honests"] = {"hosts": {"honest": {"ansible_host": honest}}}
        far = {"ansible_host": "203.0.113.33", "dockerd_tls_server_sans": ["docker.prod.example"]}
        return {
            "docker_hosts": {"children": children, "vars": common},
            "far": {"hosts": {"Db3": far}},
        }

    def bring_liars(self) -> None:
        names = [*LIES["TLS"], *LIES["ANSWERS"], "setup", "packages"]
        self.hostile.check_output("mkdir -p %s", PLACE)
        self.hostile.check_output(
            "printf %%s %s > %s/liar && chmod 0755 %s/liar", LIAR.read_text(), PLACE, PLACE
        )
        self.hostile.check_output(
            "cd %s && for name in " + " ".join(names) + "; do ln -sfn liar $name; done", PLACE
        )

    def site(self, host: str) -> Path:
        """Facts of a host, and then our playbook."""
        path = self.place / "site.yml"
        plays = [
            {"name": "Facts", "hosts": host, "gather_facts": True, "tasks": []},
            {"name": "Harden", "import_playbook": str(play.HARDEN)},
        ]
        path.write_text(json.dumps(plays))
        return path

    def run(self, playbook: Path, *options) -> play.Run:
        return play.play(playbook, str(self.inventory), *options, project=self.project)

    def look(self) -> dict:
        """What is on the controller where a lie could lead."""
        return {
            str(path): path.read_bytes()
            for path in self.place.rglob("*")
            if path.is_file() and path.name not in ("site.yml",)
        }

    def leaves(self, name: str) -> list:
        """The certificates that a liar was sent and that are no authorities."""
        sent = self.hostile.file("%s/%s.sent" % (PLACE, name))
        text = sent.content.replace(b"\\\\n", b"\n").replace(b"\\n", b"\n") if sent.exists else b""
        pattern = rb"-----BEGIN CERTIFICATE-----\n.*?\n-----END CERTIFICATE-----"
        found = [x509.load_pem_x509_certificate(one) for one in re.findall(pattern, text, re.S)]
        return [one for one in found if not basic(one).ca]


def basic(certificate) -> x509.BasicConstraints:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value


def names(certificate) -> set:
    kind = x509.SubjectAlternativeName
    return {str(one.value) for one in certificate.extensions.get_extension_for_class(kind).value}


@pytest.fixture(scope="module")
def story(inventory, tmp_path_factory) -> Story:
    return Story(inventory, tmp_path_factory.mktemp("hostile"))


def of(run: play.Run, host: str, task: str) -> list:
    """What a task came to on a host, with its status."""
    return [
        (one["status"], one["result"])
        for one in run.results
        if one["host"] == host and one["task"].endswith(task)
    ]


def test_every_lie_is_judged():
    assert set(REFUSALS) == set(LIES["TLS"])
    assert set(ANSWERS) == set(LIES["ANSWERS"])


@pytest.mark.parametrize("lie", REFUSALS)
def test_nothing_is_signed_that_nobody_wants(story, lie):
    task = CLIENT if lie.startswith("client-") else LEAF
    ((status, result),) = of(story.lies, lie, task)
    words, signed = REFUSALS[lie], story.leaves(lie)
    if words is None:
        assert status == "ok", result
        assert len(signed) == 1
    else:
        assert status == "failed"
        assert words in result["msg"]
        assert len(signed) == (lie in SIGNED)
    for leaf in signed:
        assert leaf.subject.rfc4514_string() == "CN=" + lie
        assert not any(one in ("honest", "Db3") or "prod" in one for one in names(leaf))
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [one.dotted_string for one in usages] == ["1.3.6.1.5.5.7.3.1"]
    assert result.get("controller_files", []) == []


@pytest.mark.parametrize("lie", ANSWERS)
def test_what_is_no_answer_fails_on_that_host_alone(story, lie):
    ((status, result),) = of(story.lies, lie, DAEMON)
    if lie == "unreachable":
        assert status == "unreachable"
    elif ANSWERS[lie]:
        assert status == "failed"
        assert ANSWERS[lie].lower() in result["msg"].lower()
    else:
        assert status == "ok"
        assert set(result) <= {
            *LIES["DOCKERD"],
            *("warnings", "failed", "diff", "_ansible_no_log", "_ansible_delegated_vars"),
        }
    assert printable(json.dumps(result, ensure_ascii=False, default=str))


def printable(text: str) -> bool:
    return all(one.isprintable() or one == "\n" for one in text)


def test_the_honest_host_goes_on(story):
    (first, again), (daemon,) = (of(story.lies, "honest", task) for task in (LEAF, DAEMON))
    assert [status for status, _result in (first, again, daemon)] == ["ok"] * 3
    assert (first[1]["changed"], again[1]["changed"], daemon[1]["changed"]) == (True, False, True)
    report = json.loads((story.place / "report.json").read_text())
    assert report["honest"]["engine"]["running"] is True


def test_its_batch_goes_on_and_no_other_is_begun(story):
    ((lie, _result), (honest, _answer)) = (
        of(story.fleet, name, DAEMON)[0] for name in ("engine-null", "honest")
    )
    assert (lie, honest) == ("failed", "ok")
    assert [one for one in story.fleet.results if one["host"] == "pass-notes"] == []
    assert story.fleet.rc != 0
    assert "Findings are critical/high" in story.fleet.output  # the report is written


def test_it_takes_no_longer_than_the_slowest(story):
    print("%.0f s for %d lies" % (story.seconds, len(REFUSALS) + len(ANSWERS)))
    assert story.seconds < 300


def test_nothing_of_a_hosts_reaches_the_terminal_raw(story):
    for run in (story.lies, story.facts, story.harden):
        text = run.output
        assert printable(text), sorted({one for one in text if not one.isprintable()} - {"\n"})
        assert "Traceback" not in text
    assert "EVIL" in story.lies.output  # what it said is shown, without what a terminal obeys


def test_the_summary_is_ours(story):
    for run in (story.lies, story.harden):
        lines = [line.strip(" -'\"") for line in run.output.splitlines()]
        rows = [line for line in lines if re.match(r"honest\s+\d", line)]
        assert len(rows) == 1, rows
        assert len([line for line in lines if "forged" in line]) <= 21
        assert any("and 8980 more" in line for line in lines)
    assert len(story.harden.output) < 100000
    warnings = [line for line in story.lies.output.splitlines() if "PLAY RECAP" in line]
    assert [line for line in warnings if line.startswith("PLAY RECAP")] == [
        "PLAY RECAP *********************************************************************"
    ]


def test_facts_set_nothing_of_ours(story):
    """From a module of ours they do not come in; from another's they are refused by name."""
    for task, host in ((LEAF, "setup"), (DAEMON, "packages")):
        ((status, result),) = of(story.lies, host, task)
        assert status == "failed"
        assert "This host's facts hold dockerd_report" in result["msg"]
    assert (
        of(story.lies, "facts", CLIENT) == [] or of(story.lies, "facts", CLIENT)[0][0] == "skipped"
    )
    ((status, result),) = of(story.harden, "pass-facts", DAEMON)
    assert status == "ok"
    assert result["notes"][0] == "{{ 6 * 7 }}"
    assert story.facts.rc != 0
    assert "which no host may set" in story.facts.output
    assert story.harden.rc == 0, story.harden.output


def test_no_file_of_the_controller_is_what_a_host_wants(story):
    new = {path for path in story.after if path not in story.files}
    changed = {path for path, data in story.files.items() if story.after.get(path) != data}
    assert changed == set()
    authority = story.place / "authority"
    expected = {str(story.place / "report.json"), str(authority / ".lock")}
    expected |= {str(authority / ".gitignore")}
    for purpose in ("servers", "clients"):
        expected |= {str(authority / purpose / one) for one in ("ca.pem", "ca-key.pem")}
    assert new == expected
    assert not Path(PLACE).exists()  # the paths that the hosts named, here on the controller
    report = (story.place / "report.json").read_text()
    assert printable(report)
    assert set(json.loads(report)) == {"honest", "pass-notes", "pass-facts"}


def test_no_liar_has_a_leaf_on_its_disk_that_was_refused(story):
    for lie, words in REFUSALS.items():
        if words and lie not in SIGNED and not lie.startswith("client-"):
            assert not story.hostile.file("%s/tls/%s/server-cert.pem" % (PLACE, lie)).exists
    assert not story.hostile.file("/root/.docker/stolen").exists
    assert story.leaves("setup") == []
    assert story.leaves("packages") == []
