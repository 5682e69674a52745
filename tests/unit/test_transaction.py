# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from _dockerd import transaction
from _dockerd.does import Does, Process
from _dockerd.errors import HostError
from _dockerd.host import Stat
from _dockerd.instance import Instance
from conftest import CONFIG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()
DROPIN = INSTANCE.socket_dropin


@pytest.fixture
def planned(host):
    """A plan with a file that changes, one that is new, one that goes, and one to reload."""
    host.put(CONFIG, '{"mtu": 1400}', mode=0o640)
    os.chown(host.real(CONFIG), 0, 998)
    host.put(INSTANCE.service_dropin, "[Service]\n", mode=0o600)
    made = host.plan({"icc": False}, socket_dropin="[Socket]\nSocketGroup=ci\n", members=["ci"])
    made.snapshot.does = Does(
        process=Process(1, 0.0, ["boot", 1, 1], []),
        answers=True,
        info={"LiveRestoreEnabled": True},
        containers={"id": ("web", 42)},
        inode=Stat("socket", 0o660, 0, 998, 0, 0.0, 1),
    )
    made.inode = (("root", "docker", 0o660), ("root", "ci", 0o660))
    return made


def state(host):
    return {
        path: (host.text(path), replace(host.stat(path), mtime=0, inode=0))
        for path in (CONFIG, INSTANCE.service_dropin, DROPIN)
        if host.stat(path)
    }


def test_the_former_state_is_kept_whole_and_for_root_only(host, planned):
    transaction.keep(planned, host)
    journal = transaction.read_journal(INSTANCE, host)
    entries = {entry["path"]: entry for entry in journal.files}
    assert set(entries) == {CONFIG, DROPIN, INSTANCE.service_dropin, INSTANCE.manifest_path}
    kept = entries[CONFIG]
    assert (kept["data"], kept["mode"], kept["gid"]) == (b'{"mtu": 1400}', 0o640, 998)
    assert entries[DROPIN]["data"] is None
    assert entries[INSTANCE.manifest_path]["data"] is None
    assert journal.identity == ["boot", 1, 1]
    assert journal.containers == {"id": ["web", 42]}
    assert journal.members == ["ci", []]
    assert tuple(journal.inode) == ("root", "docker", 0o660)
    assert journal.active and journal.live_restore and not journal.by_flag
    assert host.stat(INSTANCE.journal_directory).mode == 0o700
    for name in host.list(INSTANCE.journal_directory):
        assert host.stat("%s/%s" % (INSTANCE.journal_directory, name)).mode == 0o600


@pytest.mark.parametrize("steps", range(4))
def test_a_run_that_was_killed_after_any_write_is_put_back(host, planned, steps):
    before = state(host)
    transaction.keep(planned, host)
    for change in planned.files[:steps]:
        if change.after is None:
            host.remove(change.path)
        else:
            host.write(change.path, change.after, change.mode)
    assert (state(host) == before) == (steps == 0)
    for entry in transaction.read_journal(INSTANCE, host).files:
        transaction._put_back(host, entry)
    assert state(host) == before


def test_an_owner_alone_is_put_back_too(host, planned):
    transaction.keep(planned, host)
    os.chown(host.real(CONFIG), 1000, 1000)
    for entry in transaction.read_journal(INSTANCE, host).files:
        transaction._put_back(host, entry)
    assert (host.stat(CONFIG).uid, host.stat(CONFIG).gid) == (0, 998)


def test_what_was_not_touched_is_not_written_again(host, planned, monkeypatch):
    """On a full disk nothing can be written, and nothing need be."""
    transaction.keep(planned, host)
    monkeypatch.setattr(host, "write", None)
    for entry in transaction.read_journal(INSTANCE, host).files:
        transaction._put_back(host, entry)


def test_a_draft_is_no_journal(host, planned, monkeypatch):
    """Killed while it kept the former state: nothing was changed, nothing is put back."""

    def killed(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(host, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            transaction.keep(planned, host)
    assert transaction.read_journal(INSTANCE, host) is None
    transaction.keep(planned, host)
    assert transaction.read_journal(INSTANCE, host) is not None


def test_a_journal_is_forgotten_in_one_step(host, planned, monkeypatch):
    """Killed in the middle of the removal, the next run neither restores nor stumbles."""
    transaction.keep(planned, host)
    trees = []
    with monkeypatch.context() as patch:
        patch.setattr(host, "remove_tree", trees.append)
        transaction.forget(INSTANCE, host)
    assert len(trees) == 2
    assert transaction.read_journal(INSTANCE, host) is None
    transaction.keep(planned, host)
    transaction.forget(INSTANCE, host)
    assert host.list(INSTANCE.state_directory) == []


@pytest.mark.parametrize("raw", ["", "{", "[]", "5", '{"files": [{}]}', '{"unknown": 1}'])
def test_a_damaged_journal_is_an_error_with_a_way_out(host, raw):
    host.put(INSTANCE.journal_directory + "/journal.json", raw)
    with pytest.raises(HostError, match=r"is damaged .* put back by hand"):
        transaction.read_journal(INSTANCE, host)


def test_a_journal_without_its_files_is_no_absent_journal(host, planned):
    transaction.keep(planned, host)
    host.remove(INSTANCE.journal_directory + "/0")
    with pytest.raises(HostError, match="transaction/0"):
        transaction.read_journal(INSTANCE, host)


def test_no_container_is_lost_to_a_reboot(host):
    containers = {"id": ["web", 42]}
    journal = transaction.Journal(identity=["another boot", 1, 1], containers=containers)
    assert transaction.lost_containers(INSTANCE, host, journal) == []


@pytest.mark.parametrize(
    ("former", "by_flag", "live", "containers", "kept"),
    [
        (b'{"mtu": 1400}', False, False, {"id": ["web", 42]}, {"mtu": 1400, "live-restore": True}),
        (None, False, False, {"id": ["web", 42]}, {"live-restore": True}),
        (b"{}", True, False, {"id": ["web", 42]}, None),
        (b"{}", False, True, {"id": ["web", 42]}, None),
        (b"{}", False, False, {}, None),
        (b"{", False, False, {"id": ["web", 42]}, None),
    ],
)
def test_the_former_daemon_starts_with_live_restore(former, by_flag, live, containers, kept):
    journal = transaction.Journal(
        files=[{"path": CONFIG, "blob": None, "data": former}],
        containers=containers,
        live_restore=live,
        by_flag=by_flag,
        config_path=CONFIG,
    )
    found = transaction._with_live_restore(journal, True)
    assert (found and json.loads(found["data"])) == kept


def test_the_plan_of_check_mode_writes_nothing(host, planned):
    """keep() is the first thing that writes; everything before it only reads."""
    before = host.tree()
    host.plan({"icc": False})
    assert host.tree() == before
    assert host.stat(INSTANCE.state_directory) is None
