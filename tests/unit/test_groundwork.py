# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from _dockerd import ground, groundwork, instance
from _dockerd.errors import Refused, RolledBack
from _dockerd.host import Result
from _dockerd.wanted import Wanted
from conftest import Directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to their users")
ALICE = [Wanted("alice")]
MOUNTS = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / %s %s - %s server:/ rw\n"
USABLE = [
    "/usr/bin/newuidmap",
    "/usr/bin/newgidmap",
    "/usr/bin/rootlesskit",
    "/usr/bin/slirp4netns",
    "/usr/sbin/dockerd",
    "/usr/share/docker.io/contrib/dockerd-rootless.sh",
    "/usr/lib/systemd/user/dbus.socket",
    "/run/systemd/system/.keep",
]


class Machine(Directory):
    """A directory in which the commands that matter have their effect."""

    def __init__(self, root):
        super().__init__(root)
        self.commands = []
        self.fails = ""
        self.before_each = lambda argv: None
        self.states = {"docker.service": "enabled", "docker.socket": "enabled"}

    def run(self, argv, *_rest, **_options):
        self.commands.append(" ".join(argv))
        self.before_each(argv)
        if self.fails and self.fails in self.commands[-1]:
            return Result(1, "", "it will not")
        if argv[0] == "useradd":
            self.join(argv[-1], 1001)
        elif argv[:2] == ["loginctl", "enable-linger"]:
            self.put("/var/lib/systemd/linger/" + argv[2], "")
            for name in ("bus", "systemd/private"):
                self.put("/run/user/%d/%s" % (self.uid(argv[2]), name), "")
        elif argv[:2] == ["loginctl", "disable-linger"]:
            self.remove("/var/lib/systemd/linger/" + argv[2])
        elif argv[:2] == ["systemctl", "show"]:
            blocks = [
                "Id=%s\nActiveState=inactive\nUnitFileState=%s" % (name, self.states.get(name, ""))
                for name in argv[2:]
                if not name.startswith("--")
            ]
            return Result(0, "\n\n".join(blocks), "")
        elif argv[0] == "systemctl" and argv[1] in ("mask", "unmask"):
            state = "masked" if argv[1] == "mask" else "disabled"
            self.states.update(dict.fromkeys(argv[2:], state))
        elif argv[:2] == ["systemctl", "enable"]:
            self.states.update(dict.fromkeys(argv[2:], "enabled"))
        return Result(0, "", "")

    def join(self, name, uid, home=""):
        home = home or "/home/" + name
        text = self.text("/etc/passwd") if self.stat("/etc/passwd") else ""
        self.put("/etc/passwd", "%s%s:x:%d:%d::%s:/bin/sh\n" % (text, name, uid, uid, home))
        os.makedirs(self.real(home), exist_ok=True)
        os.chown(self.real(home), uid, uid)


@pytest.fixture
def machine(tmp_path):
    """A host that can carry rootless daemons, with one user."""
    machine = Machine(str(tmp_path))
    for path in USABLE:
        machine.put(path, "")
    machine.join("alice", 1000)
    for path in ground.SUBIDS:
        machine.put(path, "bob:100000:65536\n")
    return machine


def test_from_nothing_and_no_further(machine):
    work = groundwork.prepare(machine, [*ALICE, Wanted("carol")])
    assert machine.text("/etc/subuid") == machine.text("/etc/subgid")
    assert machine.text("/etc/subuid") == (
        "bob:100000:65536\nalice:165536:65536\ncarol:231072:65536\n"
    )
    unit = machine.text(groundwork.UNIT)
    assert "ExecStart=/usr/share/docker.io/contrib/dockerd-rootless.sh\n" in unit
    assert "Environment=PATH=/usr/share/docker.io/contrib:/usr/local/bin:" in unit
    assert "Delegate=cpu cpuset io memory pids" in machine.text(groundwork.DELEGATE)
    user = machine.known("alice")
    meta = json.loads(machine.text(groundwork._context_path(user)))
    assert meta["Endpoints"]["docker"]["Host"] == "unix:///run/user/1000/docker.sock"
    settings = machine.stat("/home/alice/.docker/config.json")
    assert (settings.uid, settings.mode) == (1000, 0o600)
    assert machine.list(ground.LINGER) == ["alice", "carol"]
    assert [one["ready"] for one in work.users] == [True, True]
    assert work.users[0]["socket"] == "/run/user/1000/docker.sock"
    before, machine.commands = machine.tree(), []
    again = groundwork.prepare(machine, [*ALICE, Wanted("carol")])
    assert (again.done, again.diff, machine.tree()) == ([], [], before)


def test_a_prediction_touches_nothing_and_names_what_is_done(machine):
    before = machine.tree()
    predicted = groundwork.prepare(machine, ALICE, 80, check=True)
    assert machine.tree() == before
    assert not [one for one in machine.commands if not one.startswith("systemctl show")]
    assert groundwork.prepare(machine, ALICE, 80).done == predicted.done


def test_of_a_user_who_is_to_be_made_only_the_name_is_predicted(machine):
    work = groundwork.prepare(machine, [Wanted("carol")], check=True)
    assert "make the user carol" in work.done
    assert work.users == [{"name": "carol", "ready": False}]


def remove(path):
    return lambda machine: machine.remove(path)


def put(path, text):
    return lambda machine: machine.put(path, text)


def join(name, uid):
    return lambda machine: machine.join(name, uid)


@pytest.mark.parametrize(
    ("spoil", "wanted", "words"),
    [
        *(
            (remove(path), ALICE, "There is no (docker-rootlesskit or )?" + path.split("/")[-1])
            for path in USABLE[:6]
        ),
        (remove(USABLE[6]), ALICE, "There is no bus for users"),
        (
            lambda machine: machine.remove_tree("/run/systemd/system"),
            ALICE,
            "systemd does not run here",
        ),
        (put("/proc/sys/user/max_user_namespaces", "0\n"), ALICE, "max_user_namespaces is 0"),
        (
            put("/proc/sys/kernel/unprivileged_userns_clone", "0\n"),
            ALICE,
            "unprivileged_userns_clone is 0",
        ),
        (put("/proc/self/mountinfo", MOUNTS % ("/home", "rw", "nfs4")), ALICE, "is on nfs4"),
        (put("/proc/self/mountinfo", MOUNTS % ("/home/alice", "rw", "cifs")), ALICE, "on cifs"),
        (put("/proc/self/mountinfo", MOUNTS % ("/home", "ro", "ext4")), ALICE, "read-only"),
        (
            put("/proc/self/mountinfo", MOUNTS % ("/mnt", "rw", "vfat")),
            [Wanted("alice", data_root="/mnt/alice")],
            "/mnt/alice is on vfat",
        ),
        (
            lambda machine: machine.join("svc", 999, "/nonexistent"),
            [Wanted("svc")],
            "svc has no home",
        ),
        (lambda machine: os.chown(machine.real("/home/alice"), 0, 0), ALICE, "belongs to"),
        (lambda machine: machine.join("root", 0, "/root"), [Wanted("root")], "root needs no"),
        (lambda machine: None, [Wanted("carol", create=False)], "carol is no user of this host"),
        (lambda machine: None, ALICE * 2, "alice and alice are the same"),
        (join("twin", 1000), [*ALICE, Wanted("twin")], "alice and twin are the same user"),
        (join("1000", 1000), [Wanted("1000")], "'1000' is no name of a user"),
        *(
            (lambda machine: None, [Wanted("fine"), Wanted(name)], "%r is no name" % name)
            for name in ("", "no body", "-x", "New.User", "a/b", "7")
        ),
        *(
            (lambda machine: None, [Wanted("alice", listen=(address,))], "no address and port")
            for address in (
                *("2390", "web1:2390", "[::1:5", "::1:5", "[[::1]]:5", "[fe80::1%eth0]:5"),
                *("0.0.0.0:0", "0.0.0.0:70000", "0.0.0.0:\u0662390", ":2390", "[127.0.0.1]:5"),
            )
        ),
        *(
            (lambda machine: None, [Wanted("alice", data_root=place)], "no directory of its own")
            for place in ("docker", "/", "/home", "/home/alice", "/home/alice/x/..", "//")
        ),
        *(
            (lambda machine: None, [Wanted("carol", shell=shell)], "is no absolute path")
            for shell in ("bash", "/bin/sh:", "/bin/s h", "")
        ),
        (lambda machine: None, [Wanted("alice", listen=("[::]:443",))], "ports below 1024 are"),
        *(
            (
                lambda machine: None,
                [Wanted("alice", listen=(one,)), Wanted("carol", listen=(other,))],
                "alice and carol both listen on",
            )
            for one, other in (
                ("0.0.0.0:2377", "0.0.0.0:2377"),
                ("0.0.0.0:2377", "127.0.0.1:2377"),
                ("192.0.2.1:2377", "[::]:2377"),
            )
        ),
        (put("/etc/subuid", "bob:1:2\n" * (1 << 20)), ALICE, "/etc/subuid is .* bytes, more than"),
        (put("/etc/subuid", "alice:5:70000\nbob:6:1\n"), ALICE, "lines 1 and 2 both hold"),
        (put("/etc/login.defs", "SUB_UID_MAX 165535\n"), ALICE, "No 65536 ids are left"),
    ],
)
def test_wrong_ground_is_named_and_nothing_is_touched(machine, spoil, wanted, words):
    spoil(machine)
    before = {path: entry for path, entry in machine.tree().items() if "/rootless/" not in path}
    with pytest.raises(Refused, match=words) as caught:
        groundwork.prepare(machine, wanted)
    assert "nothing was changed" in str(caught.value)
    after = {path: entry for path, entry in machine.tree().items() if "/rootless/" not in path}
    assert after == before


@pytest.mark.parametrize(
    "line",
    [
        MOUNTS % ("/home", "rw,nosuid,nodev", "xfs"),
        MOUNTS % ("/homes", "rw", "nfs"),
        MOUNTS % ("/home/bob", "rw", "nfs"),
    ],
)
def test_other_file_systems_are_no_matter(machine, line):
    machine.put("/proc/self/mountinfo", line)
    groundwork.prepare(machine, ALICE)


def test_what_others_set_up_is_used_and_stays(machine):
    machine.put("/usr/lib/systemd/user/docker.service", "[Service]\n")
    machine.put(
        "/etc/systemd/system/user@.service.d/delegate.conf",
        "[Service]\nDelegate=cpu cpuset io memory pids\n",
    )
    machine.put("/usr/lib/systemd/system/user@.service", "[Service]\n")
    for path in ground.SUBIDS:
        machine.put(path, "alice:700000:65536\n")
    machine.put("/var/lib/systemd/linger/alice", "")
    machine.put("/run/user/1000/bus", "")
    machine.put("/run/user/1000/systemd/private", "")
    machine.put("/home/alice/.docker/config.json", '{"currentContext": "other"}')
    foreign = machine.tree()
    groundwork.prepare(machine, ALICE)
    assert not machine.stat(groundwork.UNIT)
    assert not machine.stat(groundwork.DELEGATE)
    assert foreign.items() <= machine.tree().items()
    groundwork.prepare(machine, [Wanted("alice", absent=True, purge=True)])
    assert foreign.items() <= machine.tree().items()


def test_what_is_ours_goes_with_the_last_user(machine):
    before = machine.tree()
    groundwork.prepare(machine, ALICE, 80)
    assert machine.text(groundwork.SYSCTL).endswith("ip_unprivileged_port_start=80\n")
    work = groundwork.prepare(machine, [Wanted("alice", absent=True)])
    gone = {path: entry for path, entry in machine.tree().items() if "hardened-docker" not in path}
    left = ("/etc/.pwd.lock", "/bus", "/private")  # the lock of accounts, and logind's work
    assert {path for path in gone if not path.endswith(left)} == set(before)
    assert machine.text("/etc/subuid") == "bob:100000:65536\n"
    assert "sysctl --write net.ipv4.ip_unprivileged_port_start=1024" in machine.commands
    assert work.users == [{"name": "alice", "ready": False}]
    assert groundwork.prepare(machine, [Wanted("alice", absent=True)]).done == []


def test_a_user_who_was_deleted_leaves_nothing(machine):
    groundwork.prepare(machine, [*ALICE, Wanted("carol")])
    state = instance.rootless(machine.known("carol")).manifest_path
    machine.put(state, "{}")
    passwd = machine.text("/etc/passwd")
    machine.put("/etc/passwd", passwd.partition("carol")[0])
    work = groundwork.prepare(machine, [*ALICE, Wanted("carol", absent=True)])
    assert len(work.done) == 2
    assert not machine.stat(state)
    assert machine.list(ground.LINGER) == ["alice"]
    assert groundwork.prepare(machine, [*ALICE, Wanted("carol", absent=True)]).done == []


def test_a_daemon_that_cannot_be_asked_is_left_and_the_others_are_served(machine, monkeypatch):
    groundwork.prepare(machine, ALICE)

    def ask(_host, one):
        raise Refused("%s runs and cannot be asked" % one.name)

    monkeypatch.setattr(groundwork, "_containers", ask)
    work = groundwork.prepare(machine, [Wanted("alice", absent=True), Wanted("carol")])
    assert work.failures == {"alice": "user:alice runs and cannot be asked"}
    assert "alice:165536:65536" in machine.text("/etc/subuid")
    assert work.users[1]["ready"]


def test_a_lock_of_accounts_that_cannot_be_had_is_named(machine):
    machine.put("/etc/.pwd.lock/astray", "")
    work = groundwork.prepare(machine, ALICE)
    assert work.failures == {"alice": "/etc/.pwd.lock: Is a directory"}


def test_who_cannot_go_leaves_the_others_alone(machine):
    groundwork.prepare(machine, ALICE)
    machine.fails = "loginctl disable-linger alice"
    work = groundwork.prepare(machine, [Wanted("alice", absent=True), Wanted("carol")])
    assert list(work.failures) == ["alice"]
    assert work.users[1]["ready"]


def test_ids_stay_while_containers_belong_to_them(machine):
    groundwork.prepare(machine, ALICE)
    data = instance.rootless(machine.known("alice")).data_root
    machine.put(data + "/overlay2/x", "")
    work = groundwork.prepare(machine, [Wanted("alice", absent=True)])
    assert "alice:165536:65536\n" in machine.text("/etc/subuid")
    assert "purge: true takes both" in work.notes[0]
    groundwork.prepare(machine, [Wanted("alice", absent=True, purge=True)])
    assert any(
        one.endswith("rootlesskit find %s -mindepth 1 -delete" % data) for one in machine.commands
    )
    assert machine.text("/etc/subuid") == "bob:100000:65536\n"


def test_ids_stay_wherever_the_containers_were(machine):
    groundwork.prepare(machine, ALICE)
    machine.put("/srv/docker/containers/x", "")
    config = instance.rootless(machine.known("alice")).config_path
    machine.put(config, '{"data-root": "/srv/docker"}')
    groundwork.prepare(machine, [Wanted("alice", absent=True)])
    machine.remove(config)  # it was the role's, and went with the daemon
    for _turn in range(2):
        groundwork.prepare(machine, [Wanted("alice", absent=True)])
        assert "alice:165536:65536\n" in machine.text("/etc/subuid")
    groundwork.prepare(machine, [Wanted("alice", absent=True, purge=True)])
    assert any("find /srv/docker -mindepth" in one for one in machine.commands)
    assert machine.text("/etc/subuid") == "bob:100000:65536\n"


@pytest.mark.parametrize("place", ["/home/alice", "/home", "/srv/other"])
def test_nothing_is_purged_but_what_a_daemon_keeps(machine, place):
    groundwork.prepare(machine, ALICE)
    machine.put("/home/alice/containers/x", "")
    machine.put("/home/containers/x", "")
    machine.put("/srv/other/x", "")
    config = instance.rootless(machine.known("alice")).config_path
    machine.put(config, json.dumps({"data-root": place}))
    groundwork.prepare(machine, [Wanted("alice", absent=True, purge=True)])
    assert not [one for one in machine.commands if "find" in one]
    assert "alice:165536:65536\n" in machine.text("/etc/subuid")


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff", b"x" * (5 << 20)])
def test_settings_that_cannot_be_read_stay_as_they_are(machine, text):
    machine.put("/home/alice/.docker/config.json", text)
    work = groundwork.prepare(machine, ALICE)
    assert machine.read("/home/alice/.docker/config.json", 1 << 30) == text
    assert "/home/alice/.docker/config.json cannot be read" in work.notes[0]


def test_a_home_behind_a_link_gets_a_data_root_without_one(machine):
    os.rename(machine.real("/home/alice"), machine.real("/srv") + "-home")
    os.symlink("/srv-home", machine.real("/home") + "/alice")
    (facts,) = groundwork.prepare(machine, ALICE).users
    assert facts["data_root"] == "/srv-home/.local/share/docker"
    (facts,) = groundwork.prepare(machine, [Wanted("alice", data_root="/data")]).users
    assert facts["data_root"] == "/data"


def test_bytes_that_are_no_text_stay(machine):
    machine.put("/etc/subuid", b"# caf\xe9\nbob:0x186a0:65536:note")
    groundwork.prepare(machine, ALICE)
    lines = machine.read("/etc/subuid").split(b"\n")
    assert lines == [b"# caf\xe9", b"bob:0x186a0:65536:note", b"alice:165536:65536", b""]


@pytest.mark.parametrize(
    ("sysctl", "profile", "written"),
    [
        ("0\n", None, False),
        ("1\n", None, True),
        ("1\n", "profile rootlesskit /usr/bin/rootlesskit flags=(unconfined) { userns, }", False),
        ("1\n", "profile other /usr/bin/other { userns, }", True),
    ],
)
def test_apparmor_only_where_it_restricts(machine, sysctl, profile, written):
    machine.put(groundwork.RESTRICTED, sysctl)
    if profile:
        machine.put("/etc/apparmor.d/one", profile)
    groundwork.prepare(machine, ALICE)
    assert bool(machine.stat(groundwork.APPARMOR)) == written
    loads = [one for one in machine.commands if one.startswith("apparmor_parser --replace")]
    assert len(loads) == written
    assert groundwork.prepare(machine, ALICE).done == []


def test_the_systems_daemon_goes_and_comes_back_as_it_was(machine):
    machine.states["docker.socket"] = "disabled"
    groundwork.prepare(machine, ALICE, exclusive=True)
    assert machine.states["docker.service"] == machine.states["docker.socket"] == "masked"
    assert groundwork.prepare(machine, ALICE, exclusive=True).done == []
    groundwork.prepare(machine, ALICE)
    assert machine.states == {"docker.service": "enabled", "docker.socket": "disabled"}
    assert groundwork.prepare(machine, ALICE).done == []


def test_a_run_that_died_while_it_stopped_the_systems_daemon_is_finished(machine):
    class Killed(BaseException):
        pass

    def die(argv):
        if argv[:2] == ["systemctl", "disable"]:
            raise Killed

    machine.before_each = die
    with pytest.raises(Killed):
        groundwork.prepare(machine, ALICE, exclusive=True)
    machine.before_each = lambda argv: None
    machine.states["docker.socket"] = "disabled"  # as far as the first run came
    groundwork.prepare(machine, ALICE, exclusive=True)
    assert machine.states["docker.service"] == "masked"
    groundwork.prepare(machine, ALICE)
    assert machine.states == {"docker.service": "enabled", "docker.socket": "enabled"}


def test_a_systems_daemon_that_somebody_unmasked_is_masked_again(machine):
    groundwork.prepare(machine, ALICE, exclusive=True)
    machine.states = {"docker.service": "disabled", "docker.socket": "masked"}
    assert "mask it" in groundwork.prepare(machine, ALICE, exclusive=True).done
    assert machine.states["docker.service"] == "masked"
    groundwork.prepare(machine, ALICE)
    assert machine.states == {"docker.service": "enabled", "docker.socket": "enabled"}


def test_a_mask_that_does_not_hold_is_undone(machine):
    machine.fails = "systemctl mask"
    with pytest.raises(RolledBack, match="it will not"):
        groundwork.prepare(machine, ALICE, exclusive=True)
    assert machine.states["docker.service"] == "enabled"


def test_a_unit_file_in_the_way_of_the_mask_is_named(machine):
    machine.put("/etc/systemd/system/docker.service", "[Service]\n")
    with pytest.raises(Refused, match="which systemctl mask does not replace"):
        groundwork.prepare(machine, ALICE, exclusive=True)


def test_a_step_that_fails_is_finished_by_the_next_run(machine):
    machine.fails = "loginctl enable-linger alice"
    work = groundwork.prepare(machine, [*ALICE, Wanted("carol")])
    assert list(work.failures) == ["alice"] and "it will not" in work.failures["alice"]
    assert [one["ready"] for one in work.users] == [False, True]
    machine.fails = ""
    assert any("at boot" in step for step in groundwork.prepare(machine, ALICE).done)
    assert groundwork.prepare(machine, ALICE).done == []
