# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at one place at the same moment: two processes, the module's own code."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pwd
import sys
import traceback
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path

import pytest

pytest.importorskip("ansible")

ROUNDS = 10
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The module as Ansible imports it."""
    top = tmp_path_factory.mktemp("collections")
    collection = top / "ansible_collections/hardened/docker"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(Path(__file__).parents[2])
    sys.path.insert(0, str(top))
    yield importlib.import_module("ansible_collections.hardened.docker.plugins.modules.dockerd_tls")
    sys.path.remove(str(top))


class Operator:
    """A controller with the authorities that both have, and what it does in both trips."""

    def __init__(self, module, tmp_path, **client) -> None:
        package = module.__name__.rpartition(".plugins.")[0] + ".plugins.module_utils._dockerd."
        self.module = module
        self.authorities, self.leaves, self.certificates, self.host = (
            importlib.import_module(package + name)
            for name in ("authorities", "leaves", "certificates", "host")
        )
        self.now = datetime.now(timezone.utc)
        host, directory = self.host.Host("/"), str(tmp_path / "authority")
        skew = self.leaves.duration("5m", "")
        lifetime = self.leaves.duration("3650d", "")
        self.servers, self.clients = (
            self.authorities.Authority.make(
                host, directory, purpose, None, lifetime, skew, self.now
            )
            for purpose in ("servers", "clients")
        )
        blank = {"user": None, "docker_host": None, "hosts": None}
        self.params = {
            "usage": "client",
            "provider": "authority",
            "directory": str(tmp_path / "clients"),
            "clients": [{**blank, "name": "admin", **client}],
            "key_type": "ecdsa-p256",
            "lifetime": None,
            "renew_before": None,
            "clock_skew": "5m",
            "replace_authority": False,
        }

    def trip(self, **told) -> list:
        exchange = {
            "issuers": self.certificates.pem(self.clients.signer).decode(),
            "present": None,
            "trust": self.certificates.pem(self.servers.signer).decode(),
            "refusal": None,
            "certificates": {},
            **told,
        }
        host, params = self.host.Host("/"), {**self.params, "exchange": exchange}
        with self.module.alone(params, host):
            return self.module.keep(params, host, self.now, False)["requests"]

    def work(self) -> None:
        """What the action plugin does."""
        common = self.leaves.wanted(self.params)
        leaf = self.leaves.Leaf("admin", certificate="", key="", trust="", common_name="admin",
                                **common)  # fmt: skip
        answers = {
            one["name"]: self.clients.sign(one["request"].encode(), leaf, self.now).decode()
            for one in self.trip()
        }
        if answers:
            assert self.trip(certificates=answers) == []


def at_once(operator, place: Path) -> list:
    """Both at the same moment, as often as there are rounds; what went wrong."""
    barrier, troubles = FORK.Barrier(2), FORK.SimpleQueue()

    def work() -> None:
        for _round in range(ROUNDS):
            barrier.wait(30)
            try:
                operator.work()
            except Exception:  # whatever it is, it is what the operator would see
                troubles.put(traceback.format_exc())
            if barrier.wait(30) == 0:
                check(operator, place)
                for path in place.iterdir():
                    path.unlink()
            barrier.wait(30)

    def check(operator, place: Path) -> None:
        names = {path.name for path in place.iterdir()} - {"docker.env"}
        if names != {"ca.pem", "cert.pem", "key.pem"}:
            troubles.put("%s" % names)
            return
        found = operator.certificates
        chain = found.certificates((place / "cert.pem").read_bytes(), "cert.pem")
        private = found.key((place / "key.pem").read_bytes(), "key.pem")
        if found.public_bytes(chain[0].public_key()) != found.public_bytes(private.public_key()):
            troubles.put("the pair does not fit")

    processes = [FORK.Process(target=work) for _operator in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(120)
    said = []
    while not troubles.empty():
        said.append(troubles.get())
    return said + ["ended with %s" % one.exitcode for one in processes if one.exitcode]


def test_two_operators_keep_one_client_on_the_controller(module, tmp_path):
    assert at_once(Operator(module, tmp_path), tmp_path / "clients/admin") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="clients of users are kept by root")
def test_two_controllers_keep_one_client_of_a_host(module, tmp_path, monkeypatch):
    user = pwd.struct_passwd(("ci", "x", 0, 0, "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(module.pwd, "getpwnam", lambda name: user)
    monkeypatch.setattr(module, "STATE", str(tmp_path / "state"))
    assert at_once(Operator(module, tmp_path, user="ci"), tmp_path / ".docker/admin") == []


def test_without_the_lock_they_do_not(module, tmp_path, monkeypatch):
    """The tests above can fail."""
    monkeypatch.setattr(module, "alone", lambda *_rest: nullcontext())
    assert at_once(Operator(module, tmp_path), tmp_path / "clients/admin")
