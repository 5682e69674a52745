# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two users' daemons after a reboot of their host."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://docker_hosts"]
RUN = "docker run --rm busybox "


@pytest.fixture(params=["alice", "bob"])
def user(request, account):
    user = account(request.param)
    user.has_image()
    return user


def test_its_daemon_came_back_with_the_host(user):
    assert user.says("systemctl --user is-active docker.service") == "active"
    assert user.says("systemctl --user is-enabled docker.service") == "enabled"
    assert "name=rootless" in user.info()["SecurityOptions"]


def test_root_in_a_container_is_the_user_and_its_ids_are_the_users(user):
    assert user.says(RUN + "id -u") == "0"
    lines = user.says(RUN + "cat /proc/self/uid_map").splitlines()
    assert [list(map(int, line.split())) for line in lines] == [
        [0, user.uid, 1],
        [1, user.start, 65536],
    ]


def test_no_id_is_two_users(alice, bob):
    assert abs(alice.start - bob.start) >= 65536


def test_the_directives_are_live(host, user, other):
    assert user.says(RUN + "grep NoNewPrivs /proc/self/status").split() == ["NoNewPrivs:", "1"]
    options = user.says("docker network inspect bridge --format '{{json .Options}}'")
    assert '"com.docker.network.bridge.enable_icc":"false"' in options
    user.says("docker run --detach --name logged busybox true")
    logs = user.says("docker inspect logged --format '{{json .HostConfig.LogConfig.Config}}'")
    user.says("docker rm logged")
    assert '"max-size":"10m"' in logs
    assert user.says(RUN + "sh -c 'ulimit -n'") == "8192"
    assert (user.info()["Labels"] or []) == (["owner=bob"] if user.name == "bob" else [])


def test_a_container_does_not_reach_the_loopback_of_the_host(host, user):
    # slirp4netns has the host's loopback at .2 unless told not to; sshd listens everywhere.
    done = user.run("docker run --rm --network host busybox nc -w 2 -z 10.0.2.2 22")
    assert done.rc == 1, done


def test_published_ports_reach_other_hosts(alice, other, address):
    assert alice.says("docker inspect web --format '{{.State.Running}}'") == "true"
    page = (
        "curl --silent --output /dev/null --max-time 5 --write-out '%%{http_code}' http://%s:8081/"
    )
    assert other.check_output(page % address) == "404"


@pytest.mark.parametrize(("one", "another"), [("alice", "bob"), ("bob", "alice")])
def test_each_is_refused_at_the_others_socket(account, one, another):
    one, another = account(one), account(another)
    done = one.run("docker --host unix:///run/user/%d/docker.sock version" % another.uid)
    assert done.rc != 0
    assert "permission denied" in done.stderr
    done = one.run("docker --host unix:///run/docker.sock version")
    assert "permission denied" in done.stderr


def test_the_systems_daemon_is_another(host, user):
    assert user.info()["ID"] != host.check_output("docker info --format '{{.ID}}'")


def test_files_of_the_daemon_belong_to_the_user(host, user):
    names = [".config/docker/daemon.json", ".config/systemd/user/docker.service.d/hardened.conf"]
    names += [".docker/config.json", ".docker/contexts/meta"]
    for name in names:
        file = host.file("/home/%s/%s" % (user.name, name))
        assert file.user == user.name, name
    if user.name == "alice":
        key = host.file("/home/alice/.config/docker/tls/server-key.pem")
        assert (key.user, key.mode) == ("alice", 0o400)


CLIENT = "curl --silent --show-error --fail --max-time 5 --cacert /root/.docker/operator/ca.pem"
CERTIFICATE = " --cert /root/.docker/operator/cert.pem --key /root/.docker/operator/key.pem"


def test_mutual_tls_from_another_host(alice, other, address):
    url = " https://%s:2377/" % address
    assert '"name=rootless"' in other.check_output(CLIENT + CERTIFICATE + url + "info")
    refused = other.run(CLIENT + url + "_ping")
    assert refused.rc != 0
    assert "certificate" in refused.stderr
    assert other.run("curl --silent --fail --max-time 5 http://%s:2377/_ping" % address).rc != 0


def test_containers_do_not_reach_the_listener_in_the_namespace(alice):
    gateway = alice.says(RUN + "ip route").split()[2]
    assert alice.run("docker run --rm busybox nc -w 2 -z %s 2377" % gateway).rc == 1
