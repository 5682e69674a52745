# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground: subordinate ids, the system's daemon out of the way, and users who go."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://docker_hosts"]
# Neighbours, a gap that is too small, a line twice, one that is none, and carol's own by number.
CROWD = """\
daniel:240000:50000
daniel:300000:65536
daniel:300000:65536
nonsense
%d:400000:65536
%d:400000:65536
"""


def ranges(host, path: str) -> list:
    lines = host.file(path).content_string.splitlines()
    fields = [line.split(":") for line in lines if line.count(":") == 2]
    return [(name, int(start), int(start) + int(count)) for name, start, count in fields]


def test_ids_among_neighbours(rootless, users, host, alice):
    for name in ("carol", "erin"):  # useradd gives them ids, which is not what is tried here
        host.check_output("useradd --create-home %s", name)
        host.check_output("sed -i /%s/d /etc/subuid /etc/subgid" % name)
    uid = host.user("carol").uid
    for path in ("/etc/subuid", "/etc/subgid"):
        host.check_output("printf %%s %s >> %s", CROWD % (uid, uid), path)
    process = alice.process
    ended = rootless([*users, {"name": "carol"}, {"name": "erin"}])
    assert ended.rc == 0, ended.stdout
    for path in ("/etc/subuid", "/etc/subgid"):
        text = host.file(path).content_string
        assert "\ncarol:400000:65536\n" in text  # hers is kept, once and by name
        assert text.count("400000") == 1
        assert text.count("daniel:300000:65536\nnonsense\n") == 1
        found = ranges(host, path)
        erin = [one for one in found if one[0] == "erin"]
        assert erin == [("erin", 465536, 531072)]  # the first gap that is large enough
        for name, start, end in found:
            assert name == "erin" or end <= erin[0][1] or erin[0][2] <= start
    for name in ("carol", "erin"):
        socket = "unix:///run/user/%d/docker.sock" % host.user(name).uid
        assert host.run("docker --host %s info" % socket).rc == 0
    assert alice.process == process


def test_who_goes_leaves_the_containers(rootless, users, host, alice):
    gone = [
        {"name": "carol", "state": "absent", "purge": True},
        {"name": "erin", "state": "absent"},
    ]
    ended = rootless([*users, *gone])
    assert ended.rc == 0, ended.stdout
    for name in ("carol", "erin"):
        uid = host.user(name).uid
        assert not host.file("/run/user/%d/docker.sock" % uid).exists
        assert not host.file("/var/lib/systemd/linger/%s" % name).exists
        assert not host.file("/home/%s/.config/docker/daemon.json" % name).exists
        assert host.file("/home/%s/.local/share/docker" % name).exists == (name == "erin")
    text = host.file("/etc/subuid").content_string
    assert "carol:400000:65536" in text  # that line was not ours
    assert "erin:" in text  # the containers' files belong to these ids
    ended = rootless([*users, {"name": "erin", "state": "absent", "purge": True}])
    assert ended.rc == 0, ended.stdout
    assert "erin:" not in host.file("/etc/subuid").content_string
    assert not host.file("/home/erin/.local/share/docker").exists
    assert "name=rootless" in alice.info()["SecurityOptions"]


@pytest.fixture
def survivor_runs(host):
    host.check_output("docker start survivor")
    return host.check_output("docker inspect --format '{{.State.Pid}}' survivor")


def test_the_systems_daemon_goes_and_comes_back(rootless, users, host, alice, survivor_runs):
    process, wanted = alice.process, {"dockerd_rootless_exclusive": True}
    ended = rootless(users, **wanted)
    assert ended.rc != 0
    assert "The daemon of the system has 1 running containers" in ended.stdout
    assert host.service("docker").is_running
    ended = rootless(users, **wanted, dockerd_rootless_allow_container_stop=True)
    assert ended.rc == 0, ended.stdout
    for unit in ("docker.service", "docker.socket"):
        assert host.run("systemctl is-active %s" % unit).stdout.strip() == "inactive"
        assert host.run("systemctl is-enabled %s" % unit).stdout.strip() == "masked"
    assert not host.socket("tcp://0.0.0.0:2376").is_listening
    again = rootless(users, **wanted)
    assert "changed=0" in again.stdout.partition("PLAY RECAP")[2], again.stdout
    ended = rootless(users)
    assert ended.rc == 0, ended.stdout
    pid = host.check_output("docker inspect --format '{{.State.Pid}}' survivor")
    assert pid == survivor_runs  # with live-restore it never stopped
    assert host.service("docker").is_enabled
    assert host.socket("tcp://0.0.0.0:2376").is_listening
    assert alice.process == process
