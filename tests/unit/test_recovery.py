# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot does with a change that a loss of power cut off."""

from __future__ import annotations

import os

import pytest
from _dockerd import activation, journal, recovery, snapshot
from _dockerd.errors import HostError
from _dockerd.instance import Instance
from _dockerd.journal import Entry, Journal
from conftest import CONFIG
from machine import Machine, killed_at
from test_rollback import COURSES, NO_TCP, TCP, begin, files, former, restore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(snapshot, "read_does", lambda instance, host, told: host.does())
    monkeypatch.setattr(activation, "ATTEMPTS", 0.2)


def before(tmp_path, course):
    earlier, wanted, data = COURSES[course]
    host = Machine.made(tmp_path / "host", ["web"])
    if data is not None:
        host.put(CONFIG, data)
    if earlier:
        journal.forget(INSTANCE, host, begin(host, earlier))
    return host, wanted


@pytest.mark.parametrize("course", COURSES)
def test_power_may_fail_at_any_step_of_a_change(tmp_path, course):
    """Then nothing but a boot: alive, unexposed, and as it was."""
    start, wanted = before(tmp_path, course)
    was = {path[len(start.root) :]: data for path, data in start.tree().items() if "/etc/" in path}
    for number in range(1, 100):
        host = start.copied(tmp_path / str(number))
        with killed_at(host, number) as hit:
            begin(host, wanted)
        if not hit:
            break
        host.power_off()
        assert host.boot_up()
        assert not host.exposed
        now = {
            path[len(host.root) :]: data
            for path, data in host.tree().items()
            if "/etc/" in path and "/." not in path[len(host.root) :]  # what lies ready, unused
        }
        changed = {path for path in {*now, *was} if now.get(path) != was.get(path)}
        assert changed <= {*INSTANCE.safety}  # its own unit, on disk before all else
        restore(host)
        assert host.process
    assert number > 10


@pytest.fixture
def cut_off(tmp_path):
    """A host in the middle of a change, booted since; nothing has been recovered."""
    host = Machine.made(tmp_path / "host")
    kept = begin(host, TCP)
    host.power_off()
    host.load()
    host.asked.clear()
    return host, kept


def test_the_former_state_comes_back_and_the_journal_goes(cut_off, capsys):
    host, kept = cut_off
    assert recovery._recover(INSTANCE, host) == 0
    assert files(host, kept) == former(kept)
    assert journal.read(INSTANCE, host) is None
    assert "was cut off; the former one is back" in capsys.readouterr().err
    assert recovery._recover(INSTANCE, host) == 0
    assert capsys.readouterr().err == ""


def test_what_was_cut_off_without_a_boot_is_left_to_the_next_run(tmp_path):
    """Containers may run, and a file alone would not keep them."""
    host = Machine.made(tmp_path / "host")
    kept = begin(host, TCP)
    now = files(host, kept)
    assert recovery._recover(INSTANCE, host) == 0
    assert files(host, kept) == now
    assert journal.read(INSTANCE, host)


def test_what_was_written_to_its_end_holds(cut_off):
    host, kept = cut_off
    host.write(INSTANCE.manifest_path, snapshot.Manifest(transaction=kept.token).dump(), 0o600)
    now = files(host, kept)
    assert recovery._recover(INSTANCE, host) == 0
    assert files(host, kept) == now
    assert journal.read(INSTANCE, host) is None


def test_the_file_of_somebody_else_stays_and_is_named(cut_off, capsys):
    host, _kept = cut_off
    host.put(CONFIG, '{"theirs": 1}')
    assert recovery._recover(INSTANCE, host) == 0
    assert host.text(CONFIG) == '{"theirs": 1}'
    assert (
        "%s was changed by somebody else meanwhile, and stays" % CONFIG in capsys.readouterr().err
    )


def test_what_cannot_be_put_back_keeps_the_journal_for_the_next_run(cut_off, capsys):
    host, kept = cut_off
    host.broken = {INSTANCE.tls_socket_path}
    assert recovery._recover(INSTANCE, host) == 1
    assert "docker-tls.socket: Read-only" in capsys.readouterr().err
    assert journal.read(INSTANCE, host)
    # The listener stays, and so does all that verifies its clients.
    assert host.told().verifies
    host.broken = set()
    restore(host)
    assert files(host, kept) == former(kept)


def test_a_recovery_that_is_cut_off_is_gone_through_by_the_next_boot(cut_off, tmp_path):
    start, kept = cut_off
    for number in range(1, 100):
        host = start.copied(tmp_path / str(number))
        with killed_at(host, number) as hit:
            recovery._recover(INSTANCE, host)
        if not hit:
            break
        host.power_off()
        assert host.boot_up()
        assert not host.exposed
        restore(host)
        assert files(host, kept) == former(kept)
    assert number > 10


def test_no_job_of_systemd_is_waited_for(cut_off):
    """This unit is one of those that the others wait for."""
    host, _kept = cut_off
    recovery._recover(INSTANCE, host)
    asked = [one for one in host.asked if one.startswith("systemctl")]
    assert asked
    assert all("--no-block" in one or "daemon-reload" in one for one in asked)


def test_a_listener_that_is_put_back_is_started(tmp_path):
    host = Machine.made(tmp_path / "host")
    begin(host, TCP)
    journal.forget(INSTANCE, host, Journal())
    begin(host, NO_TCP)
    host.power_off()
    host.load()
    recovery._recover(INSTANCE, host)
    assert "systemctl start --no-block docker-tls.socket" in host.asked
    assert host.tls


# -- whose


def test_a_file_is_ours_or_somebody_else_s(host):
    host.put("/ours", "new")
    host.put("/theirs", "new")
    host.put("/untouched", "old")
    os.mkfifo(host.real("/fifo"))
    kept = Journal(
        files=[
            Entry(path, b"old") for path in ("/ours", "/theirs", "/untouched", "/fifo", "/gone")
        ],
        written={"/ours": {journal.digest(b"new")}, "/gone": {journal.digest(None)}},
    )
    changes, foreign = recovery.put_back(host, kept)
    assert foreign == ["/theirs", "/fifo"]
    found = {change.wanted.path: change.expected for change in changes}
    assert found == {"/ours": b"new", "/untouched": b"old", "/gone": None}


def test_an_instance_is_found_by_the_number_of_its_user(host):
    assert recovery.instance_of("system", host) == INSTANCE
    host.put("/home/ci/x", "")
    assert recovery.instance_of("1000", host).user.name == "ci"
    for key in ("1001", "ci", ""):
        with pytest.raises(HostError, match="there is no user %s" % key):
            recovery.instance_of(key, host)


def test_that_a_change_without_recovery_is_found_out(tmp_path, monkeypatch):
    """That the first test can fail: without the unit, a boot takes up what is between."""
    host, wanted = before(tmp_path, "opening tcp")
    begin(host, wanted)
    host.loaded = {}
    monkeypatch.setattr(recovery, "rebooted", lambda *rest: False)
    host.power_off()
    host.boot_up()
    assert host.optional(INSTANCE.tls_socket_path)
