# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon that does not start with what a run left that was killed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from _dockerd import journal, program, rescue, snapshot
from _dockerd.errors import HostError
from _dockerd.host import Result
from test_rollback import COURSES, INSTANCE, changed, files, quick, restore, well

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
__all__ = ["quick"]


@pytest.fixture(params=COURSES)
def failed(tmp_path, request):
    """Stopped by a restart, and not come up again; its containers go on."""
    host, kept = changed(tmp_path, *COURSES[request.param])
    host.process = None
    return host, kept


def test_it_comes_back_with_the_former_configuration_and_its_containers(failed, capsys):
    host, kept = failed
    assert rescue._rescue(INSTANCE, host) == 0
    well(host, kept)
    assert host.killed == []
    assert "the former one is back" in capsys.readouterr().err
    assert rescue._rescue(INSTANCE, host) == 0
    assert capsys.readouterr().err == ""


def test_one_that_runs_is_the_next_run_s_business(tmp_path):
    host, kept = changed(tmp_path, *COURSES["opening tcp"])
    now = files(host, kept)
    assert rescue._rescue(INSTANCE, host) == 0
    assert files(host, kept) == now
    assert journal.read(INSTANCE, host)


@pytest.mark.parametrize(
    ("state", "up", "tried", "main", "acts"),
    [
        ("failed", 5, 7, 0, True),
        ("failed", 5, 0, 7, True),  # a crash, and restarts by systemd alone
        ("failed", 0, 7, 8, True),
        ("failed", 7, 5, 6, False),  # it ran, and its stop failed
        ("inactive", 7, 5, 6, True),  # a rescue that was killed had reset the failure
        ("active", 7, 5, 6, False),
        ("activating", 5, 7, 8, False),
        ("deactivating", 7, 5, 6, False),
        ("reloading", 7, 5, 6, False),
        ("activating auto-restart", 5, 7, 8, True),  # where no limit is set, for ever
        ("activating auto-restart", 7, 8, 6, False),  # it ran, and systemd brings it back
        ("", "", "", "", False),
    ],
)
def test_it_acts_where_a_start_failed(empty, monkeypatch, state, up, tried, main, acts):
    state, _blank, step = state.partition(" ")
    values = zip((*rescue.SHOWN, rescue.STARTED), (step, state, up, tried, main))
    shown = "".join("%s=%s\n" % pair for pair in values if state)
    monkeypatch.setattr(type(empty), "run", lambda *words: Result(0, shown, ""))
    monkeypatch.setattr(rescue, "PATIENCE", 0.1)
    assert rescue.did_not_start(INSTANCE, empty) is acts


def test_a_file_of_somebody_else_is_left_to_the_next_run(failed, capsys):
    host, kept = failed
    host.put(kept.config_path, '{"theirs": 1}')
    now = files(host, kept)
    assert rescue._rescue(INSTANCE, host) == 0
    assert files(host, kept) == now
    assert host.process is None
    assert "%s is somebody else's" % kept.config_path in capsys.readouterr().err


def test_it_waits_for_systemd_which_may_try_once_more(empty, monkeypatch):
    states = iter(["activating", "activating", "failed"])
    shown = "ActiveState=%s\nExecMainStartTimestampMonotonic=5\n"
    monkeypatch.setattr(type(empty), "run", lambda *words: Result(0, shown % next(states), ""))
    assert rescue.did_not_start(INSTANCE, empty)


def test_what_three_tries_do_not_mend_is_left_alone(failed, capsys):
    host, kept = failed
    host.full = True  # a try is counted without space
    host.meddle = {}
    for _number in range(3):
        host.broken = {kept.config_path}
        with pytest.raises(HostError):
            rescue._rescue(INSTANCE, host)
        host.process = None
    host.broken = set()
    asked = list(host.asked)
    assert rescue._rescue(INSTANCE, host) == 1
    assert not [one for one in host.asked[len(asked) :] if "start" in one and "show" not in one]
    assert "does not start either" in capsys.readouterr().err
    host.full = False
    restore(host)
    well(host, kept)


def test_a_change_that_was_written_to_its_end_holds(failed):
    host, kept = failed
    host.write(INSTANCE.manifest_path, snapshot.Manifest(transaction=kept.token).dump(), 0o600)
    now = files(host, kept)
    assert rescue._rescue(INSTANCE, host) == 0
    assert files(host, kept) == now
    assert journal.read(INSTANCE, host) is None


def test_it_has_loaded_all_that_it_needs_before_another_program_takes_its_place(tmp_path):
    place = tmp_path / "hardened-docker.pyz"
    place.write_bytes(program.files(INSTANCE, "/etc/docker/daemon.json")[INSTANCE.program_path])
    code = (
        "import sys; sys.path.insert(0, %r); import _dockerd.rescue;"
        "print(*(one for one in sys.modules if one.startswith('_dockerd.')))" % str(place)
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, stdout=subprocess.PIPE, cwd="/"
    )
    loaded = {one.partition(".")[2] for one in done.stdout.decode().split()}
    assert set(program.PARTS) - loaded == {"guard", "pair"}


def test_nothing_happens_where_nothing_was_cut_off(failed):
    host, kept = failed
    journal.forget(INSTANCE, host, kept)
    now = files(host, kept)
    assert rescue._rescue(INSTANCE, host) == 0
    assert host.process is None
    assert files(host, kept) == now


def test_what_it_cannot_do_it_says_and_leaves_to_the_next_run(failed):
    host, kept = failed
    host.broken = {kept.config_path}
    with pytest.raises(HostError):
        rescue._rescue(INSTANCE, host)
    assert journal.read(INSTANCE, host)
    host.broken = set()
    restore(host)
    well(host, kept)
