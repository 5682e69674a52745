# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program, the unit and the drop-in that stay on a host."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from _dockerd import plan, program, snapshot, units
from _dockerd.errors import Refused
from _dockerd.host import User
from _dockerd.instance import Instance, rootless
from conftest import CONFIG

INSTANCE = Instance()
ALICE = User("alice", 1001, 1001, "/home/alice")
owned_by_root = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")


def made(which=INSTANCE, config_path=CONFIG):
    return program.files(which, config_path)


def text(path, which=INSTANCE):
    return made(which)[path].decode()


# -- in a plan


@owned_by_root
def test_every_plan_has_the_files_that_keep_a_host_safe(host):
    planned = host.plan({"icc": False})
    modes = {change.path: change.mode for change in planned.files}
    assert modes == {
        INSTANCE.program_path: 0o600,
        INSTANCE.recovery_path: 0o644,
        INSTANCE.rescue_path: 0o644,
        INSTANCE.guard_dropin: 0o644,
        CONFIG: 0o644,
    }
    contents = {change.path: change.after for change in planned.files}
    del contents[CONFIG]
    assert contents == made()
    assert tuple(made()) == INSTANCE.safety  # none comes before what it calls
    assert set(INSTANCE.safety) <= set(planned.manifest.files)
    host.apply(planned)
    assert not host.plan({"icc": False}).changed


@owned_by_root
@pytest.mark.parametrize("path", INSTANCE.safety)
def test_one_that_somebody_changed_or_removed_comes_back(host, path):
    host.apply(host.plan({}))
    host.put(path, "changed", mode=host.stat(path).mode)
    assert [change.path for change in host.plan({}).files] == [path]
    host.remove(path)
    assert [change.path for change in host.plan({}).files] == [path]


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStartPost", "ExecStopPost"])
@pytest.mark.parametrize("unit", ["docker.service.d", "service.d"])
def test_a_dropin_that_takes_the_guard_back_is_refused(host, unit, key):
    path = "/etc/systemd/system/%s/zz-no-guard.conf" % unit
    host.put(path, "[Service]\n%s=\n" % key)
    if unit == "service.d":
        # Those of the type sort by their name among those of the unit, systemd.unit(5).
        assert host.told().service.dropins == [path]
    with pytest.raises(Refused, match=r"zz-no-guard[.]conf sets %s again after our" % key):
        host.plan({})


def test_another_command_before_the_start_is_nobody_s_trouble(host):
    host.put("/etc/systemd/system/docker.service.d/a.conf", "[Service]\nExecStartPre=/bin/true\n")
    host.put("/etc/systemd/system/docker.service.d/zz.conf", "[Service]\nExecStartPre=/bin/true\n")
    host.plan({})


@pytest.mark.parametrize(
    "path", ["/srv/a b.json", "/srv/$(id).json", "/srv/%i.json", "/srv/'.json"]
)
def test_a_config_file_whose_path_a_shell_would_read_otherwise_is_refused(host, path):
    line = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// '--config-file=%s'\n"
    written = path.replace("%", "%%").replace("$", "$$").replace("'", "\\'")
    host.put("/etc/systemd/system/docker.service.d/a.conf", line % written)
    with pytest.raises(Refused, match=r"--config-file .* plain path"):
        host.plan({})


def test_the_files_follow_the_config_file(host):
    line = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --config-file=/srv/d.json\n"
    host.put("/etc/systemd/system/docker.service.d/a.conf", line)
    planned = host.plan({})
    contents = {change.path: change.after for change in planned.files}
    assert b" guard /srv/d.json " in contents[INSTANCE.guard_dropin]
    assert (
        b"RequiresMountsFor=%s /srv\n" % INSTANCE.state_directory.encode()
        in (contents[INSTANCE.recovery_path])
    )


@owned_by_root
def test_a_user_s_daemon_gets_them_from_root_and_without_a_guard(host):
    alice = rootless(ALICE)
    host.put("/etc/passwd", host.text("/etc/passwd") + "alice:x:1001:1001::/home/alice:/bin/sh\n")
    host.put(alice.unit_directory + "/docker.service", "[Service]\nExecStart=/usr/bin/dockerd\n")
    for directory, _directories, _names in os.walk(host.real(ALICE.home)):
        os.chown(directory, ALICE.uid, ALICE.gid)
    planned = plan.make(snapshot.read(alice, host, "26.1.5"), host, plan.Desired({}))
    assert {change.path for change in planned.files} >= set(alice.safety)
    assert not any(path.startswith(ALICE.home) for path in alice.safety)
    assert "ExecStartPre" not in text(alice.guard_dropin, alice)


# -- the program


def imported(*names):
    """The files of the core that these import, by whatever way; not for their types alone."""
    found, todo = set(), [*names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        tree = ast.parse((Path(program.__file__).parent / (name + ".py")).read_text())
        typing = [
            one
            for one in ast.walk(tree)
            if isinstance(one, ast.If) and "TYPE" in ast.dump(one.test)
        ]
        skipped = {id(node) for one in typing for node in ast.walk(one)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and id(node) not in skipped:
                todo += [node.module] if node.module else [one.name for one in node.names]
    return found


def test_the_program_is_the_same_whenever_it_is_made():
    assert made()[INSTANCE.program_path] == made()[INSTANCE.program_path]
    with zipfile.ZipFile(io.BytesIO(made()[INSTANCE.program_path])) as archive:
        assert archive.testzip() is None
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_program_has_all_that_it_imports(tmp_path):
    """It runs where nothing of ours is, and what is missing would be found at the next boot."""
    assert program.PARTS == sorted(imported("guard", "recovery", "rescue"))
    place = tmp_path / "hardened-docker.pyz"
    place.write_bytes(made()[INSTANCE.program_path])
    code = "import sys; sys.path.insert(0, %r); import _dockerd.guard, _dockerd.rescue" % str(place)
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, cwd="/")


@owned_by_root
def test_the_program_does_nothing_on_a_host_that_is_well(tmp_path):
    place = tmp_path / "hardened-docker.pyz"
    place.write_bytes(made()[INSTANCE.program_path])
    words = [sys.executable, "-I", str(place), "recover", "no-such-user"]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        b"there is no user no-such-user, or no home; the next run goes on with it\n"
    )


# -- the unit


@pytest.mark.parametrize(
    ("which", "starts"),
    [
        (INSTANCE, "docker.service docker.socket docker-tls.socket"),
        (rootless(ALICE), "user@1001.service"),
    ],
)
def test_recovery_comes_before_what_it_recovers(empty, which, starts):
    empty.put(which.recovery_path, made(which)[which.recovery_path])
    unit = units.load(empty, which.recovery)
    assert unit.value("Unit", "Before").split() == [*starts.split(), "shutdown.target"]
    assert unit.value("Service", "ExecStart") == "python3 -I %s recover %s" % (
        which.program_path,
        which.state_directory.rpartition("/")[2],
    )
    conditions = [one.value for one in unit.settings("Unit", "ConditionPathExists")]
    assert conditions == [which.journal_directory, "!" + which.lock_path]
    assert which.state_directory in unit.value("Unit", "RequiresMountsFor")


@pytest.mark.parametrize("which", [INSTANCE, rootless(ALICE)])
def test_what_starts_the_daemon_wants_recovery_first(empty, which):
    empty.put(which.guard_dropin, made(which)[which.guard_dropin])
    unit, name = which.guard_dropin.split("/")[-2:]
    assert name.endswith(".conf")
    empty.put("/etc/systemd/system/" + unit[: -len(".d")], "[Service]\n")
    found = units.load(empty, unit[: -len(".d")])
    for key in ("Wants", "After"):
        assert which.recovery in found.value("Unit", key).split()


# -- the guard's line, as the shell of a host runs it

GUARD = """\
#!/bin/sh
[ "$1 $2 $3" = "-I {program} guard" ] || exit 99
exit {status}
"""
SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> {log}
case "$*" in
  "--quiet is-active docker-tls.socket") exit {active} ;;
  stop*) exit {stopped} ;;
esac
"""


def unescaped(value):
    """A value of ExecStartPre= as systemd hands it to sh, systemd.service(5) COMMAND LINES."""
    shell, option, line = units.split(value)
    assert (shell, option) == ("+/bin/sh", "-c")
    assert "%" not in line
    assert "$" not in line.replace("$$", "")
    return [shell[1:], option, line.replace("$$", "$")]


@pytest.fixture
def start(empty, tmp_path):
    """``start(status, active)``: the exit status of the line, and what it asked of systemd."""
    empty.put(INSTANCE.guard_dropin, made()[INSTANCE.guard_dropin])
    empty.put("/etc/systemd/system/docker.service", "[Service]\nExecStart=/usr/sbin/dockerd\n")
    unit = units.load(empty, "docker.service")
    (setting,) = unit.settings("Service", "ExecStartPre")
    log, directory = tmp_path / "log", tmp_path / "bin"
    directory.mkdir()

    def begin(status, active=True, stopped=0):
        log.write_text("")
        words = {"log": log, "active": {True: 0, False: 3}.get(active, active), "stopped": stopped}
        programs = {"systemctl": SYSTEMCTL.format(**words)}
        if status is not None:
            programs["python3"] = GUARD.format(status=status, program=INSTANCE.program_path)
        for name, body in programs.items():
            (directory / name).write_text(body)
            (directory / name).chmod(0o755)
        path = {"PATH": str(directory)}
        done = subprocess.run(unescaped(setting.value), env=path, check=False, timeout=30)
        return done.returncode, log.read_text().splitlines()

    return begin


ASKED = "--quiet is-active docker-tls.socket"


def test_verified_clients_may_come_in(start):
    assert start(0) == (0, [])


def test_what_somebody_else_changed_meanwhile_is_not_started(start):
    assert start(3) == (3, [])


@pytest.mark.parametrize("status", [1, 2, 99, 126, 139, None])
def test_without_the_guard_s_word_tcp_is_closed_and_dockerd_starts(start, status):
    """None: there is no python3 any more, as after an upgrade of the distribution."""
    assert start(status) == (0, [ASKED, "stop docker-tls.socket"])
    assert start(status, active=False) == (0, [ASKED])


@pytest.mark.parametrize("answer", [1, 126, 127])
def test_tcp_of_which_nobody_can_tell_is_closed(start, answer):
    """1 is what systemctl says where it cannot ask; the others are the shell's, without it."""
    told = (0, [ASKED, "stop docker-tls.socket"])
    assert start(1, active="%d" % answer) == told
    assert start(0, active="%d" % answer) == (0, [])


def test_tcp_that_is_not_there_is_closed(start):
    assert start(1, active="4") == (0, [ASKED])


def test_tcp_that_cannot_be_closed_keeps_dockerd_down(start):
    assert start(1, stopped=1) == (1, [ASKED, "stop docker-tls.socket"])
