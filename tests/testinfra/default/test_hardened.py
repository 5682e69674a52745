# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hardened host does."""

from __future__ import annotations

testinfra_hosts = ["ansible://docker_hosts"]


def test_daemon_runs_what_it_is_told(info):
    now = info()
    assert now["LiveRestoreEnabled"] is True
    assert now["Debug"] is False


def test_container_survived(survivor):
    survivor()


def test_new_containers_have_the_default_limits(host):
    run = "docker run --rm busybox %s"
    assert host.check_output(run % "sh -c 'ulimit -n'") == "8192"
    assert "NoNewPrivs:\t1" in host.check_output(run % "grep NoNewPrivs /proc/self/status")


def test_unix_socket_belongs_to_whom_it_should(host):
    socket = host.file("/run/docker.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)


def test_private_key_is_roots_alone(host):
    key = host.file("/etc/docker/tls/server-key.pem")
    assert (key.user, key.group, key.mode) == ("root", "root", 0o400)


def test_nothing_is_left_of_the_transaction(host):
    assert not host.file("/var/lib/hardened-docker/system/transaction").exists
    assert host.file("/var/lib/hardened-docker/system").mode == 0o700
