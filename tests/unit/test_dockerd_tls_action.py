# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole task, with Ansible, for clients on the controller: needs neither root nor a host."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from _dockerd import leaves

pytest.importorskip("ansible")

PASSPHRASE = "correct-horse-battery"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


@pytest.fixture
def task(tmp_path):
    """Run one dockerd_tls task or several; their results host by host, and all that was said."""
    collection = tmp_path / "collections/ansible_collections/hardened/docker"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(Path(__file__).parents[2])
    work = tmp_path / "work"
    work.mkdir()

    def run(options, *flags, hosts=("web1",)):
        told = {"authority": str(work / "authority"), "directory": str(work / "clients")}
        several = options if isinstance(options, list) else [options]
        steps = [
            {
                "hardened.docker.dockerd_tls": {**told, **one},
                "register": "r%d" % number,
                "ignore_errors": True,
            }
            for number, one in enumerate(several)
        ]
        names = ["r%d" % number for number in range(len(several))]
        keep = {
            "ansible.builtin.copy": {
                "content": "{{ [%s] | to_json }}" % ", ".join(names),
                "dest": str(tmp_path / "{{ inventory_hostname }}.json"),
                "mode": "0600",
            },
            "check_mode": False,
            "diff": False,
        }
        play = {"hosts": "all", "gather_facts": False}
        play["tasks"] = [*steps, keep]
        (tmp_path / "play.json").write_text(json.dumps([play]))
        done = subprocess.run(
            [str(PLAYBOOK), "-i", ",".join(hosts) + ",", "-c", "local",
             "-e", "ansible_python_interpreter=" + sys.executable,
             *flags, str(tmp_path / "play.json")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
                "ANSIBLE_NOCOLOR": "1",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        kept = [json.loads((tmp_path / (one + ".json")).read_text()) for one in hosts]
        return [result for results in kept for result in results], done.stdout

    run.work = work
    return run


CLIENTS = {"usage": "client", "clients": [{"name": "alice"}, {"name": "bob"}]}


def tree(root):
    return {str(one): one.read_bytes() for one in Path(root).rglob("*") if one.is_file()}


def test_check_mode_predicts_what_the_run_makes(task):
    (predicted,), said = task(CLIENTS, "--check", "--diff")
    assert tree(task.work) == {}
    assert "CN=alice" in said
    (made,), said = task(CLIENTS, "--diff")
    for name in ("changed", "files", "controller_files"):
        assert made[name] == predicted[name]
    written = {*made["files"], *made["controller_files"], str(task.work / "authority/.lock")}
    assert set(tree(task.work)) == written
    assert [one["subject"] for one in made["leaves"]] == ["CN=alice", "CN=bob"]
    assert "PRIVATE" not in said
    before = tree(task.work)
    (again, late), said = task([CLIENTS, {**CLIENTS, "lifetime": "20y"}], "-vvv")
    for result in (again, late):
        assert (result["changed"], result["files"], result["controller_files"]) == (False, [], [])
    assert any("dockerd_tls_client_lifetime" in one for one in late["warnings"])
    assert tree(task.work) == before
    # For each of the two tasks, one chmod and one run.
    assert len(re.findall(r"EXEC .*AnsiballZ_dockerd_tls\.py", said)) == 4


def test_secrets_stay_where_they_are(task):
    (made,), said = task({**CLIENTS, "authority_passphrase": PASSPHRASE}, "-vvvv", "--diff")
    assert made["changed"]
    assert PASSPHRASE not in said
    keys = [data for path, data in tree(task.work).items() if path.endswith("key.pem")]
    assert len(keys) == 4
    for data in keys:
        assert data.splitlines()[1].decode() not in said
    encrypted = [path for path, data in tree(task.work).items() if b"ENCRYPTED" in data]
    assert len(encrypted) == 2
    before = tree(task.work)
    others = [{**CLIENTS, "authority_passphrase": one} for one in ("wrong-" + PASSPHRASE, "")]
    results, said = task(others, "-vvv")
    assert all("dockerd_tls_authority_passphrase" in one["msg"] for one in results)
    assert PASSPHRASE not in said
    assert tree(task.work) == before


@pytest.mark.parametrize("replace", [False, True])
def test_many_hosts_at_once_make_one_authority(task, replace):
    hosts = tuple("web%d" % number for number in range(8))
    options = {**CLIENTS, "directory": str(task.work / "clients-{{ inventory_hostname }}")}
    options.update(replace_authority=replace, authority_passphrase=PASSPHRASE)
    results, _said = task(options, "--forks", "8", hosts=hosts)
    assert sum(bool(one["controller_files"]) for one in results) == 1
    assert len({leaf["issuer"] for one in results for leaf in one["leaves"]}) == 1


def test_what_another_task_is_about_to_make_is_waited_for(task):
    """Half an authority is refused, unless somebody is making the other half."""
    task(CLIENTS)
    bundle = task.work / "authority/servers/ca.pem"
    whole = bundle.read_bytes()
    bundle.unlink()
    (refused,), _said = task(CLIENTS)
    assert "half an authority" in refused["msg"]

    lock = (task.work / "authority/.lock").open()
    inode = ":%d " % os.fstat(lock.fileno()).st_ino
    ended = threading.Event()

    def finish():
        # An arrow is before each lock that somebody waits for, proc_locks(5).
        while not any("->" in one and inode in one for one in Path("/proc/locks").open()):
            if ended.wait(0.05):
                return
        bundle.write_bytes(whole)
        fcntl.flock(lock, fcntl.LOCK_UN)

    fcntl.flock(lock, fcntl.LOCK_EX)
    other = threading.Thread(target=finish)
    other.start()
    (waited,), _said = task(CLIENTS)
    ended.set()
    other.join()
    assert not waited.get("failed") and not waited["changed"], waited


@pytest.mark.parametrize("pending", [b"", b"damaged", "key"])
def test_a_key_that_a_killed_run_left_is_used_or_replaced(task, pending):
    directory = task.work / "clients/alice"
    directory.mkdir(parents=True)
    left = leaves.key_pem(leaves.make_key("ecdsa-p256")) if pending == "key" else pending
    (directory / "key.pem.new").write_bytes(left)
    (made,), _said = task(CLIENTS)
    assert made["changed"], made
    assert not (directory / "key.pem.new").exists()
    assert ((directory / "key.pem").read_bytes() == left) == (pending == "key")


def test_a_second_operator_locks_nobody_out(task):
    """Another authority, or none yet: nothing is made, nothing written, and the way out named."""
    task(CLIENTS)
    before = tree(task.work)
    other = {**CLIENTS, "authority": str(task.work / "other")}
    (predicted,), _said = task(other, "--check")
    (refused,), _said = task(other)
    for result in (predicted, refused):
        assert result["failed"]
        assert "dockerd_tls_replace_authority" in result["msg"]
        assert "there is none yet" in result["msg"]
    assert tree(task.work) == before
    elsewhere = {**other, "directory": str(task.work / "elsewhere")}
    (made, again), _said = task([elsewhere, other])
    assert made["changed"]
    assert "dockerd_tls_replace_authority" in again["msg"]
    assert {path: data for path, data in tree(task.work).items() if path in before} == before
    (replaced, settled), _said = task([{**other, "replace_authority": True}, other])
    assert replaced["changed"]
    assert not settled["changed"], settled


BAD_INPUT = [
    ({"clients": [{"name": "a/b"}]}, "dockerd_tls_clients"),
    ({"clients": [{"name": "a"}, {"name": "a"}]}, "given twice"),
    ({"clients": [{"name": "a", "user": "no-such-user"}]}, "no-such-user"),
    ({"clients": [{"name": "a", "hosts": ["web1"]}]}, "user"),
    ({"lifetime": "1 month"}, "dockerd_tls_client_lifetime"),
    ({"renew_before": "30d"}, "dockerd_tls_client_renew_before"),
    ({"provider": "files"}, "nobody signs clients"),
    ({"provider": "external"}, "server_authority"),
    ({"sans": ["300.1.2.3"]}, "dockerd_tls_server_sans"),
    ({"lifetime": "20y"}, "dockerd_tls_client_lifetime"),
    ({"clock_skew": "0s"}, "dockerd_tls_clock_skew"),
    ({"directory": "clients"}, "dockerd_tls_client_directory"),
]


def test_bad_input_changes_no_client(task):
    results, said = task([{**CLIENTS, **options} for options, _words in BAD_INPUT])
    for result, (options, words) in zip(results, BAD_INPUT):
        assert result.get("failed"), options
        assert words in result["msg"]
    assert "Traceback" not in said
    assert not (task.work / "clients").exists()


def test_an_outside_authority(task):
    other = task.work / "other"
    for name in ("server", "client"):
        (other / name).mkdir(parents=True)
    task({**CLIENTS, "authority": str(other), "clients": [{"name": "x"}]})
    shutil.rmtree(task.work / "clients")
    outside = {
        **CLIENTS,
        "provider": "external",
        "server_authority": str(other / "servers/ca.pem"),
        "client_authority": str(other / "clients/ca.pem"),
    }
    (predicted,), _said = task(outside, "--check")
    (first, second), _said = task([outside, outside])
    requests = sorted(
        str(task.work / "authority/requests/clients" / (name + ".csr")) for name in ("alice", "bob")
    )
    for result, changed in ((predicted, True), (first, True), (second, False)):
        assert result["failed"]
        assert result["changed"] == changed
        assert result["controller_files"] == (requests if changed else [])
        assert all(path in result["msg"] for path in requests)
    assert all(Path(path).read_bytes().startswith(b"-----BEGIN CERT") for path in requests)
    assert not list((task.work / "clients").rglob("key.pem"))
    server = {**outside, "usage": "server", "directory": "/var/tmp/tls", "lifetime": "90d"}
    del server["clients"]
    (system, users), _said = task([server, {**server, "user": "nobody"}], "--check")
    for result, place in ((system, "web1"), (users, "users/web1/nobody")):
        path = str(task.work / "authority/requests" / place) + ".csr"
        assert result["controller_files"] == [path]


@pytest.mark.skipif(os.getuid() != 0, reason="a daemon's files belong to root")
def test_a_host_cannot_take_the_name_of_another(task):
    name = platform.node().lower()
    hosts = ("web1", name)
    options = {"directory": str(task.work / "{{ inventory_hostname }}"), "collect_sans": True}
    (refused, own), _said = task(options, hosts=hosts)
    assert refused["failed"]
    assert name in refused["msg"]
    assert not (task.work / "web1/server-cert.pem").exists()
    assert own["changed"]
    assert name in own["leaves"][0]["sans"]
    (allowed, _own), _said = task({**options, "sans": [name]}, hosts=hosts)
    assert name in allowed["leaves"][0]["sans"]
