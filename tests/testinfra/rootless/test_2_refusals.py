# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that do not hold, and hosts that cannot carry a rootless daemon."""

from __future__ import annotations

import re

import pytest

testinfra_hosts = ["ansible://docker_hosts"]
STATE = "find /home /etc/subuid /etc/subgid /etc/passwd /etc/systemd /var/lib/systemd/linger"
STATE += " -not -path '*/.local/*' -type f | sort | xargs sha256sum; ls /var/lib/systemd/linger"


@pytest.fixture
def unchanged(host):
    """Assert that nothing on the host is other than before."""
    before = host.check_output(STATE)
    yield
    assert host.check_output(STATE) == before


def test_a_broken_option_of_one_user_leaves_both_daemons_as_they_were(
    rootless, users, alice, bob, unchanged
):
    process = alice.process
    # dockerd finds at start only that there is no such driver without cgroups v2.
    users[1]["options"]["exec-opts"] = ["native.cgroupdriver=systemd"]
    ended = rootless(users)
    assert ended.rc != 0
    assert "the former state was put back" in ended.stdout
    assert bob.info()["Labels"] == ["owner=bob"]
    assert alice.process == process


def test_a_link_in_the_home_leads_root_nowhere(rootless, users, host, bob):
    host.check_output("mv /home/bob/.config/docker /home/bob/.config/kept")
    host.check_output("ln -s /etc/docker /home/bob/.config/docker")
    before = host.check_output("sha256sum /etc/docker/daemon.json; ls -la /etc/docker")
    users[1]["options"]["labels"] = ["owner=mallory"]
    ended = rootless(users)
    host.check_output("rm /home/bob/.config/docker")
    host.check_output("mv /home/bob/.config/kept /home/bob/.config/docker")
    assert ended.rc != 0
    assert "/home/bob/.config/docker/daemon.json belongs to root" in ended.stdout
    assert host.check_output("sha256sum /etc/docker/daemon.json; ls -la /etc/docker") == before
    assert bob.info()["Labels"] == ["owner=bob"]


def test_what_would_not_start_or_stop_containers_is_refused(rootless, users, alice, bob, unchanged):
    processes = alice.process, bob.process
    users[0]["options"] = {"init": True}
    users[1]["options"]["userns-remap"] = "default"
    ended = rootless(users)
    assert ended.rc != 0
    assert "dockerd_rootless_allow_container_stop" in ended.stdout
    assert "A rootless daemon remaps no users" in ended.stdout
    assert (alice.process, bob.process) == processes
    assert alice.says("docker inspect web --format '{{.State.Running}}'") == "true"


SPOILED = (
    ("mv /usr/bin/newuidmap /root/", "mv /root/newuidmap /usr/bin/", "There is no newuidmap"),
    (
        "mv /usr/lib/systemd/user/dbus.socket /root/",
        "mv /root/dbus.socket /usr/lib/systemd/user/",
        "There is no bus for users",
    ),
    (
        "echo 0 > /root/zero; mount --bind /root/zero /proc/sys/user/max_user_namespaces",
        "umount /proc/sys/user/max_user_namespaces; rm /root/zero",
        "user.max_user_namespaces is 0",
    ),
    ("useradd --system svc", "userdel svc", "svc has no home"),
    (
        "mkdir -p /home/carol; mount -t tmpfs -o ro none /home/carol",
        "umount /home/carol; rmdir /home/carol",
        "/home/carol is mounted read-only",
    ),
)


def test_wrong_ground_is_named_before_anything_is_changed(rootless, users, host):
    for spoil, _mend, _words in SPOILED:
        host.check_output(spoil)
    before = host.check_output(STATE)
    try:
        ended = rootless([*users, {"name": "carol"}, {"name": "svc"}])
        assert host.check_output(STATE) == before
    finally:
        for _spoil, mend, _words in SPOILED:
            host.check_output(mend)
    assert ended.rc != 0
    assert "nothing was changed" in ended.stdout
    for _spoil, _mend, words in SPOILED:
        assert words in ended.stdout


def limited(hard: int) -> dict:
    return {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": hard}}}


@pytest.fixture
def granted(host, bob) -> int:
    """The most files that the manager of users can let anybody open."""
    show = "systemctl show user@%d.service --property=MainPID --value" % bob.uid
    limits = host.file("/proc/%s/limits" % host.check_output(show)).content_string
    return int(re.search("Max open files +[0-9]+ +([0-9]+)", limits).group(1))


def test_no_ulimit_is_set_that_the_host_does_not_grant(rootless, users, alice, bob, granted):
    """Nor for a daemon that does not run, of which no process tells."""
    process, wanted = alice.process, users[1]["options"]
    bob.says("systemctl --user stop docker.service")
    users[0]["options"] = users[1]["options"] = limited(granted + 1)
    ended = rootless(users)
    assert ended.rc != 0
    refusal = "nofile: this host grants at most %d, not %d" % (granted, granted + 1)
    for name in ("alice", "bob"):
        assert "%s (/home/%s/.config/docker/daemon.json" % (refusal, name) in ended.stdout
    assert "dockerd_rootless_options" in ended.stdout
    assert alice.process == process
    assert bob.run("systemctl --user is-active docker.service").stdout.strip() == "inactive"

    users[0]["options"], users[1]["options"] = {}, limited(granted)
    ended = rootless(users)
    assert ended.rc == 0, ended.stdout
    bob.has_image()
    assert bob.says("docker run --rm busybox sh -c 'ulimit -Hn'") == str(granted)
    users[1]["options"] = wanted
    assert rootless(users).rc == 0


def test_a_limit_that_only_the_started_daemon_shows_is_rolled_back(
    rootless, users, host, bob, unchanged
):
    path = "/home/bob/.config/systemd/user/docker.service.d/less.conf"
    users[1]["options"].update(limited(8192), init=True)
    host.check_output("printf '[Service]\\nLimitNOFILE=4096\\n' > %s", path)
    try:
        ended = rootless(users)
    finally:
        host.check_output("rm %s", path)
        bob.says("systemctl --user daemon-reload")
        bob.says("systemctl --user restart docker.service")
    assert ended.rc != 0
    assert "the former state was put back" in ended.stdout
    assert "nofile: this host grants at most 4096, not 8192" in ended.stdout
