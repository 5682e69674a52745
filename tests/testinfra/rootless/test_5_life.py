# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on beside the role: upgrades, users at work, and users who mean harm."""

from __future__ import annotations

import subprocess

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

# As dpkg does it: another file of the same name, and the package's own script after it.
UPGRADE = """
file=$(readlink --canonicalize "$(command -v dockerd)")
cp --preserve "$file" "$file.new" && mv "$file.new" "$file"
DEBIAN_FRONTEND=noninteractive dpkg-reconfigure docker.io
"""


@pytest.fixture
def logged_in(host, address):
    """Log a user in by SSH for as long as the test runs; the number of a process of theirs."""
    key = host.ansible.get_variables()["ansible_ssh_private_key_file"]
    ends = []

    def log_in(user) -> str:
        home = "/home/" + user.name
        host.check_output("install -d -o %s -m 0700 %s/.ssh", user.name, home)
        host.check_output("install -o %s /root/.ssh/authorized_keys %s/.ssh/", user.name, home)
        words = ["ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
        words += ["-o", "UserKnownHostsFile=/dev/null", "%s@%s" % (user.name, address)]
        session = subprocess.Popen(
            [*words, "echo $$ && exec docker events"], stdout=subprocess.PIPE, text=True
        )
        ends.append(session)
        return session.stdout.readline().strip()

    yield log_in
    for session in ends:
        session.terminate()
        session.wait()


def test_an_upgrade_and_a_login_meanwhile(rootless, users, host, alice, bob, logged_in):
    before = {user.name: user.process for user in (alice, bob)}
    shell = logged_in(alice)
    assert "alice" in host.check_output("loginctl list-sessions")
    host.check_output(UPGRADE)
    assert (alice.process, bob.process) == (before["alice"], before["bob"])
    users[0].setdefault("options", {})["labels"] = ["owner=alice"]
    ended = rootless(users)
    assert ended.rc == 0, ended.stdout
    # She has containers, which would end; what a reload brings in is there, and her shell, too.
    assert "was replaced since, as by an upgrade, and goes on" in ended.stdout
    assert alice.process == before["alice"]
    assert alice.info()["Labels"] == ["owner=alice"]
    assert host.check_output("cat /proc/%s/comm" % shell) == "docker"
    assert bob.process != before["bob"]
    assert "changed=0" in rootless(users).stdout.partition("PLAY RECAP")[2]
    users[0]["options"] = {}
    ended = rootless(users, dockerd_rootless_allow_container_stop=True)
    assert ended.rc == 0, ended.stdout
    assert alice.process != before["alice"]
    assert alice.says("docker inspect web --format '{{.State.Running}}'") == "true"


MEAN = """
mkdir -p /home/bob/mean && cd /home/bob/mean && touch uids && chmod 0666 uids
for name in dockerd docker runuser env systemctl rootlesskit; do
  printf '#!/bin/sh\\nid -u >> /home/bob/mean/uids\\n' > $name && chmod 0755 $name
done
cat > /home/bob/.config/systemd/user/docker.service.d/test.conf <<'UNIT'
[Service]
Environment=PATH=/home/bob/mean:/usr/bin:/bin BASH_ENV=/home/bob/mean/dockerd
%s
UNIT
"""


@pytest.mark.parametrize("line", ["", "ExecStart=\nExecStart=/home/bob/mean/dockerd"])
def test_no_program_of_a_user_runs_as_root(rootless, users, host, bob, line):
    host.check_output("bash -c %s", MEAN % line)
    try:
        host.ansible("hardened.docker.dockerd_validate", "", check=False)
        rootless(users, "--check")
        ran = set(host.file("/home/bob/mean/uids").content_string.split())
    finally:
        host.check_output("rm -r /home/bob/mean")
        host.check_output("rm /home/bob/.config/systemd/user/docker.service.d/test.conf")
    assert ran == {str(bob.uid)}


# Word for word the path leads to what is root's own, and for the kernel behind a link of bob's.
ASTRAY = """
mkdir -p /home/bob/1/2/3 /home/bob/var/lib/hardened-docker/$(id -u bob)
ln -s /home/bob/1/2/3 /home/bob/l
ln -s /etc/profile.d/bob.sh /home/bob/var/lib/hardened-docker/$(id -u bob)/x
chown -hR bob: /home/bob/1 /home/bob/l /home/bob/var
printf '[Service]\\nExecStart=\\nExecStart=%s --config-file %s\\n' \
  /usr/share/docker.io/contrib/dockerd-rootless.sh \
  /home/bob/l/../../../var/lib/hardened-docker/$(id -u bob)/x \
  > /home/bob/.config/systemd/user/docker.service.d/test.conf
"""


def test_no_path_of_a_user_s_has_root_s_rights(rootless, users, host):
    host.check_output("sh -c %s", ASTRAY)
    try:
        ended = rootless(users)
        assert not host.file("/etc/profile.d/bob.sh").exists
    finally:
        host.check_output("rm -r /home/bob/1 /home/bob/l /home/bob/var")
        host.check_output("rm /home/bob/.config/systemd/user/docker.service.d/test.conf")
    assert ended.rc != 0
    assert rootless(users).rc == 0


def test_a_file_in_a_group_of_the_user_s_comes_back(rootless, users, host, bob):
    """The rights of a user do not give a file to a group that the user is in by root's grace."""
    path = "/home/bob/.config/docker/daemon.json"
    host.check_output("chgrp adm %s", path)
    users[1]["options"]["exec-opts"] = ["native.cgroupdriver=systemd"]
    ended = rootless(users)
    assert ended.rc != 0
    assert "the former state was put back." in ended.stdout
    assert bob.info()["Labels"] == ["owner=bob"]
    assert host.file(path).group == "adm"
    del users[1]["options"]["exec-opts"]
    assert rootless(users).rc == 0  # it gives the file to bob's own
