# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The former state put back, cut off at any step and overtaken by others."""

from __future__ import annotations

import itertools
import json
import os
import time
from contextlib import suppress

import pytest
from _dockerd import activation, config, journal, plan, recovery, rollback, snapshot, transaction
from _dockerd.errors import HostError
from _dockerd.host import digest
from _dockerd.instance import Instance
from conftest import CONFIG
from machine import SWARM, Machine, killed_at

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()
PLAIN = {"icc": False, "live-restore": True}
TLS = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
TRUE = config.render({"icc": False, "live-restore": True})
LISTEN = "[Socket]\nListenStream=0.0.0.0:2376\nService=docker.service\n"
NO_TCP = plan.Desired(PLAIN)
TCP = plan.Desired({**PLAIN, **TLS}, tls_socket=LISTEN)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(snapshot, "read_does", lambda instance, host, told: host.does())
    monkeypatch.setattr(activation, "ATTEMPTS", 0.2)


def changed(tmp_path, former, desired, data=None, activate=True):
    """A host in the middle of a change, as a run leaves it that is killed before its commit."""
    host = Machine.made(tmp_path / "host", ["web", "db"])
    if data is not None:
        host.put(CONFIG, data)
        host.stop()
        host.start()
        host.containers, host.killed = {"id-web": ("web", 40), "id-db": ("db", 41)}, []
    if former is not None:
        journal.forget(INSTANCE, host, begin(host, former))
    kept = begin(host, desired, activate)
    assert host.killed == []
    host.asked.clear()
    return host, kept


def begin(host, desired, activate=True):
    made = plan.make(snapshot.read(INSTANCE, host), host, desired)
    kept = transaction._keep(made, host)
    transaction._write(made, host, kept)
    if activate:
        with host.locked(INSTANCE.lock_path):
            transaction._activate(made, host, 5, lambda: None)
    return kept


def files(host, kept):
    return {entry.path: host.optional(entry.path) for entry in kept.files}


def former(kept):
    return {entry.path: entry.data for entry in kept.files}


def restore(host):
    """What the next run does first."""
    with host.locked(INSTANCE.lock_path):
        left = journal.read(INSTANCE, host)
        return rollback.restore(INSTANCE, host, left, 5) if left else rollback.Restored()


def well(host, kept):
    """The former files, and a daemon that runs as they say, with all containers and no more."""
    assert files(host, kept) == former(kept)
    assert journal.read(INSTANCE, host) is None
    assert host.process
    assert host.killed == []
    assert sorted(name for name, _pid in host.containers.values()) == ["db", "web"]
    assert host.process["live_restore"] == kept.live_restore
    assert host.tls == host.process["tls"] == (host.told().tls_socket is not None)
    assert host.tls == bool(former(kept).get(INSTANCE.tls_socket_path))
    assert not host.exposed


COURSES = {
    "first hardening": (None, NO_TCP, None),
    "first hardening with tcp": (None, TCP, None),
    "opening tcp": (NO_TCP, TCP, None),
    "closing tcp": (TCP, NO_TCP, None),
    "with a file of others": (None, TCP, {"labels": ["a=b"], "live-restore": False}),
}


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize("course", COURSES)
def test_a_host_is_brought_back_whole(tmp_path, course, activate):
    host, kept = changed(tmp_path, *COURSES[course], activate=activate)
    restored = restore(host)
    assert (restored.lost, restored.foreign) == ([], [])
    well(host, kept)
    again = host.systemctl()
    assert restore(host).notes == []
    assert host.systemctl() == again


# -- cut off, again and again


def cuts(host, tmp_path, step=1, first=1):
    """The host as each roll-back of it leaves it that is killed at its n-th change."""
    for number in itertools.count(first, step):
        other = host.copied(tmp_path / ("%s-%d" % (os.path.basename(host.root), number)))
        with killed_at(other, number) as hit:
            restore(other)
        if not hit:
            assert step > 1 or number > 5
            return
        yield number, other


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize("course", COURSES)
def test_a_roll_back_that_was_cut_off_is_gone_through_once_more(tmp_path, course, activate):
    host, kept = changed(tmp_path, *COURSES[course], activate=activate)
    for _number, one in cuts(host, tmp_path):
        assert one.killed == []
        assert not one.exposed
        restore(one)
        well(one, kept)


@pytest.mark.parametrize("course", ["first hardening with tcp", "with a file of others"])
def test_and_a_third_time(tmp_path, course):
    host, kept = changed(tmp_path, *COURSES[course])
    for number, one in cuts(host, tmp_path):
        for _other, two in cuts(one, tmp_path, step=11, first=1 + number % 11):
            assert two.killed == []
            restore(two)
            well(two, kept)


@pytest.mark.parametrize("course", COURSES)
def test_somebody_may_restart_the_daemon_wherever_a_roll_back_was_cut_off(tmp_path, course):
    """As a package's upgrade does: it comes up, keeps the containers, and exposes nothing."""
    host, kept = changed(tmp_path, *COURSES[course])
    for _number, one in cuts(host, tmp_path):
        # Once the former file is back without it, a restart kills as it did before.
        keeps = one.process["live_restore"] and one.told().data.get("live-restore") is True
        assert one.run(["systemctl", "restart", "docker.service"]).rc == 0
        assert not one.exposed
        assert one.killed == [] or not keeps
        restore(one)
        assert files(one, kept) == former(kept)


@pytest.mark.parametrize("course", COURSES)
def test_power_may_fail_wherever_a_roll_back_was_cut_off(tmp_path, course):
    host, kept = changed(tmp_path, *COURSES[course])
    for _number, one in cuts(host, tmp_path):
        one.power_off()
        assert one.boot_up()
        assert not one.exposed
        now = {path: data for path, data in files(one, kept).items() if path not in INSTANCE.safety}
        assert now == {path: former(kept)[path] for path in now}
        assert restore(one).lost == []
        assert files(one, kept) == former(kept)


def test_a_daemon_that_kills_is_found_out(tmp_path, monkeypatch):
    """That the tests above can fail: without live-restore first, the former file kills."""
    monkeypatch.setattr(rollback._Rollback, "_keeps_containers", lambda self: False)
    host, kept = changed(tmp_path, *COURSES["with a file of others"])
    time.sleep(0.02)  # times of files are those of the kernel's tick
    restored = restore(host)
    assert restored.lost == ["web", "db"]
    with pytest.raises(AssertionError):
        well(host, kept)


# -- overtaken


def test_a_file_of_somebody_else_stays(tmp_path):
    host, _kept = changed(tmp_path, None, TCP)
    theirs = {"labels": ["theirs"], "live-restore": True}
    host.put(CONFIG, theirs)
    host.put(INSTANCE.socket_dropin, "[Socket]\n# theirs\n")
    restored = restore(host)
    assert restored.foreign == ["%s was changed by somebody else, and stays" % CONFIG]
    assert json.loads(host.text(CONFIG)) == theirs
    assert host.text(INSTANCE.socket_dropin) == "[Socket]\n# theirs\n"
    assert host.optional(INSTANCE.tls_socket_path) is None
    assert host.process
    assert host.killed == []


def test_theirs_is_kept_with_live_restore_in_between_only(tmp_path):
    """Containers must live through the restart, whatever the file says that stays."""
    host, _kept = changed(tmp_path, None, TCP)
    host.put(CONFIG, {"labels": ["theirs"]})
    assert restore(host).lost == []
    assert json.loads(host.text(CONFIG)) == {"labels": ["theirs"]}
    assert host.killed == []


def test_theirs_is_never_lost_wherever_a_roll_back_is_cut_off(tmp_path):
    """Nor with live-restore in it, which we wrote there."""
    host, _kept = changed(tmp_path, None, TCP)
    host.put(CONFIG, {"labels": ["theirs"]})
    for _number, one in cuts(host, tmp_path):
        assert json.loads(one.text(CONFIG))["labels"] == ["theirs"]
        restore(one)
        assert json.loads(one.text(CONFIG))["labels"] == ["theirs"]
        assert one.killed == []


@pytest.mark.parametrize("theirs", ["{", '{"no-such-directive": 1}'])
def test_a_file_with_which_nothing_starts_is_put_aside(tmp_path, theirs):
    host, kept = changed(tmp_path, NO_TCP, TCP)
    host.put(CONFIG, theirs, mode=0o640)
    restored = restore(host)
    assert restored.foreign[-1] == (
        "dockerd does not start with what somebody else wrote to %s; it is in %s%s"
        % (CONFIG, CONFIG, rollback.ASIDE)
    )
    assert host.text(CONFIG + rollback.ASIDE) == theirs
    assert host.stat(CONFIG + rollback.ASIDE).mode == 0o640
    well(host, kept)


@pytest.mark.parametrize(
    "asked", ["restart docker.service", "reset-failed %s" % " ".join(INSTANCE.units)]
)
def test_whoever_writes_while_the_former_daemon_starts_is_let_be(tmp_path, asked):
    host, _kept = changed(tmp_path, None, TCP)
    theirs = {"labels": ["theirs"], "live-restore": True}
    host.meddle[asked] = lambda: host.put(CONFIG, theirs)
    restored = restore(host)
    assert restored.foreign == ["%s was changed by somebody else, and stays" % CONFIG]
    assert json.loads(host.text(CONFIG)) == theirs
    assert host.process
    assert host.killed == []
    assert not host.exposed


def test_whoever_writes_without_end_is_named_and_the_journal_stays(tmp_path):
    host, _kept = changed(tmp_path, None, TCP)
    number = itertools.count()

    def write():
        host.put(CONFIG, {"labels": ["%d" % next(number)], "live-restore": True})
        host.meddle["restart docker.service"] = write

    write()
    with pytest.raises(HostError):
        restore(host)
    assert journal.read(INSTANCE, host)
    host.meddle.clear()
    restore(host)
    assert host.process
    assert host.killed == []


# -- in the way


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("course", COURSES)
def test_it_needs_no_space_on_the_disk(tmp_path, course, runs):
    host, kept = changed(tmp_path, *COURSES[course])
    if not runs:
        host.process = None
    host.full = True
    assert restore(host).notes == []
    host.full = False
    well(host, kept)
    assert not [path for path in host.tree() if ".hardened-" in path]


@pytest.mark.parametrize("course", COURSES)
def test_gone_through_once_more_it_loses_nothing_and_ends_when_there_is_space(tmp_path, course):
    host, kept = changed(tmp_path, *COURSES[course])
    host.full = True
    for _number, one in cuts(host, tmp_path):
        one.process["started"] -= 1  # time has passed
        with suppress(HostError):
            restore(one)
        assert one.process
        assert one.killed == []
        one.full = False
        restore(one)
        well(one, kept)


def test_nor_with_flags_that_gave_way(tmp_path):
    line = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --icc=true\n"
    host = Machine.made(tmp_path / "host", ["web", "db"])
    host.put("/etc/systemd/system/docker.service.d/flags.conf", line)
    host.load()
    kept = begin(host, plan.Desired({**PLAIN, "log-level": "warn"}))
    host.process, host.full = None, True
    assert restore(host).notes == []
    assert files(host, kept) == former(kept)
    assert host.process
    assert host.killed == []


def test_no_restart_with_a_file_that_keeps_no_containers(tmp_path):
    host, kept = changed(tmp_path, *COURSES["first hardening"])
    with killed_at(host, 11):
        restore(host)
    host.broken = {CONFIG}
    host.process["started"] -= 1
    with pytest.raises(HostError):
        restore(host)
    assert host.killed == []
    host.broken = set()
    restore(host)
    well(host, kept)


def test_what_cannot_be_kept_beside_its_place_is_not_begun(tmp_path):
    host = Machine.made(tmp_path / "host", ["web", "db"])
    host.put(CONFIG, {"icc": False})
    before = host.tree()
    for data in (host.read(CONFIG), TRUE):
        broken = host.beside(CONFIG, ".%s.hardened-" + digest(data)[:12])
        host.broken = {broken}
        with pytest.raises(HostError, match="Read-only"):
            begin(host, TCP)
        assert host.tree() == before


def test_a_file_that_cannot_be_put_back_is_named_where_the_daemon_does_not_start(tmp_path):
    host, kept = changed(tmp_path, NO_TCP, TCP)
    host.put(CONFIG, {"no-such-directive": 1})
    journal.announce(INSTANCE, host, kept, CONFIG, host.read(CONFIG))
    host.process = None
    host.broken = {CONFIG}
    with pytest.raises(HostError, match=r"daemon\.json: Read-only file system; .*systemctl"):
        restore(host)


def test_what_somebody_put_where_a_former_file_lies_ready_is_in_nobodys_way(tmp_path):
    host, kept = changed(tmp_path, NO_TCP, TCP)
    place = host.real(journal.ready(host, kept.former(CONFIG)))
    os.unlink(place)
    os.mkdir(place)
    restore(host)
    well(host, kept)
    names = [name for name in host.list("/etc/docker") if ".hardened-" in name]
    assert names == [os.path.basename(place)]


@pytest.mark.parametrize("refused", [[], ["systemd does not load docker.service"]])
def test_a_guard_with_which_the_unit_does_not_load_goes_first(tmp_path, monkeypatch, refused):
    host, kept = changed(tmp_path, None, NO_TCP)
    monkeypatch.setattr(rollback, "not_loaded", lambda *rest: refused)
    restore(host)
    well(host, kept)
    gone = host.asked.index("remove " + INSTANCE.guard_dropin)
    assert (gone < host.asked.index("systemctl restart docker.service")) == bool(refused)


@pytest.mark.parametrize("stuck", [INSTANCE.socket_dropin, INSTANCE.manifest_path, CONFIG])
def test_a_file_that_cannot_be_written_keeps_no_other_from_being_put_back(tmp_path, stuck):
    wanted = plan.Desired({**PLAIN, "icc": True}, socket_dropin="[Socket]\nBacklog=9\n")
    host, kept = changed(tmp_path, NO_TCP, wanted)
    host.put(INSTANCE.manifest_path, "{}")
    journal.announce(INSTANCE, host, kept, INSTANCE.manifest_path, b"{}")
    host.broken = {stuck}
    with pytest.raises(HostError, match="%s: Read-only" % stuck):
        restore(host)
    now = files(host, kept)
    assert {path for path in now if now[path] != former(kept)[path]} == {stuck}
    assert journal.read(INSTANCE, host)
    host.broken = set()
    restore(host)
    well(host, kept)


def test_a_daemon_that_did_not_answer_before_need_not_after(tmp_path):
    host, kept = changed(tmp_path, None, NO_TCP)
    kept.active = False
    host.process = None
    with host.locked(INSTANCE.lock_path):
        assert rollback.restore(INSTANCE, host, kept, 5).notes == []
    assert files(host, kept) == former(kept)
    assert host.process is None


# -- after a boot, and after the last write


def test_no_container_is_lost_to_a_boot(tmp_path):
    host, kept = changed(tmp_path, None, NO_TCP)
    host.power_off()
    host.load()
    host.start()
    assert host.containers == {}
    restored = restore(host)
    assert restored.lost == []
    assert files(host, kept) == former(kept)
    assert host.process


def test_a_lost_container_is_named(tmp_path):
    host, _kept = changed(tmp_path, None, NO_TCP)
    del host.containers["id-web"]
    assert restore(host).notes == ["these containers did not survive: web"]


def test_a_run_that_was_cut_off_after_its_last_write_holds(tmp_path):
    host, kept = changed(tmp_path, None, TCP)
    manifest = snapshot.Manifest(transaction=kept.token)
    host.write(INSTANCE.manifest_path, manifest.dump(), 0o600)
    now = files(host, kept)
    assert restore(host).notes == []
    assert files(host, kept) == now
    assert journal.read(INSTANCE, host) is None


def test_the_manifest_of_another_run_is_no_last_write(tmp_path):
    host, kept = changed(tmp_path, None, NO_TCP)
    manifest = snapshot.Manifest(transaction="0" * 32)
    host.write(INSTANCE.manifest_path, manifest.dump(), 0o600)
    restored = restore(host)
    assert restored.foreign == [
        "%s was changed by somebody else, and stays" % INSTANCE.manifest_path
    ]
    assert host.optional(CONFIG) == former(kept)[CONFIG]


def test_a_swarm_that_somebody_made_meanwhile_keeps_no_daemon_down(tmp_path):
    host, _kept = changed(tmp_path, None, NO_TCP)
    host.put(SWARM, "{}")
    host.stop()
    restore(host)
    assert host.process
    assert not host.process["live_restore"]


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (["alice", "bob"], ["alice"]),
        (["alice", "bob", "carol"], ["alice", "carol"]),
        (["bob"], None),
        (["alice"], ["alice", "dave"]),
    ],
)
def test_members_that_somebody_added_or_removed_stay_so(empty, now, wanted):
    before, after = (["alice"], ["alice", "bob"])
    if wanted == ["alice", "dave"]:
        before, after = ["alice", "dave"], ["alice"]
    kept = journal.Journal(members=("docker", before, after))
    empty.put("/etc/group", "docker:x:998:%s\n" % ",".join(now))
    found = recovery.former_members(kept, empty)
    assert found == (wanted or [])
