# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from _dockerd import findings
from _dockerd.controls import CONTROLS, files
from _dockerd.host import Stat
from conftest import CONFIG, SERVICE, SHOWN, SOCKET, running

BY_ID = {control.id: control for control in CONTROLS}
TLS = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}


def status(seen, name):
    return findings.judge(seen, [BY_ID[name]])[0].status


def evidence(seen, name):
    return findings.judge(seen, [BY_ID[name]])[0].evidence


def test_every_control_has_what_a_reader_needs():
    assert len(BY_ID) == len(CONTROLS)
    for control in CONTROLS:
        assert control.severity in findings.SEVERITIES
        assert control.title and control.why.endswith(".") and control.remedy.endswith(".")
        assert set(control.cis) <= {"1.6", "1.7", "1.8"}
        assert all(isinstance(number, str) for number in control.cis.values())


# What each control on daemon.json says of which file: passed, failed, and neither.
FILES = [
    ("config-accepted", {"icc": False}, "passed"),
    ("config-accepted", {"no-such-directive": 1}, "failed"),
    ("config-accepted", {"icc": "false"}, "failed"),
    ("config-accepted", {"hosts": ["fd://"]}, "failed"),
    ("config-ignored", {"icc": False}, "passed"),
    ("config-ignored", {"label": "a=b"}, "failed"),
    ("icc", {"icc": False}, "passed"),
    ("icc", {"icc": True}, "failed"),
    ("icc", {"icc": 0}, "failed"),
    ("icc", {"icc": None}, "failed"),
    ("icc", {}, "failed"),
    ("icc", {"bridge": "none"}, "not applicable"),
    ("log-level", {}, "passed"),
    ("log-level", {"log-level": None}, "passed"),
    ("log-level", {"log-level": "debug"}, "failed"),
    ("log-level", {"debug": True}, "failed"),
    ("iptables", {}, "passed"),
    ("iptables", {"iptables": False}, "failed"),
    ("iptables", {"ip6tables": False}, "failed"),
    ("registries", {}, "passed"),
    ("registries", {"insecure-registries": None, "registry-mirrors": None}, "passed"),
    ("registries", {"insecure-registries": ["127.0.0.0/8", "localhost:5000"]}, "passed"),
    ("registries", {"insecure-registries": ["[::1]:5000", "127.0.0.1", "::1"]}, "passed"),
    ("registries", {"insecure-registries": ["127.0.0.1.evil.example"]}, "failed"),
    ("registries", {"insecure-registries": ["localhost.evil.example:5000"]}, "failed"),
    ("registries", {"insecure-registries": ["0.0.0.0/0"]}, "failed"),
    ("registries", {"insecure-registries": ["registry.example"]}, "failed"),
    ("registries", {"registry-mirrors": ["https://mirror.example"]}, "passed"),
    ("registries", {"registry-mirrors": ["HTTP://mirror.example"]}, "failed"),
    (
        "ulimits",
        {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}},
        "passed",
    ),
    ("ulimits", {"default-ulimits": {}}, "failed"),
    ("ulimits-grantable", {}, "passed"),
    (
        "ulimits-grantable",
        {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 3, "Hard": 2}}},
        "failed",
    ),
    ("no-new-privileges", {"no-new-privileges": True}, "passed"),
    ("no-new-privileges", {}, "failed"),
    ("live-restore", {"live-restore": True}, "passed"),
    ("live-restore", {"live-restore": "true"}, "failed"),
    ("userland-proxy", {"userland-proxy": False}, "passed"),
    ("userland-proxy", {}, "failed"),
    ("seccomp", {}, "passed"),
    ("seccomp", {"seccomp-profile": "unconfined"}, "failed"),
    ("logs-bounded", {"log-opts": {"max-size": "10m"}}, "passed"),
    ("logs-bounded", {}, "failed"),
    ("logs-bounded", {"log-opts": {"max-size": "-1"}}, "failed"),
    ("logs-bounded", {"log-opts": {"max-size": "0"}}, "failed"),
    ("logs-bounded", {"log-opts": {"max-size": "10q"}}, "failed"),
    ("logs-bounded", {"log-driver": "nonsense"}, "unknown"),
    ("logs-remote", {"log-driver": "nonsense"}, "unknown"),
    ("userns-remap", {"userns-remap": "root:root"}, "failed"),
    ("userns-remap", {"userns-remap": "0"}, "failed"),
    ("ulimits-grantable", {"default-ulimits": {"bogus": {"Name": "bogus"}}}, "failed"),
    ("ulimits-grantable", {"default-ulimits": {"nofile": 1}}, "passed"),
    ("registries", {"registry-mirrors": ["http://localhost:5000/x"]}, "passed"),
    ("registries", {"registry-mirrors": ["http://localhost.evil.example/"]}, "failed"),
    ("credentials", {}, "passed"),
    ("socket-owner", {}, "not applicable"),
    ("logs-bounded", {"log-driver": "journald"}, "not applicable"),
    ("listener-verified", {}, "not applicable"),
    ("listener-verified", {"hosts": ["tcp://:1"], **TLS}, "passed"),
    ("listener-verified", {"hosts": ["tcp://:1"]}, "failed"),
    ("listener-verified", {"hosts": ["tcp://:1"], "tlsverify": True}, "failed"),
    ("listener-verified", {"hosts": ["tcp://:1"], "tls": True}, "failed"),
    ("listener-verified", {"hosts": ["tcp://:1"], **TLS, "tlsverify": False}, "failed"),
    ("files-present", {}, "passed"),
    ("files-present", TLS, "failed"),
    ("files-present", {**TLS, "tlsverify": False, "tlscert": CONFIG, "tlskey": CONFIG}, "passed"),
    ("files-present", {"tls": False, "tlscert": "/gone.pem"}, "passed"),
    ("files-present", {"seccomp-profile": "/nowhere.json"}, "failed"),
    ("files-present", {"seccomp-profile": CONFIG}, "passed"),
    ("files-present", {"seccomp-profile": "builtin"}, "passed"),
    ("files-present", {"seccomp-profile": "relative.json"}, "failed"),  # a service runs in /
    ("files-present", {"seccomp-profile": "etc/passwd"}, "passed"),
    ("files-present", {"seccomp-profile": "/etc"}, "failed"),
    ("files-present", {"seccomp-profile": "/loop"}, "unknown"),
    ("certificate-usable", {}, "not applicable"),
    ("plugins-present", {}, "not applicable"),
    ("plugins-present", {"authorization-plugins": ["opa"]}, "unknown"),
    ("swarm-live-restore", {}, "passed"),
    ("swarm-live-restore", {"live-restore": True}, "passed"),
    ("swarm-live-restore", {"live-restore": True, "data-root": "relative"}, "unknown"),
    ("group-ignored", {}, "not applicable"),
    ("group-ignored", {"group": "ci"}, "failed"),
    ("rootless", {}, "failed"),
    ("userns-remap", {}, "failed"),
    ("userns-remap", {"userns-remap": ""}, "failed"),
    ("userns-remap", {"userns-remap": "root"}, "failed"),
    ("userns-remap", {"userns-remap": "default"}, "passed"),
    ("storage-driver", {}, "passed"),
    ("storage-driver", {"storage-driver": "overlay2"}, "passed"),
    ("storage-driver", {"storage-driver": "aufs"}, "failed"),
    ("storage-driver", {"storage-driver": "devicemapper"}, "failed"),
    ("base-device-size", {}, "not applicable"),
    ("base-device-size", {"storage-opts": ["dm.basesize=10G"]}, "not applicable"),
    ("base-device-size", {"storage-driver": "devicemapper"}, "passed"),
    (
        "base-device-size",
        {"storage-driver": "devicemapper", "storage-opts": ["dm.basesize=10G"]},
        "failed",
    ),
    ("cgroup-parent", {}, "passed"),
    ("cgroup-parent", {"cgroup-parent": "/limited"}, "failed"),
    ("cgroup-parent", {"cgroup-parent": "absent.slice"}, "failed"),
    ("logs-remote", {}, "failed"),
    ("logs-remote", {"log-driver": "none"}, "failed"),
    ("logs-remote", {"log-driver": "local"}, "failed"),
    ("logs-remote", {"log-driver": "syslog"}, "failed"),
    (
        "logs-remote",
        {"log-driver": "syslog", "log-opts": {"syslog-address": "unix:///x"}},
        "failed",
    ),
    (
        "logs-remote",
        {"log-driver": "syslog", "log-opts": {"syslog-address": "tcp+tls://logs.example:6514"}},
        "passed",
    ),
    ("logs-remote", {"log-driver": "gelf"}, "passed"),
    ("logs-remote", {"log-driver": "journald"}, "unknown"),
    ("experimental", {}, "passed"),
    ("experimental", {"experimental": True}, "failed"),
    ("forwarding", {}, "passed"),
    ("forwarding", {"allow-direct-routing": False, "bridge-accept-fwmark": ""}, "passed"),
    ("forwarding", {"allow-direct-routing": True}, "failed"),
    ("forwarding", {"ip-forward-no-drop": True}, "failed"),
    ("forwarding", {"bridge-accept-fwmark": "0x1"}, "failed"),
    ("diagnostics", {}, "passed"),
    ("diagnostics", {"metrics-addr": "127.0.0.1:9323", "network-diagnostic-port": 0}, "passed"),
    ("diagnostics", {"metrics-addr": "[::1]:9323"}, "passed"),
    ("diagnostics", {"metrics-addr": "0.0.0.0:9323"}, "failed"),
    ("diagnostics", {"metrics-addr": ":9323"}, "failed"),
    ("diagnostics", {"network-diagnostic-port": 2000}, "failed"),
    ("node-resource-interface", {}, "passed"),
    ("node-resource-interface", {"nri-opts": {"enable": False}}, "passed"),
    ("node-resource-interface", {"nri-opts": {"enable": True}}, "failed"),
    ("namespaces", {}, "passed"),
    ("namespaces", {"default-ipc-mode": "private"}, "passed"),
    ("namespaces", {"default-ipc-mode": "shareable"}, "failed"),
    ("namespaces", {"default-cgroupns-mode": "host"}, "failed"),
    ("credentials", {"proxies": {"http-proxy": "http://proxy.example"}}, "passed"),
    ("credentials", {"proxies": {"http-proxy": "http://a:b@proxy.example"}}, "failed"),
    ("credentials", {"registry-mirrors": ["https://a:b@mirror.example"]}, "failed"),
    ("bridge-applied", {"icc": False}, "not applicable"),
    ("service-limits", {}, "passed"),
    ("units-loaded", {}, "not applicable"),
    ("defaults-ignored", {}, "passed"),
    ("containerd-socket-owner", {}, "not applicable"),
    ("registry-certificates-owner", {}, "not applicable"),
]


@pytest.mark.parametrize(("name", "data", "expected"), FILES)
def test_controls_of_the_file(host, name, data, expected):
    os.symlink("loop", host.root + "/loop")
    host.put(CONFIG, data)
    assert status(host.seen(), name) == expected


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ("--icc=false", "icc", "passed"),
        ("--icc=true", "icc", "failed"),
        ("--log-opt max-size=1m", "logs-bounded", "passed"),
        ("--seccomp-profile unconfined", "seccomp", "failed"),
        ("--insecure-registry a.example", "registries", "failed"),
        ("-H tcp://:2375", "listener-verified", "failed"),
        ("-H tcp://:2376 --tlsverify --tlscacert=/ca.pem", "listener-verified", "passed"),
        ("-D", "log-level", "failed"),
    ],
)
def test_flags_count_as_the_file_does(host, options, name, expected):
    host.put("/etc/default/docker", 'DOCKER_OPTS="%s"\n' % options)
    assert status(host.seen(), name) == expected
    if expected == "failed":
        assert "DOCKER_OPTS in /etc/default/docker" in evidence(host.seen(), name)


def test_a_socket_unit_that_listens_without_tls_is_found(host):
    host.put("/etc/systemd/system/docker.socket.d/tcp.conf", "[Socket]\nListenStream=2375\n")
    assert status(host.seen(), "listener-verified") == "failed"
    assert "tcp.conf" in evidence(host.seen(), "listener-verified")


def test_a_pair_that_cannot_serve(host, pair):
    host.put(CONFIG, TLS)
    host.put("/cert.pem", pair[0])
    host.put("/ca.pem", pair[0])
    host.put("/key.pem", pair[1])
    assert status(host.seen(), "certificate-usable") == "passed"
    assert status(host.seen(), "files-present") == "passed"
    host.put("/key.pem", "garbage")
    assert status(host.seen(), "certificate-usable") == "failed"


def test_units_that_cannot_start(host, empty):
    assert status(host.seen(), "unit-usable") == "passed"
    host.put(SERVICE, "[Service]\nType=notify\n")
    assert "no ExecStart" in evidence(host.seen(), "unit-usable")
    host.put("/etc/systemd/system/docker.socket", "")
    assert "docker.socket is masked" in evidence(host.seen(), "unit-usable")
    host.remove(SERVICE)
    assert "the stock docker.service" in evidence(host.seen(), "unit-usable")


def test_an_owner_that_nobody_knows(host):
    assert status(host.seen(), "socket-owner-exists") == "passed"
    host.put("/etc/group", "root:x:0:\n")
    assert status(host.seen(), "socket-owner-exists") == "failed"


# -- nothing that could not be seen passes

ON_FILES = {"config-parses", "unit-usable", "socket-owner-exists"}


@pytest.mark.parametrize("broken", ["{", None])
def test_a_file_that_cannot_be_read_passes_nothing_that_is_in_it(host, broken):
    if broken is None:
        os.makedirs(host.real(CONFIG))
    else:
        host.put(CONFIG, broken)
    about_the_file = {
        *("config-accepted", "config-ignored", "listener-verified", "certificate-usable"),
        *("icc", "log-level", "iptables", "registries", "ulimits", "ulimits-grantable"),
        *("no-new-privileges", "live-restore", "userland-proxy", "seccomp", "logs-bounded"),
    }
    found = {one.control.id: one.status for one in findings.judge(host.seen(), CONTROLS)}
    assert {name: found[name] for name in about_the_file} == dict.fromkeys(
        about_the_file, "unknown"
    )
    assert found["config-parses"] == ("unknown" if broken is None else "failed")
    assert findings.starts(findings.judge(host.seen(), CONTROLS)) in (None, False)


@pytest.mark.parametrize(
    "name",
    ["socket-owner", "config-applied", "certificate-served", "listener-refuses-strangers"],
)
def test_without_a_host_nothing_live_passes(host, name):
    assert status(host.seen(), name) == "not applicable"


def test_a_daemon_that_does_not_answer_has_applied_nothing(host):
    silent = running(host, answers=False, info={}, problem="it hangs")
    assert evidence(silent, "config-applied") == "dockerd does not answer (it hangs) (restart)"
    assert status(silent, "config-applied") == "failed"


def test_an_unknown_engine_has_no_accepted_file(host):
    assert status(host.seen(""), "config-accepted") == "unknown"


def test_an_empty_directory_is_not_a_hardened_host(empty):
    found = findings.judge(empty.seen(""), CONTROLS)
    assert findings.starts(found) is not True


# -- owners and modes


@pytest.mark.parametrize("allowed", [0o644, 0o755, 0o444, 0o400, 0o660])
def test_every_mode(allowed):
    for mode in range(0o1000):
        each = [bit for bit in range(9) if mode >> bit & 1 and not allowed >> bit & 1]
        assert files.loose(mode, allowed) == bool(each), oct(mode)
        for special in (0o1000, 0o2000, 0o4000):
            assert files.loose(mode | special, allowed)


PATHS = [
    ("config-owner", CONFIG, 0o644),
    ("service-owner", SERVICE, 0o644),
    ("service-owner", "/etc/systemd/system/docker.service.d/x.conf", 0o644),
    ("socket-unit-owner", SOCKET, 0o644),
    ("authority-owner", "/ca.pem", 0o444),
    ("certificate-owner", "/cert.pem", 0o444),
    ("key-owner", "/key.pem", 0o400),
    ("defaults-owner", "/etc/default/docker", 0o644),
    ("defaults-owner", "/etc/sysconfig/docker", 0o644),
    ("registry-certificates-owner", "/etc/docker/certs.d/hub:5000/ca.crt", 0o444),
    ("registry-certificates-owner", "/etc/docker/certs.d/hub:5000/client.cert", 0o444),
    ("registry-certificates-owner", "/etc/docker/certs.d/hub:5000/client.key", 0o400),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
@pytest.mark.parametrize(("name", "path", "allowed"), PATHS)
def test_owners_of_files(host, name, path, allowed):
    host.put(CONFIG, TLS)
    host.put(path, host.read(path) if host.stat(path) else "[Service]\n", mode=allowed)
    assert status(host.seen(), name) == "passed"
    for extra in (0o002, 0o020, 0o001, 0o4000):
        if extra & ~allowed:
            os.chmod(host.real(path), allowed | extra)
            assert "%04o" % (allowed | extra) in evidence(host.seen(), name)
    os.chmod(host.real(path), allowed)
    for uid, gid in ((1000, 0), (0, 998), (4242, 0)):
        os.chown(host.real(path), uid, gid)
        assert status(host.seen(), name) == "failed"


def test_files_that_are_not_there_are_no_pass(host):
    assert status(host.seen(), "key-owner") == "not applicable"
    os.symlink("loop", host.root + "/loop")
    host.put(CONFIG, {"tlskey": "/loop"})
    assert status(host.seen(), "key-owner") == "unknown"


def test_the_directory_of_the_file(host):
    host.put(CONFIG, {})
    os.chmod(host.real("/etc/docker"), 0o777)
    assert "0777" in evidence(host.seen(), "config-directory-owner")


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "dropin", "expected"),
    [
        (0o660, 0, 998, "", "passed"),
        (0o600, 0, 998, "", "passed"),
        (0o666, 0, 998, "", "failed"),
        (0o660, 0, 1000, "", "failed"),
        (0o660, 1000, 998, "", "failed"),
        (0o660, 0, 998, "SocketGroup=998\nSocketUser=0\n", "passed"),
        (0o666, 0, 998, "SocketMode=0666\n", "failed"),
        (0o660, 1000, 998, "SocketUser=ci\n", "failed"),
        (0o660, 0, 998, "SocketMode=0600\n", "failed"),
    ],
)
def test_the_live_socket(host, mode, uid, gid, dropin, expected):
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\n" + dropin)
    inode = Stat("socket", mode, uid, gid, 0, 0.0, 1)
    assert status(running(host, inode=inode), "socket-owner") == expected


# -- the running daemon


def test_a_daemon_that_does_what_it_is_told(host):
    host.put(CONFIG, {"icc": False})
    seen = running(host)
    assert status(seen, "config-applied") == "passed"
    seen.read = replace(seen.read, data={})
    assert "icc differs" in evidence(seen, "config-applied")


def test_info_is_believed_more_than_the_record(host):
    host.put(CONFIG, {"live-restore": True})
    seen = running(host)
    assert "/info shows another value for live-restore" in evidence(seen, "config-applied")
    seen.does.info["LiveRestoreEnabled"] = True
    assert status(seen, "config-applied") == "passed"


def test_a_bridge_older_than_its_configuration(host):
    host.put(CONFIG, {"icc": False})
    enabled = {"com.docker.network.bridge.enable_icc": "true"}
    assert status(running(host, bridge=enabled), "icc") == "failed"
    assert status(running(host), "icc") == "passed"


def test_a_swarm(host):
    swarm = {**SHOWN, "Swarm": {"LocalNodeState": "active"}}
    host.put(CONFIG, {"live-restore": True})
    assert status(running(host, info=swarm), "swarm-live-restore") == "failed"
    assert status(running(host, info=swarm), "live-restore") == "not applicable"
    assert status(running(host), "swarm-live-restore") == "passed"


@pytest.mark.parametrize("below", ["", "/100000.100000"])
def test_a_swarm_whose_daemon_is_down(host, below):
    host.put(CONFIG, {"live-restore": True})
    host.put("/var/lib/docker%s/swarm/docker-state.json" % below, "{}")
    assert status(host.seen(), "swarm-live-restore") == "failed"


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        ({}, {"enable_icc": "true", "enable_ip_masquerade": "true"}, "passed"),
        ({"icc": False}, {"enable_icc": "false"}, "passed"),
        ({"icc": False}, {"enable_icc": "true"}, "failed"),
        ({"ip-masq": False}, {"enable_ip_masquerade": "true"}, "failed"),
        ({"ip": "127.0.0.1"}, {"host_binding_ipv4": "0.0.0.0"}, "failed"),
        ({"ip": "127.0.0.1"}, {"host_binding_ipv4": "127.0.0.1"}, "passed"),
        ({"bridge": "none"}, {}, "not applicable"),
    ],
)
def test_the_bridge_against_its_configuration(host, data, options, expected):
    host.put(CONFIG, data)
    live = {"com.docker.network.bridge." + name: value for name, value in options.items()}
    assert status(running(host, bridge=live), "bridge-applied") == expected


def test_the_mtu_of_the_bridge(host):
    host.put(CONFIG, {"mtu": 1400})
    live = {"com.docker.network.driver.mtu": "1500"}
    assert "mtu is 1400" in evidence(running(host, bridge=live), "bridge-applied")
    live["com.docker.network.driver.mtu"] = "1400"
    assert status(running(host, bridge=live), "bridge-applied") == "passed"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MemoryMax=1G", "failed"),
        ("TasksMax=infinity", "passed"),
        ("CPUQuota=50%", "failed"),
        ("MemoryMax=1G\nMemoryMax=", "passed"),
        ("LimitNOFILE=1024", "passed"),
    ],
)
def test_limits_that_bind_the_wrong_process(host, line, expected):
    host.put("/etc/systemd/system/docker.service.d/limits.conf", "[Service]\n%s\n" % line)
    assert status(host.seen(), "service-limits") == expected


def test_options_that_reach_no_command_line(host):
    host.put("/etc/default/docker", 'DOCKER_OPTS="--icc=false"\n')
    assert status(host.seen(), "defaults-ignored") == "passed"
    host.put(SERVICE, "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n")
    assert "/etc/default/docker line 1" in evidence(host.seen(), "defaults-ignored")


def test_units_that_systemd_has_not_read(host):
    units = {"docker.service": {"ActiveState": "active", "NeedDaemonReload": "yes"}}
    assert status(running(host, units=units), "units-loaded") == "failed"
    units = {"docker.service": {"ActiveState": "active", "NeedDaemonReload": "no"}}
    assert status(running(host, units=units), "units-loaded") == "passed"


def test_a_slice_that_a_unit_describes(host):
    host.put(CONFIG, {"cgroup-parent": "work.slice"})
    host.put("/etc/systemd/system/work.slice", "[Slice]\nMemoryMax=1G\n")
    assert status(host.seen(), "cgroup-parent") == "passed"


def test_a_remapping_that_is_told_and_not_done(host):
    host.put(CONFIG, {"userns-remap": "default"})
    assert status(running(host), "userns-remap") == "failed"
    done = {**SHOWN, "SecurityOptions": ["name=userns"]}
    assert status(running(host, info=done), "userns-remap") == "passed"


def test_the_storage_driver_that_runs(host):
    assert status(running(host), "storage-driver") == "unknown"
    live = {**SHOWN, "Driver": "devicemapper"}
    assert status(running(host, info=live), "storage-driver") == "failed"


def test_credentials_that_only_root_reads(host):
    host.put(CONFIG, {"proxies": {"http-proxy": "http://a:b@proxy.example"}}, mode=0o600)
    assert status(host.seen(), "credentials") == "passed"
    host.put(
        "/etc/systemd/system/docker.service.d/proxy.conf",
        "[Service]\nEnvironment=HTTP_PROXY=http://a:b@proxy.example\n",
    )
    judged = findings.judge(host.seen(), [BY_ID["credentials"]])[0]
    assert judged.status == "failed"
    assert judged.places == (("/etc/systemd/system/docker.service.d/proxy.conf", 2, 0),)


def test_who_is_in_the_socket_group(host):
    seen = running(host, members=["ci"], primary=[])
    assert "ci is in docker" in evidence(seen, "socket-group-members")
    assert status(running(host, members=[], primary=["ci"]), "socket-group-members") == "failed"
    assert status(running(host, members=["root"]), "socket-group-members") == "passed"
    assert status(running(host, inode=None), "socket-group-members") == "not applicable"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({"defaultAction": "SCMP_ACT_ERRNO"}, "passed"),
        ({"defaultAction": "SCMP_ACT_ALLOW"}, "failed"),
        ({"syscalls": []}, "failed"),
        ("not json", "failed"),
        ("", "failed"),
    ],
)
def test_a_seccomp_profile_in_a_file(host, profile, expected):
    host.put(CONFIG, {"seccomp-profile": "/etc/docker/profile.json"})
    host.put("/etc/docker/profile.json", profile)
    assert status(host.seen(), "seccomp") == expected


def test_a_password_on_the_command_line(host):
    dropin = "/etc/systemd/system/docker.service.d/a.conf"
    flag = "--http-proxy=http://ci:s3cret@proxy.example"
    host.put(dropin, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd %s\n" % flag)
    os.chmod(host.real(dropin), 0o600)
    judged = findings.judge(host.seen(), [BY_ID["credentials"]])[0]
    assert (judged.status, judged.places) == ("failed", ((dropin, 3, 0),))


def test_a_socket_that_the_unit_opens_to_all(host):
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\nSocketMode=0666\n")
    assert "SocketMode is 0666" in evidence(host.seen(), "socket-owner")


def test_seccomp_by_the_daemon_itself(host):
    bare = {**SHOWN, "SecurityOptions": ["name=seccomp,profile=unconfined"]}
    assert status(running(host, info=bare), "seccomp") == "failed"


def test_ulimits_beyond_what_the_host_grants(host):
    host.put(CONFIG, {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 9, "Hard": 9}}})
    assert status(running(host, limits={"nofile": 9}), "ulimits-grantable") == "passed"
    assert status(running(host, limits={"nofile": 8}), "ulimits-grantable") == "failed"


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ({"1": (b"x", False), "2": (b"x", False)}, "passed"),
        ({"1": (b"x", False), "2": (b"", True)}, "failed"),
        ({"1": (b"x", True)}, "failed"),
        ({"1": (b"x", False)}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_strangers(host, served, expected):
    tls = "[Socket]\nListenStream=1\nListenStream=2\n"
    host.put("/etc/systemd/system/docker-tls.socket", tls)
    assert status(running(host, served=served), "listener-refuses-strangers") == expected


def test_the_served_certificate(host):
    host.put(CONFIG, TLS)
    seen = running(host, served={"1": (b"old", False)})
    assert status(seen, "certificate-served") == "not applicable"
    seen.tls.leaf = b"new"
    assert status(seen, "certificate-served") == "failed"
    seen.does.served["1"] = (b"new", False)
    assert status(seen, "certificate-served") == "passed"


def test_a_unit_that_runs_something_else(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/local/bin/start --nosuch serve\n")
    seen = host.seen()
    assert status(seen, "unit-usable") == "unknown"
    assert "runs /usr/local/bin/start" in evidence(seen, "unit-usable")
    assert status(seen, "config-accepted") == "passed"
    assert status(seen, "listener-verified") == "unknown"
    host.put(CONFIG, {"hosts": ["tcp://0.0.0.0:2375"]})
    assert status(host.seen(), "listener-verified") == "failed"


@pytest.mark.parametrize(
    ("dropin", "expected"),
    [
        ("ExecStart=/usr/sbin/dockerd", "failed"),
        ("ExecStart=\nExecStart=/usr/sbin/dockerd", "passed"),
        ("Type=oneshot\nExecStart=/usr/sbin/dockerd", "passed"),
        ("EnvironmentFile=/etc/nosuch", "failed"),
        ("EnvironmentFile=-/etc/nosuch", "passed"),
        ("EnvironmentFile=%h/nosuch", "unknown"),
        ("EnvironmentFile=nosuch", "passed"),  # systemd passes over it
        ("EnvironmentFile=/etc/%i", "unknown"),
    ],
)
def test_units_that_systemd_does_not_start(host, dropin, expected):
    path = "/etc/systemd/system/docker.service.d/x.conf"
    host.put(path, "[Service]\n%s\n" % dropin)
    seen = host.seen()
    assert status(seen, "unit-usable") == expected
    assert expected == "passed" or path in evidence(seen, "unit-usable")


def test_an_environment_file_that_a_part_of_a_host_may_lack(empty):
    empty.put(SERVICE, "[Service]\nEnvironmentFile=/etc/nosuch\nExecStart=/usr/bin/dockerd\n")
    assert status(empty.seen(), "unit-usable") == "unknown"


def test_an_engine_that_is_older_than_the_table(host):
    host.put(CONFIG, {"no-such-directive": 1})
    assert status(host.seen("19.03.15"), "config-accepted") == "unknown"
    assert "19.03.15 is older than 20.10" in evidence(host.seen("19.03.15"), "config-accepted")
