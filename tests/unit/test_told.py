# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from conftest import CONFIG, SERVICE


def test_words_that_are_no_flags(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd serve -D -- --icc\n")
    assert [word.text for word in host.told().arguments] == ["serve", "--icc"]


@pytest.mark.parametrize(
    ("data", "on"),
    [
        # moby daemon/config/config.go configValuesSet, IsValueSet: seen with 26.1.5 and 28.5.2
        ({"w": {"tlsverify": False}}, True),
        ({"proxies": {"tlsverify": None}}, True),
        ({"log-opts": {"tlsverify": "x"}}, False),
        ({"w": {"tls": True}}, False),
    ],
)
def test_tlsverify_within_an_object_turns_tls_on(host, data, on):
    host.put(CONFIG, data)
    assert host.told().tls == on


OPEN = "tcp://0.0.0.0:2375"


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\n"])
def test_white_space_hides_no_listener_of_the_file(host, blank):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd\n")
    host.put(CONFIG, {"hosts": [blank + OPEN + blank]})
    assert [(one.host, one.port) for one in host.told().tcp] == [("0.0.0.0", 2375)]


@pytest.mark.parametrize(
    "text",
    [
        'ExecStart=/usr/sbin/dockerd -H " tcp://0.0.0.0:2375"',
        'Environment="X=-H tcp://0.0.0.0:2375"\nExecStart=/usr/sbin/dockerd ${X}',
    ],
)
def test_white_space_hides_no_listener_of_a_flag(host, text):
    host.put(SERVICE, "[Service]\n%s\n" % text)
    assert [(one.host, one.port) for one in host.told().tcp] == [("0.0.0.0", 2375)]


@pytest.mark.parametrize(
    ("command", "data", "seen"),
    [
        ("-H fd://", {}, True),
        ("", {"hosts": ["fd://"]}, True),
        ("", {"hosts": ["unix://"]}, False),
    ],
)
def test_another_socket_unit(host, command, data, seen):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd %s\n" % command)
    host.put(CONFIG, data)
    host.put(
        "/etc/systemd/system/other.socket",
        "[Socket]\nListenStream=2375\nService=docker.service\n",
    )
    assert [one.port for one in host.told().tcp] == ([2375] if seen else [])


@pytest.mark.parametrize(
    ("binary", "wrapped"),
    [
        ("/usr/bin/dockerd", False),
        ("dockerd", False),
        ("/usr/bin/dockerd-rootless.sh", False),
        ("/opt/link", False),
        ("/usr/local/bin/start", True),
        ("/usr/bin/nice dockerd", True),
    ],
)
def test_what_runs_dockerd(host, binary, wrapped):
    os.makedirs(host.real("/opt"))
    os.symlink("../usr/bin/dockerd", host.real("/opt") + "/link")
    host.put(SERVICE, "[Service]\nExecStart=%s -H %s --nosuch x\n" % (binary, OPEN))
    told = host.told()
    assert bool(told.wrapper) == wrapped
    assert bool(told.flags) != wrapped
    assert bool(told.listeners) and bool(told.tcp) != wrapped


@pytest.mark.parametrize("target", ["/srv/daemon.json", "../../../../daemon.json"])
def test_a_link_out_of_the_root(host, target):
    os.makedirs(host.real("/etc/docker"))
    os.symlink(target, host.real("/etc/docker") + "/daemon.json")
    told = host.told()
    assert told.document is None
    assert "daemon.json, which is not there below the root" in told.unreadable


def test_a_directory_that_is_a_link_out_of_the_root(host):
    os.symlink("/srv/docker", host.real("/etc") + "/docker")
    assert "is a link to /srv/docker/daemon.json" in host.told().unreadable


def test_what_is_deeper_than_we_read_is_not_broken(host):
    host.put(CONFIG, '{"a": ' + "[" * 150 + "]" * 150 + "}")
    told = host.told()
    assert told.document is None and not told.error and "deeper" in told.unreadable


def test_an_absent_file_in_a_directory_behind_a_link(host):
    os.makedirs(host.real("/run/docker"))
    os.symlink("/run/docker", host.real("/etc") + "/docker")
    assert host.told().document is not None
