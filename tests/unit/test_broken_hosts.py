# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on which nothing is as it should be: a finding or 'could not be judged', each time.

Never a traceback, never a pass of what could not be read, never longer than ten seconds.
"""

from __future__ import annotations

import json
import os
import time

import pytest
from _dockerd import command, findings
from _dockerd.directives import DIRECTIVES
from conftest import CONFIG, SERVICE, SOCKET
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TLS = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
DROPIN = "/etc/systemd/system/docker.service.d/a.conf"
DEFAULTS = "/etc/default/docker"
MANIFEST = "/var/lib/hardened-docker/system/manifest.json"
REGISTRY = "/etc/docker/certs.d/hub.example/ca.crt"


def fifo(path):
    os.mkfifo(path)


def directory(path):
    os.mkdir(path)


def loop(path):
    os.symlink(os.path.basename(path), path)


def dangling(path):
    os.symlink("/nowhere/at/all", path)


def endless(path):
    os.symlink("/dev/zero", path)


def huge(path):
    with open(path, "wb") as file:
        file.truncate(1 << 30)


def socket(path):
    import socket as sockets

    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # a socket's name is short, unix(7)
    try:
        sockets.socket(sockets.AF_UNIX).bind(os.path.basename(path))
    finally:
        os.chdir(here)


def noise(path):
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * 64)


def nothing(path):
    open(path, "wb").close()


def one_line(path):
    with open(path, "wb") as file:
        file.write(b"[" * 2_000_000)


BROKEN = [fifo, directory, loop, dangling, huge, socket, noise, nothing, one_line]
FILES = [
    *(CONFIG, SERVICE, SOCKET, DROPIN, DEFAULTS, MANIFEST, REGISTRY),
    *("/ca.pem", "/cert.pem", "/key.pem", "/etc/passwd", "/etc/group", "/etc/hostname"),
    *("/var/lib/dpkg/status", "/home/ci/.config/systemd/user/docker.service"),
]
# What must not pass where daemon.json cannot be read.
OF_THE_FILE = {
    *("config-parses", "config-accepted", "icc", "no-new-privileges", "live-restore", "registries"),
    *("iptables", "seccomp", "log-level", "userland-proxy", "ulimits", "listener-verified"),
}


def judge(host, capsys):
    """Run the command within its time; its status and what it found."""
    begun = time.monotonic()
    code = command.main(["--root", host.root, "--engine-version", "26.1.5", "--format", "json"])
    assert time.monotonic() - begun < 10
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, json.loads(printed.out)


def put(host, path, make):
    target = host.real(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        os.unlink(target)
    make(target)


@pytest.mark.parametrize("make", BROKEN)
@pytest.mark.parametrize("path", FILES)
def test_something_else_in_the_place_of_a_file(host, capsys, pair, path, make):
    host.put("/ca.pem", pair[0])
    host.put("/cert.pem", pair[0])
    host.put("/key.pem", pair[1])
    if path != CONFIG:
        host.put(CONFIG, TLS)
    put(host, path, make)
    code, result = judge(host, capsys)
    statuses = {one["id"]: one["status"] for one in result["findings"]}
    assert not [one for one in result["findings"] if "this control failed" in one["evidence"]]
    absent = make is dangling  # which is no file at all, as dockerd sees it
    if path == CONFIG and make not in (nothing, dangling):
        assert code in (findings.FINDINGS, findings.NO_VERDICT)
        assert not [name for name in OF_THE_FILE if statuses[name] == "passed"]
        assert result["starts"] is not True
    if path in ("/ca.pem", "/cert.pem", "/key.pem"):
        assert statuses["certificate-usable"] != "passed" or absent
        assert result["starts"] is not True
    if path in (SERVICE, SOCKET, DROPIN) and make in (fifo, directory, loop, socket, huge):
        assert result["starts"] is None
        assert code == findings.NO_VERDICT


def test_a_file_without_end(host, capsys):
    """A link out of the root resolves below it; on the live host this would be /dev/zero."""
    put(host, CONFIG, endless)
    assert judge(host, capsys)[1]["starts"] is None  # there is no /dev/zero in that root
    with pytest.raises(Exception, match="no regular file"):
        command.Host().read("/dev/zero")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([CONFIG, SERVICE, SOCKET, DROPIN, DEFAULTS, MANIFEST, "/etc/passwd"]),
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(
            st.sampled_from(
                [
                    *("[Service]\n", "[Socket]\n", "ExecStart=", "\\\n", '"', "'", "$DOCKER_OPTS"),
                    *("ListenStream=", "2375", "/run/docker.sock\n", "-H", " tcp://", ":1\n", "${"),
                    *("{", "}", "[", "]", ":", ",", '"hosts"', '"tls"', "null", "true", "1e999"),
                    *("root:x:0:0", "::", "\0", "\n", "=", "%n", "%", ";", "\ufeff"),
                ]
            ),
            max_size=25,
        ).map(lambda words: "".join(words).encode()),
    ),
)
def test_whatever_stands_in_a_file(host, capsys, path, data):
    host.put(path, data)
    code, result = judge(host, capsys)
    assert code in (0, 1, 2)
    assert not [one for one in result["findings"] if "this control failed" in one["evidence"]]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(sorted(DIRECTIVES)), json_values, max_size=4))
def test_whatever_a_directive_holds(host, capsys, data):
    host.put(CONFIG, data)
    found = judge(host, capsys)[1]["findings"]
    assert not [one for one in found if "this control failed" in one["evidence"]]
