# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that other audit tools judge wrongly, each with what they say and what is right.

The tools read daemon.json and process lists with regular expressions; their verdicts were taken
from docker-bench-security 1.6.1, Lynis (2026-01), the dev-sec profile 2.1.4 and from the issues
that their users opened.
"""

from __future__ import annotations

import json
import os

import pytest
from _dockerd import findings, judgement, snapshot
from _dockerd.controls import CONTROLS
from _dockerd.host import Stat
from _dockerd.instance import discover
from conftest import CONFIG, SERVICE, SHOWN, SOCKET, running

BY_ID = {control.id: control for control in CONTROLS}
TLS = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
DROPIN = "/etc/systemd/system/docker.service.d/flags.conf"
SOCKETS = "/etc/systemd/system/docker.socket.d/tcp.conf"


def told(flags: str) -> str:
    """A drop-in that gives dockerd these flags."""
    return "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd %s\n" % flags


def verdicts(seen) -> dict:
    return {one.control.id: one.status for one in findings.judge(seen, CONTROLS)}


# What the host has, the control, our verdict; above each, what the peer says of it.
CASES = [
    # 2.7: INFO, not listening on TCP. A no-break space in its source makes the test a command.
    ({DROPIN: told("-H tcp://0.0.0.0:2375")}, "listener-verified", "failed"),
    # 2.7: PASS, because the word tlsverify is on the command line.
    ({DROPIN: told("-H tcp://:2376 --tlsverify=false")}, "listener-verified", "failed"),
    # 2.7: INFO with two listeners.
    ({DROPIN: told("-H tcp://:2375 -H tcp://:2377")}, "listener-verified", "failed"),
    # 2.7: INFO for an array over several lines (issue 498).
    (
        {CONFIG: '{\n "hosts": [\n  "fd://",\n  "tcp://0.0.0.0:2375"\n ]\n}'},
        "listener-verified",
        "failed",
    ),
    # 2.7: WARN, TCP without TLS, for correct mutual TLS.
    ({CONFIG: {"hosts": ["tcp://0.0.0.0:2376"], **TLS}}, "listener-verified", "passed"),
    # 2.7: WARN for a logging driver's address (issue 498).
    (
        {
            CONFIG: {
                "log-driver": "gelf",
                "log-opts": {"gelf-address": "tcp://loghost:12201", "tag": "host"},
            }
        },
        "listener-verified",
        "not applicable",
    ),
    # 2.7: INFO; systemd opens the port. dockerd itself does not warn either.
    ({SOCKETS: "[Socket]\nListenStream=2375\n"}, "listener-verified", "failed"),
    # 2.7: PASS; any client that the system's store trusts is let in.
    (
        {CONFIG: {"hosts": ["tcp://:2376"], **{**TLS, "tlscacert": None}}},
        "listener-verified",
        "failed",
    ),
    # 2.3: PASS for each of these; the flags are never looked at.
    ({DROPIN: told("-H fd:// --log-level=debug")}, "log-level", "failed"),
    ({DROPIN: told("-H fd:// -l debug")}, "log-level", "failed"),
    ({DROPIN: told("-H fd:// -D")}, "log-level", "failed"),
    ({CONFIG: {"debug": True}}, "log-level", "failed"),
    ({"/etc/default/docker": 'DOCKER_OPTS="--debug"\n'}, "log-level", "failed"),
    # 2.4: PASS.
    ({CONFIG: {"ip6tables": False}}, "iptables", "failed"),
    ({CONFIG: '{"iptables": false,}'}, "iptables", "unknown"),
    # 2.5: PASS for a file that dockerd cannot read, and for plain mirrors.
    ({CONFIG: '{"insecure-registries": ["10.0.0.0/8"],}'}, "registries", "unknown"),
    ({CONFIG: {"registry-mirrors": ["http://mirror.example"]}}, "registries", "failed"),
    # 2.5: WARN for this very host (issue 529).
    ({CONFIG: {"insecure-registries": ["127.0.0.0/8"]}}, "registries", "passed"),
    # 2.2: WARN for a file on one line (issues 480, 524).
    ({CONFIG: '{"icc":false,"ip-masq":true}'}, "icc", "passed"),
    # 2.2: PASS; the word false stands near, in another directive's value.
    ({CONFIG: '{"icc": true, "ip-forward": false}'}, "icc", "failed"),
    # 2.8: PASS for a key that is there and means nothing (issue 537).
    ({CONFIG: {"default-ulimits": None}}, "ulimits", "failed"),
    # 2.9: PASS for the flag without a value.
    ({DROPIN: told("-H fd:// --userns-remap=")}, "userns-remap", "failed"),
    # 2.10: PASS whatever stands there.
    ({CONFIG: {"cgroup-parent": "/somewhere"}}, "cgroup-parent", "failed"),
    # 2.13: PASS; only json-file counts as local there.
    ({CONFIG: {"log-driver": "none"}}, "logs-remote", "failed"),
    ({CONFIG: {"log-driver": "local"}}, "logs-remote", "failed"),
    # 2.14 and 2.15: PASS, because the flag's name is there.
    ({DROPIN: told("-H fd:// --no-new-privileges=false")}, "no-new-privileges", "failed"),
    ({DROPIN: told("-H fd:// --live-restore=false")}, "live-restore", "failed"),
    # 2.18: INFO, deprecated, on every engine since 20.10.
    ({CONFIG: {"experimental": True}}, "experimental", "failed"),
    # dev-sec demands that defaults be written down.
    ({CONFIG: {}}, "iptables", "passed"),
    # Nothing says that this is not applied (moby issue 32611).
    ({CONFIG: {"group": "ci"}}, "group-ignored", "failed"),
    # The name that the documentation's example has is accepted and does nothing.
    ({CONFIG: {"containerd-plugins-namespace": "x"}}, "config-ignored", "failed"),
    # A role of a peer writes this one; dockerd takes it and applies nothing.
    ({CONFIG: {"default-ulimit": ["nofile=1024:2048"]}}, "config-ignored", "failed"),
    ({CONFIG: {"authorization-plugin": ["opa"]}}, "config-ignored", "failed"),
    ({CONFIG: '{"icc": false, "icc": true}'}, "icc", "failed"),
]


@pytest.mark.parametrize(("files", "control", "expected"), CASES)
def test_what_peers_judge_wrongly(host, files, control, expected):
    for path, content in files.items():
        host.put(path, content)
    assert verdicts(host.seen())[control] == expected


# None of the peers says whether dockerd starts. Written by roles and guides of theirs:
STARTS = [
    ({CONFIG: '{"icc": false, "log-level": "info",}'}, "26.1.5", False),
    ({CONFIG: {"disable-legacy-registry": True}}, "26.1.5", False),
    ({CONFIG: {"default-ulimit": "nofile=1024:2048"}}, "26.1.5", True),
    ({CONFIG: {"hosts": ["tcp://0.0.0.0:2376"]}}, "26.1.5", False),  # the unit has -H fd://
    ({CONFIG: {"containerd": "/run/containerd/containerd.sock"}}, "26.1.5", False),
    ({CONFIG: {"content-trust": {"mode": "enforced"}}}, "26.1.5", False),
    ({CONFIG: {"api-cors-header": "*"}}, "26.1.5", True),
    ({CONFIG: {"api-cors-header": "*"}}, "28.5.2", False),
    ({CONFIG: {"graph": "/srv"}}, "20.10.24", True),
    ({CONFIG: {"graph": "/srv"}}, "26.1.5", False),
    ({CONFIG: {"icc": False, "iptables": False}}, "26.1.5", False),
    ({CONFIG: {"log-opts": {"max-file": 3}}}, "26.1.5", False),
    ({CONFIG: {"icc": "false"}}, "26.1.5", False),
    ({CONFIG: {"ICC": False}}, "26.1.5", False),
    ({CONFIG: {}}, "26.1.5", True),
]


@pytest.mark.parametrize(("files", "version", "expected"), STARTS)
def test_what_no_peer_judges(host, files, version, expected):
    for path, content in files.items():
        host.put(path, content)
    assert judgement.judge(host, version).starts is expected


# -- owners and modes: the peer compares what stat prints as a decimal number

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
MODES = [  # control, file, what CIS allows, modes that pass there
    ("service-owner", SERVICE, 0o644, (0o607, 0o606, 0o577)),
    ("socket-unit-owner", SOCKET, 0o644, (0o607, 0o606, 0o577)),
    ("config-owner", CONFIG, 0o644, (0o607, 0o622, 0o577)),
    ("authority-owner", "/ca.pem", 0o444, (0o377, 0o422)),
    ("certificate-owner", "/cert.pem", 0o444, (0o377, 0o422)),
    ("defaults-owner", "/etc/default/docker", 0o644, (0o607, 0o577)),
    # It does not look at these, nor at drop-ins.
    ("registry-certificates-owner", "/etc/docker/certs.d/hub/client.key", 0o400, (0o444,)),
    ("registry-certificates-owner", "/etc/docker/certs.d/hub/client.cert", 0o444, (0o466,)),
    ("service-owner", DROPIN, 0o644, (0o666,)),
]


@ROOT
@pytest.mark.parametrize(("control", "path", "allowed", "passing"), MODES)
def test_all_modes_of_a_file(host, control, path, allowed, passing):
    host.put(CONFIG, TLS)
    host.put(path, host.read(path) if host.stat(path) else "[Service]\n")
    seen = host.seen()
    for mode in range(0o1000):
        seen.files[path] = Stat("file", mode, 0, 0, 0, 0.0, 0)
        wanted = "failed" if mode & ~allowed else "passed"
        assert findings.judge(seen, [BY_ID[control]])[0].status == wanted, oct(mode)
        assert wanted == "failed" or mode not in passing


@pytest.mark.parametrize("control", ["key-owner", "containerd-socket-owner"])
def test_all_modes_of_keys_and_sockets(host, control):
    host.put(CONFIG, TLS)
    seen = running(host)
    path, allowed = {
        "key-owner": ("/key.pem", 0o400),
        "containerd-socket-owner": ("/run/containerd/containerd.sock", 0o660),
    }[control]
    seen.owners[path] = ("root", "root")
    for mode in range(0o1000):
        seen.files[path] = Stat("socket", mode, 0, 0, 0, 0.0, 0)
        wanted = "failed" if mode & ~allowed else "passed"
        assert findings.judge(seen, [BY_ID[control]])[0].status == wanted, oct(mode)


def test_all_modes_of_the_socket(host):
    """Modes 606 and 646 pass there as 660 or more restrictive; Lynis asks whether it is a file."""
    for mode in range(0o1000):
        seen = running(host, inode=Stat("socket", mode, 0, 998, 0, 0.0, 1))
        wanted = "failed" if mode & ~0o660 else "passed"
        assert findings.judge(seen, [BY_ID["socket-owner"]])[0].status == wanted, oct(mode)


def test_a_group_of_ones_own(host):
    """3.15 warns unless the group is called docker."""
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\nSocketGroup=ci\n")
    seen = running(host, inode=Stat("socket", 0o660, 0, 1000, 0, 0.0, 1))
    assert verdicts(seen)["socket-owner"] == "passed"


@ROOT
def test_a_path_after_a_space(host):
    """3.13 does not find the key of ``--tlskey PATH`` and says so as INFO."""
    host.put(DROPIN, told("-H fd:// --tlsverify --tlscacert /ca.pem --tlskey /key.pem"))
    host.put("/key.pem", "key", mode=0o644)
    assert verdicts(host.seen())["key-owner"] == "failed"


@ROOT
def test_a_file_elsewhere(host):
    """3.17 looks at /etc/docker/daemon.json alone."""
    host.put(DROPIN, told("-H fd:// --config-file /srv/docker.json"))
    host.put("/srv/docker.json", {}, mode=0o666)
    assert verdicts(host.seen())["config-owner"] == "failed"


# -- what only the running daemon shows


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["name=seccomp,profile=builtin"], "passed"),  # INFO, since Engine 23 renamed it
        (["name=seccomp,profile=default"], "passed"),
        (["name=seccomp,profile=unconfined"], "failed"),  # the same INFO
    ],
)
def test_seccomp(host, options, expected):
    seen = running(host, info={**SHOWN, "SecurityOptions": options})
    assert verdicts(seen)["seccomp"] == expected


def test_a_swarm_node_cannot_have_live_restore(host):
    """2.15 says PASS, as if it had."""
    seen = running(host, info={**SHOWN, "Swarm": {"LocalNodeState": "active"}})
    assert verdicts(seen)["live-restore"] == "not applicable"


def test_a_bridge_that_was_not_made_anew(host):
    """2.2 reads the file."""
    host.put(CONFIG, {"icc": False})
    seen = running(host, bridge={"com.docker.network.bridge.enable_icc": "true"})
    assert verdicts(seen)["icc"] == "failed"
    assert verdicts(seen)["bridge-applied"] == "failed"


def test_a_rootless_host(host):
    """2.1 is a note, 2.9 a warning, and the daemon itself is not found."""
    host.put(
        "/home/ci/.config/systemd/user/docker.service",
        "[Service]\nExecStart=/usr/bin/dockerd-rootless.sh\n",
    )
    host.put("/home/ci/.config/docker/daemon.json", json.dumps({"debug": True}))
    instance = discover(host)[1]
    seen = snapshot.read(instance, host, "26.1.5")
    found = verdicts(seen)
    assert instance.name == "user:ci"
    assert (found["rootless"], found["userns-remap"]) == ("passed", "passed")
    assert found["log-level"] == "failed"
