# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built archive, installed into an infrastructure repository that knows nothing of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import play
import pytest
import testinfra
from cryptography import x509
from testinfra.utils.ansible_runner import AnsibleRunner

FIXTURE = play.PROJECT / "molecule" / "galaxy" / "fixture"
SITE, JUDGE, HARDEN = "site.yml", "judge.yml", "hardened.docker.harden"
DAEMON = "hardened.docker.dockerd : Bring the daemon to its desired state"
CERTIFICATE = "/etc/docker/tls/server-cert.pem"
CONNECTION = ("user", "ssh_private_key_file", "ssh_common_args", "python_interpreter", "host")


class Repository:
    """A copy of the fixture, with the collection in it and the lab's hosts in its inventory."""

    def __init__(self, place: Path, inventory: str) -> None:
        self.path = place / "infrastructure"
        shutil.copytree(FIXTURE, self.path)
        runner = AnsibleRunner(inventory)
        self.hosts = {
            name: testinfra.get_host("ansible://" + name, ansible_inventory=inventory)
            for name in runner.get_hosts("docker_hosts")
        }
        self.builder, self.gateway = list(self.hosts)[:2]
        groups = {
            group: {"hosts": {name: connection(self.hosts[name])}}
            for group, name in (("builders", self.builder), ("gateways", self.gateway))
        }
        (self.path / "hosts.yml").write_text(json.dumps(groups))
        play.output(
            *("ansible-galaxy", "collection", "build", str(play.PROJECT)),
            *("--output-path", str(place)),
        )
        (self.archive,) = place.glob("hardened-docker-*.tar.gz")
        self.command("ansible-galaxy", "collection", "install", "--offline", str(self.archive))

    @property
    def installed(self) -> Path:
        return self.path / "collections" / "ansible_collections" / "hardened" / "docker"

    def command(self, *words: str) -> str:
        """Run a command of Ansible's here."""
        env = play.environment(self.path / "ansible.cfg", os.devnull)
        return subprocess.run(
            words, cwd=self.path, env=env, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def attempt(self, playbook: str, *options) -> play.Run:
        return play.play(playbook, "hosts.yml", *options, project=self.path)

    def play(self, playbook: str, *options) -> play.Run:
        run = self.attempt(playbook, *options)
        assert run.rc == 0, run.output
        return run


def connection(host) -> dict:
    """How a host of the lab is reached, and nothing else of the lab's inventory."""
    known = host.ansible.get_variables()
    return {"ansible_" + name: known["ansible_" + name] for name in CONNECTION}


def tasks(run: play.Run, host: str) -> list:
    """What was done on a host, for better or worse."""
    return [
        entry["task"]
        for entry in run.results
        if entry["host"] == host and entry["status"] != "skipped"
    ]


@pytest.fixture(scope="module")
def repository(inventory, tmp_path_factory) -> Repository:
    """The infrastructure repository, its collection installed."""
    return Repository(tmp_path_factory.mktemp("galaxy"), inventory)


@pytest.fixture(scope="module")
def open_socket(repository):
    """What the module says of hosts on which everybody may drive the daemon."""
    for host in repository.hosts.values():
        host.check_output("chmod 0666 /run/docker.sock")
    return repository.attempt(JUDGE)


@dataclass(frozen=True)
class State:
    """What a role leaves on a host."""

    daemon: str
    config: str
    ports: str
    leaf: bool


def state(host) -> State:
    config = host.file("/etc/docker/daemon.json")
    return State(
        host.check_output("systemctl show docker --property MainPID,InvocationID"),
        config.content_string if config.exists else "{}",
        host.check_output("ss --listening --tcp --numeric"),
        host.file(CERTIFICATE).exists,
    )


@pytest.fixture(scope="module")
def single(repository, open_socket) -> tuple:
    """Each role used by itself: the run, and the hosts before and after."""
    before = {name: state(host) for name, host in repository.hosts.items()}
    run = repository.play(SITE, "-vvv")
    return run, before, {name: state(host) for name, host in repository.hosts.items()}


@pytest.fixture(scope="module")
def by_name(repository, single) -> tuple:
    """The collection's playbook by its name: a part of it, all of it, and all again."""
    tagged = repository.play(HARDEN, "--tags", "dockerd")
    listen = {"dockerd_listen": ["0.0.0.0:2376"]}
    return tagged, repository.play(HARDEN, listen), repository.play(HARDEN, listen)


@pytest.fixture(scope="module")
def judged(repository, by_name) -> play.Run:
    """What the module says afterwards."""
    return repository.attempt(JUDGE)


@pytest.fixture(scope="module")
def without_engine(repository, judged):
    """The builder loses its engine; a run, and a check run that may install it again."""
    host = repository.hosts[repository.builder]
    host.check_output("dpkg --remove docker.io")
    # A package that is there to be installed, as far as a check goes.
    index = "Package: docker.io\nVersion: 99\nArchitecture: all\nFilename: x.deb\nSize: 1\n"
    source = "echo deb [trusted=yes] file:/srv ./ > /etc/apt/sources.list && apt-get update"
    host.check_output("printf %%s '%s' > /srv/Packages && " % index + source)
    install = {"dockerd_packages": ["docker.io"]}
    failed = repository.attempt(SITE, "--limit", "builders")
    return failed, repository.attempt(SITE, "--limit", "builders", "--check", install)


def test_collection_is_the_installed_one(repository, single):
    run, _, _ = single
    assert not repository.installed.is_symlink()
    assert (repository.installed / "MANIFEST.json").is_file()
    assert not (repository.installed / "molecule").exists()
    found = json.loads(repository.command("ansible-galaxy", "collection", "list", "--format=json"))
    places = [place for place, names in found.items() if "hardened.docker" in names]
    assert places == [str(repository.installed.parents[1])]
    used = [
        line.rpartition(" ")[2]
        for line in run.output.splitlines()
        if "Using module file" in line and "hardened" in line
    ]
    assert used
    assert all(path.startswith(str(repository.installed)) for path in used), used
    assert str(play.PROJECT / "roles") not in run.output


@pytest.mark.parametrize("kind", ["module", "role"])
def test_everything_is_documented(repository, kind):
    folder = repository.installed / {"module": "plugins/modules", "role": "roles"}[kind]
    there = {"hardened.docker." + path.stem for path in folder.iterdir() if path.stem[0] != "_"}
    listed = json.loads(
        repository.command("ansible-doc", "--json", "-t", kind, "-l", "hardened.docker")
    )
    assert set(listed) == there != set()
    shown = json.loads(repository.command("ansible-doc", "--json", "-t", kind, *sorted(there)))
    assert set(shown) == there
    for name, entry in shown.items():
        doc = entry["doc"] if kind == "module" else entry["entry_points"]["main"]
        assert doc["short_description"], name
        assert doc["description"], name
        assert doc["options"], name
        assert all(option["description"] for option in doc["options"].values()), name
        if kind == "module":
            assert entry["examples"].strip(), name
            assert entry["return"], name
        text = repository.command("ansible-doc", "-t", kind, name)  # as people read it
        assert all(option in text for option in doc["options"]), name


def test_module_alone_judges(open_socket, judged, repository):
    assert open_socket.rc != 0
    for name in repository.hosts:
        (verdict,) = [entry for entry in open_socket.results if entry["host"] == name]
        assert verdict["status"] == "failed"
        assert "/run/docker.sock" in verdict["result"]["msg"]
        assert "0666" in verdict["result"]["msg"]
    assert judged.rc == 0, judged.output


def test_daemon_alone_listens_nowhere(single, repository):
    run, _, after = single
    assert run.of(repository.builder, DAEMON)["activation"] == "restart"
    assert not [task for task in tasks(run, repository.builder) if "dockerd_tls :" in task]
    now = after[repository.builder]
    assert json.loads(now.config)["labels"] == ["owner=infrastructure"]
    assert "tlsverify" not in now.config
    assert ":22 " in now.ports
    assert ":2376 " not in now.ports
    assert not now.leaf


def test_certificates_alone_leave_the_daemon_alone(single, repository):
    run, before, after = single
    former, now = before[repository.gateway], after[repository.gateway]
    assert not [task for task in tasks(run, repository.gateway) if "dockerd :" in task]
    assert not former.leaf
    assert now.leaf
    assert (now.daemon, now.config, now.ports) == (former.daemon, former.config, former.ports)


def test_tag_runs_one_role(by_name, repository):
    tagged, _, _ = by_name
    for name in repository.hosts:
        roles = {task.partition(" : ")[0] for task in tasks(tagged, name) if " : " in task}
        assert roles == {"hardened.docker.dockerd"}


def test_playbook_by_name_hardens(by_name, repository):
    _, done, again = by_name
    for name, host in repository.hosts.items():
        assert done.of(name, DAEMON)["activation"] == "restart"
        assert again.changed(name) == []
        config = json.loads(host.check_output("cat /etc/docker/daemon.json"))
        assert config["labels"] == ["owner=infrastructure"]
        assert config["tlsverify"] is True
        leaf = x509.load_pem_x509_certificate(host.check_output("cat %s", CERTIFICATE).encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "docker.example.org" in names.get_values_for_type(x509.DNSName)
    assert (repository.path / "dockerd-authority" / "servers" / "ca.pem").is_file()


def test_host_without_an_engine_gets_an_error_that_says_so(without_engine):
    failed, _ = without_engine
    said = failed.failure()
    assert "There is no docker.service on this host" in said
    assert "dockerd_packages" in said


def test_check_of_an_installation_stops_before_the_daemon(without_engine, repository):
    _, check = without_engine
    assert check.rc == 0, check.output
    assert check.changed(repository.builder) == ["hardened.docker.dockerd : Install the engine"]
    assert not repository.hosts[repository.builder].exists("dockerd")
