# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan carried out whole or not at all, on a host of a few rules."""

from __future__ import annotations

import json
import os

import pytest
from _dockerd import activation, journal, plan, probe, snapshot, transaction
from _dockerd.errors import HostError, Refused, RolledBack
from _dockerd.instance import Instance
from _dockerd.journal import Journal
from conftest import CONFIG
from machine import Machine, killed_at

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()
WANTED = plan.Desired(
    {"icc": False, "live-restore": True}, socket_dropin="[Socket]\nSocketGroup=docker\n"
)


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(snapshot, "read_does", lambda instance, host, told: host.does())
    monkeypatch.setattr(activation, "ATTEMPTS", 0.2)
    # What this machine lacks says nothing of the host of the test.
    monkeypatch.setattr(transaction, "preflight", lambda *rest: None)
    monkeypatch.setattr(transaction, "wrong", lambda *rest: [])
    return Machine.made(tmp_path / "host", ["web", "db"])


def run(host, wanted=WANTED, **rest):
    return transaction.carry_out(INSTANCE, host, wanted, timeout=5, **rest)


def etc(host):
    return {path: made for path, made in host.tree().items() if "/etc/" in path}


def test_the_host_ends_as_wanted_and_the_second_run_changes_nothing(host):
    outcome = run(host)
    assert outcome.plan.changed
    assert json.loads(host.text(CONFIG)) == WANTED.directives
    assert host.process["live_restore"]
    assert (host.killed, len(host.containers)) == ([], 2)
    assert host.list(INSTANCE.state_directory) == [
        "hardened-docker.pyz",
        "manifest.json",
        "manifest.spare.json",
    ]
    before = host.tree()
    host.asked.clear()
    assert not run(host).plan.changed
    assert host.tree() == before
    assert host.systemctl() == []


def test_the_manifest_and_its_spare_copy_are_the_same_and_say_which_run_it_was(host):
    run(host)
    manifest, spare = (host.text(path) for path in (INSTANCE.manifest_path, INSTANCE.spare_path))
    assert manifest == spare
    told = json.loads(manifest)
    assert len(told["transaction"]) == 32
    assert told["applied"]["identity"] == [host.boot, host.process["pid"], 1]
    assert set(told["files"]) >= set(INSTANCE.safety)


def test_check_mode_writes_nothing_and_predicts_the_run(host):
    before = host.tree()
    predicted = run(host, check=True).plan
    assert host.tree() == before
    assert host.systemctl() == []
    assert [one.path for one in run(host).plan.files] == [one.path for one in predicted.files]


def test_live_restore_comes_before_all_else_that_a_daemon_reads(host):
    run(host)
    words = host.systemctl()
    assert words.index("reload docker.service") < words.index("restart docker.service")
    assert host.killed == []


@pytest.mark.parametrize(
    "asked",
    ["restart docker.service", "reset-failed docker.service docker.socket docker-tls.socket"],
)
def test_who_overtakes_a_run_is_named_and_kept(host, asked):
    theirs = {"labels": ["theirs"], "live-restore": True}
    host.meddle[asked] = lambda: host.put(CONFIG, theirs)
    with pytest.raises(RolledBack, match="changed by somebody else, and stays"):
        run(host)
    assert json.loads(host.text(CONFIG)) == theirs
    assert host.process
    assert host.killed == []
    assert journal.read(INSTANCE, host) is None


RESET = "reset-failed docker.service docker.socket docker-tls.socket"


def test_live_restore_that_somebody_switches_off_stops_the_run_and_no_container(host):
    def switched_off():
        host.put(CONFIG, {"live-restore": False})
        host.reload()

    host.meddle[RESET] = switched_off
    with pytest.raises(RolledBack, match="changed by somebody else, and stays"):
        run(host)
    assert (host.killed, len(host.containers)) == ([], 2)
    assert json.loads(host.text(CONFIG)) == {"live-restore": False}


@pytest.mark.parametrize("moment", ["reload docker.service", RESET])
def test_a_container_that_is_started_meanwhile_survives(host, moment):
    host.containers = {}
    host.meddle[moment] = lambda: host.containers.update(new=("new", 77))
    run(host)
    assert (host.killed, list(host.containers)) == ([], ["new"])


def test_a_container_that_is_started_meanwhile_survives_the_roll_back(host, monkeypatch):
    """The daemon is dead by then, and nobody can be asked for it."""
    host.containers = {}
    host.meddle[RESET] = lambda: host.containers.update(new=("new", 77))
    monkeypatch.setattr(transaction, "probe", lambda *rest: setattr(host, "process", None))
    with pytest.raises(RolledBack):
        run(host)
    assert (host.killed, list(host.containers)) == ([], ["new"])


def test_a_container_that_a_restart_would_stop_and_that_nobody_gave_up(host):
    host.containers = {}
    wanted = plan.Desired({"icc": False})
    host.meddle[RESET] = lambda: host.containers.update(new=("new", 77))
    with pytest.raises(RolledBack, match=r"would stop new: .*dockerd_allow_container_stop"):
        run(host, wanted)
    assert (host.killed, list(host.containers)) == ([], ["new"])


def test_a_file_that_somebody_edits_as_the_run_begins_is_not_written_over(host, monkeypatch):
    real = journal.keep

    def keep(*rest):
        kept = real(*rest)
        host.put(CONFIG, '{"labels": ["theirs"]}')
        return kept

    monkeypatch.setattr(journal, "keep", keep)
    with pytest.raises(RolledBack, match="changed by somebody else meanwhile"):
        run(host)
    assert json.loads(host.text(CONFIG)) == {"labels": ["theirs"]}
    assert host.killed == []


def test_a_file_that_somebody_changes_after_the_start_is_no_success(host, monkeypatch):
    monkeypatch.setattr(transaction, "probe", lambda *rest: host.put(CONFIG, '{"debug": true}'))
    with pytest.raises(RolledBack, match=r"daemon[.]json was changed by somebody else meanwhile"):
        run(host)
    assert json.loads(host.text(CONFIG)) == {"debug": True}


def test_a_daemon_that_dies_before_the_commit_is_no_success(host, monkeypatch):
    monkeypatch.setattr(transaction, "probe", lambda *rest: setattr(host, "process", None))
    before = etc(host)
    with pytest.raises(RolledBack, match="dockerd stopped answering"):
        run(host)
    assert host.process
    assert etc(host) == before


def test_what_failed_before_the_first_write_put_nothing_back(host, monkeypatch):
    host.broken = {INSTANCE.journal_directory + "/written"}
    before = etc(host)
    with pytest.raises(Refused, match=r"Nothing was changed: .*written: Read-only"):
        run(host)
    assert etc(host) == before


@pytest.mark.parametrize("stuck", [CONFIG, INSTANCE.guard_dropin, INSTANCE.spare_path])
def test_a_file_that_cannot_be_written_puts_all_others_back(host, stuck):
    before, host.broken = etc(host), {stuck}
    with pytest.raises(RolledBack, match="%s: Read-only" % stuck):
        run(host)
    host.broken = set()
    run_again = transaction.journal.read(INSTANCE, host)
    if run_again is None:
        assert etc(host) == before
    assert host.killed == []
    run(host)
    assert json.loads(host.text(CONFIG)) == WANTED.directives


def test_a_run_may_be_killed_at_any_step(host, tmp_path):
    """The next one finishes, the one after that changes nothing, and no container is lost."""
    for number in range(1, 200):
        one = host.copied(tmp_path / str(number))
        with killed_at(one, number) as hit:
            run(one)
        if not hit:
            break
        assert one.process
        assert one.killed == []
        run(one)
        assert json.loads(one.text(CONFIG)) == WANTED.directives
        assert not run(one).plan.changed
        assert (one.killed, len(one.containers)) == ([], 2)
        assert not [path for path in one.tree() if ".hardened-" in path or "draft" in path]
    assert number > 30


def test_a_rescue_that_failed_is_failed_no_more_once_its_change_is_undone(host):
    reset = "systemctl reset-failed %s %s" % (INSTANCE.rescue, INSTANCE.recovery)
    with killed_at(host, 30):
        run(host)
    assert reset not in host.asked
    run(host)
    assert host.asked.count(reset) == 1


def test_check_mode_after_a_kill_predicts_what_the_run_will_do(host):
    with killed_at(host, 30) as hit:
        run(host)
    assert hit
    before = host.tree()
    predicted = run(host, check=True)
    assert predicted.recovered
    assert host.tree() == before
    assert {one.path for one in predicted.plan.files} >= {CONFIG, *INSTANCE.safety}


def test_another_run_waits(host):
    with host.locked(INSTANCE.lock_path):
        with pytest.raises(HostError, match="held by another run"):
            with host.locked(INSTANCE.lock_path, wait=False):
                run(host)


# -- the containers that ran


def test_no_container_is_lost_to_a_reboot(host):
    kept = Journal(identity=["another boot", 1, 1], containers={"gone": ["gone", 42]})
    assert probe.lost_containers(INSTANCE, host, kept) == []
    kept.identity = [host.boot, 1, 1]
    assert probe.lost_containers(INSTANCE, host, kept) == ["gone"]


def test_a_container_with_another_process_did_not_survive(host):
    kept = Journal(containers={"id-web": ["web", 41], "id-db": ["db", 41]})
    assert probe.lost_containers(INSTANCE, host, kept) == ["web"]
    kept.containers["id-web"] = ["web", 0]  # one that comes and goes
    assert probe.lost_containers(INSTANCE, host, kept) == []
    kept = Journal(given_up={"id-web": ["web", 41]})
    assert probe.lost_containers(INSTANCE, host, kept, given_up=True) == []
