# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon of a user, from a plain directory."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from _dockerd import findings, plan, snapshot
from _dockerd.controls import CONTROLS
from _dockerd.does import Does
from _dockerd.errors import Refused
from _dockerd.ground import Ground
from _dockerd.groundwork import UNIT, UNIT_TEXT
from _dockerd.host import Stat, User
from _dockerd.instance import discover, rootless
from _dockerd.ranges import Range
from _dockerd.transaction import preflight

ALICE = User("alice", 1001, 1001, "/home/alice")
INSTANCE = rootless(ALICE)
CONFIG = INSTANCE.config_path
SCRIPT = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
BY_ID = {control.id: control for control in CONTROLS}
PORTS = '[Service]\nEnvironment="DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=%s"\n'
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to their user")


@pytest.fixture
def home(host):
    """A host with alice, and the unit for all users."""
    host.put("/etc/passwd", host.text("/etc/passwd") + "alice:x:1001:1001::/home/alice:/bin/sh\n")
    host.put(UNIT, UNIT_TEXT % {"path": "/usr/bin", "script": SCRIPT})
    os.makedirs(host.real("/home/alice"))
    os.chown(host.real("/home/alice"), ALICE.uid, ALICE.gid)
    return host


def seen(home, **changes):
    return replace(snapshot.read(INSTANCE, home, "26.1.5"), **changes)


def made(home, directives, **rest):
    return plan.make(seen(home), home, plan.Desired(directives, **rest))


def of_the_user(plan):
    """The files of a plan but for those of root, which recover at boot."""
    return [change for change in plan.files if change.path not in INSTANCE.safety]


def status(snapshot, name):
    return findings.judge(snapshot, [BY_ID[name]])[0].status


@as_root
def test_a_password_in_the_environment_is_for_the_user_only(home):
    proxy = "[Service]\nEnvironment=HTTPS_PROXY=http://ci:%s@proxy.example\n"
    (change,) = of_the_user(made(home, {}, service_dropin=proxy % "s3cret"))
    assert change.mode == 0o600
    (change,) = of_the_user(made(home, {}, service_dropin="[Service]\n"))
    assert change.mode == 0o644


@as_root
def test_a_file_where_a_directory_belongs_is_named(home):
    home.put("/home/alice/.config", "")
    os.chown(home.real("/home/alice/.config"), ALICE.uid, ALICE.gid)
    with pytest.raises(Refused, match=r"alice/[.]config is no directory"):
        made(home, {"icc": False})


def test_a_daemon_is_found_by_what_starts_it(home):
    assert [one.name for one in discover(home)] == ["system"]
    home.put(INSTANCE.unit_directory + "/default.target.wants/docker.service", "")
    assert [one.name for one in discover(home)] == ["system", "user:alice"]
    os.makedirs(home.real("/etc/systemd/system"), exist_ok=True)
    os.symlink("/dev/null", home.real("/etc/systemd/system") + "/docker.service")
    assert [one.name for one in discover(home)] == ["user:alice"]


@as_root
def test_files_of_a_plan_are_the_users_and_no_socket_is_among_them(home):
    one = made(home, {"icc": False}, service_dropin="[Service]\n")
    assert {change.path for change in of_the_user(one)} == {CONFIG, INSTANCE.service_dropin}
    assert set(INSTANCE.safety) < {change.path for change in one.files}
    assert one.candidate.told.data == {"icc": False}
    assert [word.text for word in one.candidate.told.words] == [SCRIPT]
    assert (one.inode, one.members, one.displaced, one.enable) == (None, None, {}, False)


@as_root
def test_listeners_of_somebody_else_give_way(home):
    home.put(CONFIG, {"hosts": ["tcp://0.0.0.0:2375"], "labels": ["a=b"]})
    os.chown(home.real(CONFIG), ALICE.uid, ALICE.gid)
    for directory in ("/home/alice/.config", "/home/alice/.config/docker"):
        os.chown(home.real(directory), ALICE.uid, ALICE.gid)
    home.put(
        INSTANCE.dropin("docker.service", "a.conf"),
        "[Service]\nExecStart=\nExecStart=%s -H tcp://:2375 --mtu 1400\n" % SCRIPT,
    )
    os.chown(home.real("/home/alice/.config/systemd"), ALICE.uid, ALICE.gid)
    for directory in ("", "/docker.service.d"):
        os.chown(home.real(INSTANCE.unit_directory + directory), ALICE.uid, ALICE.gid)
    one = made(home, {})
    assert one.candidate.told.tcp == []
    assert one.candidate.told.data == {"labels": ["a=b"]}
    assert [word.text for word in one.candidate.told.words] == [SCRIPT, "--mtu", "1400"]
    assert len(one.displaced) == 2


@as_root
@pytest.mark.parametrize("place", ["file", "directory", "link"])
def test_a_place_that_is_anothers_is_refused(home, place):
    if place == "file":
        home.put(CONFIG, {})
        for path in ("/home/alice/.config", "/home/alice/.config/docker"):
            os.chown(home.real(path), ALICE.uid, ALICE.gid)
    elif place == "directory":
        os.makedirs(home.real("/home/alice/.config/docker"))
    else:
        os.makedirs(home.real("/etc/docker"), exist_ok=True)
        os.makedirs(home.real("/home/alice/.config"))
        os.symlink("/etc/docker", home.real("/home/alice/.config") + "/docker")
    with pytest.raises(Refused, match="belongs to root, or leads to what does"):
        made(home, {"icc": False})


@pytest.mark.parametrize(
    ("flags", "reached"),
    [
        ("-p 192.0.2.1:2377:2376/tcp", [("192.0.2.1", 2377)]),
        ("-p 0.0.0.0:2376:2376/tcp -p [::1]:2376:2376/tcp", [("0.0.0.0", 2376), ("::1", 2376)]),
        ("--debug --publish=0.0.0.0:2376:2376", [("0.0.0.0", 2376)]),
        ("-p 0.0.0.0:80:8080/tcp", [("127.0.0.1", 2376)]),
        ("-p", [("127.0.0.1", 2376)]),
        ("", [("127.0.0.1", 2376)]),
    ],
)
def test_a_listener_is_where_rootlesskit_publishes_it(home, flags, reached):
    home.put(CONFIG, {"hosts": ["unix:///run/user/1001/docker.sock", "tcp://127.0.0.1:2376"]})
    home.put(INSTANCE.service_dropin, PORTS % flags)
    found = seen(home).told
    assert [(one.host, one.port) for one in found.tcp] == reached
    assert found.listeners[0].path == "/run/user/1001/docker.sock"


def test_what_a_rootless_daemon_cannot_have_is_refused(home):
    home.put(CONFIG, {"userns-remap": "default"})
    one = plan.Plan(seen(home), seen(home))
    with pytest.raises(Refused, match="A rootless daemon remaps no users"):
        preflight(one, home, frozenset())


def test_running_containers_end_with_a_restart(home):
    does = Does(
        units={"docker.service": {"ActiveState": "active"}},
        answers=True,
        info={"LiveRestoreEnabled": True},
        containers={"id": ("web", 1)},
    )
    home.put(CONFIG, {"live-restore": True})
    one = plan.Plan(seen(home, does=does), seen(home, does=does))
    one.gaps = [plan.drift.Gap("why", plan.drift.RESTART)]
    plan._add_dangers(one, home)
    assert list(one.dangers) == ["dockerd_rootless_allow_container_stop"]
    assert one.keeper is None


GROUND = Ground(
    ranges={
        "/etc/subuid": [Range("alice", 100000, 65536)],
        "/etc/subgid": [Range("alice", 100000, 65536)],
    },
    linger=True,
    unified=True,
    controllers=("cpu", "cpuset", "io", "memory", "pids"),
    runtime=Stat("directory", 0o700, 1001, 1001, 0, 0.0, 1),
    rootlesskit=("rootlesskit", "--net=slirp4netns", "--disable-host-loopback", SCRIPT),
    system="inactive",
)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("rootless-ids", {}, "passed"),
        ("rootless-ids", {"ranges": {"/etc/subuid": []}}, "failed"),
        ("rootless-ids", {"ranges": {"/etc/subuid": [Range("alice", 1, 65535)]}}, "failed"),
        ("rootless-ids", {"conflicts": ["/etc/subuid lines 1 and 2"]}, "failed"),
        ("rootless-linger", {}, "passed"),
        ("rootless-linger", {"linger": False}, "failed"),
        ("rootless-delegation", {}, "passed"),
        ("rootless-delegation", {"controllers": ("memory", "pids")}, "failed"),
        ("rootless-delegation", {"unified": False}, "not applicable"),
        ("rootless-delegation", {"unified": None}, "unknown"),
        ("rootless-loopback", {}, "passed"),
        ("rootless-loopback", {"rootlesskit": ("rootlesskit", "--net=pasta")}, "failed"),
        ("rootless-loopback", {"rootlesskit": ()}, "unknown"),
        (
            "rootless-loopback",
            {"rootlesskit": ("rootlesskit", "x.sh", "--disable-host-loopback")},
            "failed",
        ),
        ("rootless-network", {}, "passed"),
        ("rootless-network", {"rootlesskit": ("rootlesskit", "--net=host")}, "failed"),
        ("rootless-network", {"rootlesskit": ("rootlesskit", "--net=lxc-user-nic")}, "failed"),
        (
            "rootless-network",
            {"rootlesskit": ("rootlesskit", "--net=pasta", "--detach-netns")},
            "failed",
        ),
        ("rootless-socket", {}, "passed"),
        (
            "rootless-socket",
            {"runtime": Stat("directory", 0o755, 1001, 1001, 0, 0.0, 1)},
            "failed",
        ),
        ("rootless-socket", {"runtime": Stat("directory", 0o700, 0, 0, 0, 0.0, 1)}, "failed"),
        ("rootless-socket", {"runtime": None}, "unknown"),
        ("rootless-beside", {}, "passed"),
        ("rootless-beside", {"system": "active"}, "failed"),
        ("rootless-beside", {"system": ""}, "unknown"),
    ],
)
def test_controls_of_the_ground(home, name, changes, expected):
    assert status(seen(home, ground=replace(GROUND, **changes)), name) == expected


@pytest.mark.parametrize(
    ("driver", "expected"), [("none", "failed"), ("systemd", "passed"), (None, "unknown")]
)
def test_limits_that_do_nothing(home, driver, expected):
    does = Does(answers=driver is not None, info={"CgroupDriver": driver})
    assert status(seen(home, does=does), "rootless-limits") == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "passed"),
        ({"live-restore": False, "userland-proxy": True}, "passed"),
        ({"live-restore": True}, "failed"),
        ({"userland-proxy": False}, "failed"),
    ],
)
def test_directives_that_do_nothing(home, data, expected):
    home.put(CONFIG, data)
    assert status(seen(home), "rootless-directives") == expected


def test_ports_need_no_proxy_from_engine_28(home):
    home.put(CONFIG, {"userland-proxy": False})
    assert status(snapshot.read(INSTANCE, home, "28.0.0"), "rootless-directives") == "passed"


def test_the_chapter_says_nothing_of_the_systems_daemon(host):
    own = [control for control in CONTROLS if control.id.startswith("rootless-")]
    assert len(own) == 10
    for finding in findings.judge(host.seen(), own):
        assert finding.status == "not applicable"
