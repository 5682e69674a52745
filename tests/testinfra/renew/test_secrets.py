# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where private keys and the passphrase are, and where they never were."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import play
import pytest
from cryptography.hazmat.primitives import serialization

testinfra_hosts = ["ansible://docker_hosts"]

PASSPHRASE = "correct-horse-battery-staple-4711"
WRONG = "wrong-horse-battery-staple-4711"
SERVER_KEY = "/etc/docker/tls/server-key.pem"
CLIENT_KEY = "/root/.docker/operator/key.pem"
SEEN = "/run/test-watch.json"
WATCHED = (
    "/tmp",
    "/var/tmp",
    "/root",
    "/root/.docker",
    "/etc/docker",
    "/etc/docker/tls",
    "/var/lib/hardened-docker",
    "/var/lib/hardened-docker/system",
)
LEAF = "Keep the daemon's key, certificate and trust"


def secret(pem: str, passphrase: str = "") -> bytes:
    """The part of a private key that is not in its certificate too."""
    key = serialization.load_pem_private_key(pem.encode(), passphrase.encode() or None)
    return key.private_numbers().private_value.to_bytes(32, "big")


def traces(value: bytes) -> set:
    """What betrays a secret: its bytes, as hexadecimal, as base64 at any offset, broken or not."""
    texts = {value, value.hex().encode(), value.hex().upper().encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + value)[4:-4]
        texts |= {text[:16], text[16:32]}
    return texts


@contextmanager
def watching(record: Path, *directories: str):
    """Watch the controller."""
    words = [sys.executable, str(play.ON_HOST / "watch.py"), str(record), "0.05", *directories]
    with subprocess.Popen(words) as watch:
        while not record.with_suffix(".json.ready").exists():
            assert watch.poll() is None
            time.sleep(0.05)
        try:
            yield
        finally:
            watch.terminate()


class Story:
    """The first hardening of all hosts with keys of their own, watched."""

    def __init__(self, fleet, authority: Path, place: Path) -> None:
        self.fleet, self.authority = fleet, authority
        self.begun = time.time()
        self.passphrase = self.variables(place / "right.json", PASSPHRASE)
        self.log = place / "ansible.log"
        for name in fleet.hosts:
            # Keys from scratch.
            fleet.hosts[name].check_output("rm -rf %s /root/.docker/operator", SERVER_KEY)
            fleet.start(name, "watch.py", SEEN, "0.02", *WATCHED)
        here = place / "watch.json"
        with watching(here, str(Path.home() / ".ansible/tmp"), "/tmp", "/var/tmp", str(authority)):
            self.run = fleet.harden("-vvv", "--diff", self.passphrase, log=str(self.log))
        self.seen = {name: fleet.stop(name, "watch.py", SEEN) for name in fleet.hosts}
        self.seen["controller"] = json.loads(here.read_text())
        here.unlink()
        self.keys = {
            "%s of %s" % (path, name): secret(host.check_output("cat %s", path))
            for name, host in fleet.hosts.items()
            for path in (SERVER_KEY, CLIENT_KEY)
        }
        self.controllers = {
            purpose: secret((authority / purpose / "ca-key.pem").read_text(), PASSPHRASE)
            for purpose in ("servers", "clients")
        }
        (person,) = (authority / "people").glob("*/key.pem")
        self.controllers["person"] = secret(person.read_text())

    def variables(self, path: Path, passphrase: str) -> str:
        """The operator's vault, as a file of variables."""
        content = {
            "dockerd_tls_authority_passphrase": passphrase,
            "dockerd_tls_authority_directory": str(self.authority),
            "dockerd_tls_client_directory": str(self.authority / "people"),
            "dockerd_tls_replace_authority": True,
        }
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return "--extra-vars=@%s" % path

    @property
    def secrets(self) -> dict:
        every = {**self.keys, **self.controllers}
        found = {name: traces(value) for name, value in every.items()}
        return {
            **found,
            "the passphrase": {PASSPHRASE.encode(), base64.b64encode(PASSPHRASE.encode())[:-4]},
        }

    def betrayed(self, data: bytes, only=None) -> list:
        """The secrets that are in there."""
        return [
            name
            for name, texts in self.secrets.items()
            if (only is None or name in only) and any(text in data for text in texts)
        ]


@pytest.fixture(scope="module")
def story(fleet, authority, tmp_path_factory) -> Story:
    """The watched run, once for all tests."""
    return Story(fleet, authority, tmp_path_factory.mktemp("operator"))


def test_search_finds_what_is_there(story, host, name):
    """The tests below can fail: the search knows each key by its own file, whole and in pieces."""
    for path in (SERVER_KEY, CLIENT_KEY):
        text = host.check_output("cat %s", path).encode()
        assert story.betrayed(text) == ["%s of %s" % (path, name)]
        assert story.betrayed(text.replace(b"\n", b"\\n")) == ["%s of %s" % (path, name)]
    seen = story.seen[name]["files"]
    assert any(story.betrayed(base64.b64decode(data)) for path in seen for _, _, data in seen[path])


def test_keys_are_roots_alone(host):
    for path, mode in ((SERVER_KEY, 0o400), (CLIENT_KEY, 0o600)):
        key = host.file(path)
        assert (key.user, key.group, key.mode) == ("root", "root", mode)
    assert host.file("/root/.docker/operator").mode == 0o700


def test_authority_is_encrypted_and_its_owners_alone(story):
    assert story.authority.stat().st_mode & 0o777 == 0o700
    for purpose in ("servers", "clients"):
        path = story.authority / purpose / "ca-key.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_output_and_log_hold_no_secret(story):
    texts = {
        "output": story.run.output.encode(),
        "log": story.log.read_bytes(),
        "results": json.dumps(story.run.results).encode(),
    }
    for where, text in texts.items():
        assert len(text) > 10000, where
        assert b"PRIVATE KEY" not in text, where
        assert story.betrayed(text) == [], where
    assert b"EXEC" in texts["output"]  # -vvv was at work


def test_no_process_held_a_secret(story):
    for machine, seen in story.seen.items():
        print(machine, len(seen["processes"]), "command lines and environments")
        # With pipelining a module is no more than this.
        sign = "ansible-playbook" if machine == "controller" else "/usr/bin/python3\0"
        assert any(sign in text for text in seen["processes"]), machine
        for text, process in seen["processes"].items():
            assert story.betrayed(text.encode("latin-1")) == [], (machine, process)


def test_no_file_held_a_key_but_where_it_belongs(story):
    """Not for a moment, and not for other eyes: a new key waits beside the live one."""
    homes = dict.fromkeys(story.fleet.hosts, ("/etc/docker/tls/", "/root/.docker/operator/"))
    kinds = ("servers", "clients", "people")
    homes["controller"] = tuple(str(story.authority / kind) for kind in kinds)
    for machine, seen in story.seen.items():
        print(machine, len(seen["files"]), "files")
        for path, versions in seen["files"].items():
            for mode, uid, data in versions:
                content = base64.b64decode(data)
                if not story.betrayed(content):
                    continue
                assert path.startswith(homes[machine]), (machine, path)
                assert mode in (0o400, 0o600), (machine, path, oct(mode))
                assert uid == 0, (machine, path)


def test_no_key_of_a_host_is_on_the_controller(story):
    """Nothing that was written since holds one, but for the lab's disks, which are the hosts."""
    looked = 0
    for root in (play.PROJECT, Path.home(), Path("/tmp"), Path("/var/tmp")):
        for path in recent(root, story.begun):
            looked += 1
            held = story.betrayed(path.read_bytes(), {*story.keys})
            assert held == [], path
    print(looked, "files")
    assert looked


def recent(root: Path, since: float):
    """Files that were made or changed since then."""
    for directory, names, files in os.walk(root):
        names[:] = [
            name
            for name in names
            if not os.path.ismount(os.path.join(directory, name))
            and not (name in ("hosts", "cache") and directory.endswith("/.lab"))
        ]
        for path in (Path(directory, name) for name in files):
            try:
                status = path.lstat()
            except OSError:
                continue
            if path.is_file() and not path.is_symlink() and status.st_ctime >= since:
                yield path


def test_no_key_is_left_elsewhere_on_the_host(story, host):
    where = "/ /tmp /run /dev/shm /home /var/lib/docker"
    recent = "find %s -xdev -type f -newermt @%d -size -2048k" % (where, story.begun)
    held = host.check_output(recent + " -exec grep -l 'PRIVATE KEY' {} + || true").split()
    assert sorted(held) == [SERVER_KEY, CLIENT_KEY]


def test_journal_holds_no_secret(story, host):
    words = host.check_output("journalctl --output=short --since @%d" % story.begun).encode()
    assert b"ansible-hardened.docker.dockerd_tls" in words
    assert b"PRIVATE KEY" not in words
    assert story.betrayed(words) == []


def test_wrong_passphrase_is_refused_and_nothing_changes(story, tmp_path):
    fleet = story.fleet
    digests = "find /etc /root /var/lib/hardened-docker -type f -exec sha256sum {} + | sort"

    def look() -> list:
        return [
            (fleet.daemon(name), fleet.served(name), host.check_output(digests))
            for name, host in fleet.hosts.items()
        ] + [play.output("sh", "-c", "find %s -type f -exec sha256sum {} +" % story.authority)]

    before = look()
    wrong = story.variables(tmp_path / "wrong.json", WRONG)
    # Every host needs a new key and a new leaf.
    run = fleet.attempt(wrong, {"dockerd_tls_key_type": "ecdsa-p384"}, "-vvv")
    assert run.rc != 0
    assert "does not open with the passphrase that was given" in run.output
    assert "dockerd_tls_authority_passphrase" in run.output
    assert WRONG not in run.output
    assert look() == before


def test_right_passphrase_works_again(story, name):
    assert story.fleet.harden(story.passphrase).changed(name) == []
    assert story.fleet.version(name).rc == 0
