# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from conftest import CONFIG, SERVICE

PASSWD = "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
GROUP = "root:x:0:\nci:x:1000:\ndocker:x:998:\n4000:x:4001:\n"
RANGES = "ci:100000:65536\n"


@pytest.fixture
def needing(host):
    """What a host lacks for a configuration, as words on one line; what is unknown after a bar."""

    def look(data, version="28.5.2", ranges=RANGES, **files):
        host.put("/etc/passwd", PASSWD)
        host.put("/etc/group", GROUP)
        host.put("/etc/subuid", ranges)
        host.put("/etc/subgid", ranges)
        for path, text in files.items():
            host.put(path, text)
        host.put(CONFIG, data)
        needs = host.seen(version).needs
        return "%s|%s" % ("; ".join(needs.missing), "; ".join(needs.unknown))

    look.host = host
    return look


@pytest.mark.parametrize(
    "value", ["default", "ci", "ci:ci", "1000", "1000:1000", "root", "0:0", "ci:docker", ""]
)
def test_user_namespaces_that_start(needing, value):
    # moby daemon/daemon_unix.go parseRemappedRoot
    assert needing({"userns-remap": value}) == "|"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nosuch", "names no user"),
        ("nobody", "a group of its own"),
        ("4242", "names no user"),
        ("-1", "names no user"),
        (":ci", "names no user"),
        ("ci:", "names no group"),
        ("ci:nosuch", "names no group"),
        ("ci:4000", "names no group"),
        ("a:b:c", "more than a user and a group"),
        ("docker", "names no user"),
    ],
)
def test_user_namespaces_that_do_not(needing, value, words):
    assert words in needing({"userns-remap": value})


@pytest.mark.parametrize(
    ("ranges", "old", "new"),
    [
        # moby pkg/idtools parseSubidFile; moby/sys/user ParseSubIDFilter since 28.2
        ("1000:1:2\n", True, True),
        ("other:1:2\n", False, False),
        ("ci:1\n", False, False),
        ("other:1\nci:1:2\n", False, True),
        ("ci:x:y\n", False, False),
        ("", False, False),
        ("# a comment\n\nci:1:2\n", True, True),
    ],
)
def test_subordinate_ids(needing, ranges, old, new):
    for version, starts in (("26.1.5", old), ("28.5.2", new)):
        assert (needing({"userns-remap": "ci"}, version, ranges) == "|") == starts


@pytest.mark.parametrize(
    ("data", "version", "words"),
    [
        # moby verifyUserlandProxyConfig, since 25.0
        ({"userland-proxy-path": "/nosuch"}, "28.5.2", "names no program"),
        ({"userland-proxy-path": "/nosuch"}, "24.0.9", ""),
        ({"userland-proxy-path": "/nosuch", "userland-proxy": False}, "28.5.2", ""),
        ({"userland-proxy-path": "/etc/passwd"}, "28.5.2", "names no program"),
        # moby cmd/dockerd/daemon.go start, pkg/pidfile
        ({"data-root": "/etc/passwd"}, "28.5.2", "needs a directory"),
        ({"exec-root": "/etc/passwd/x"}, "28.5.2", "needs a directory"),
        ({"data-root": "/proc/x"}, "28.5.2", "nothing can be made"),
        ({"data-root": "/srv/new/one"}, "28.5.2", ""),
        ({"pidfile": "/etc"}, "28.5.2", "names a directory"),
        ({"pidfile": "/proc/x"}, "28.5.2", "nothing can be"),
        # moby verifyDaemonSettings, libnetwork's port driver
        ({"rootless": True}, "28.5.2", "RootlessKit"),
        ({"rootless": True}, "26.1.5", ""),
        # moby daemon/logger/syslog parseAddress
        (
            {"log-driver": "syslog", "log-opts": {"syslog-address": "unix:///nosuch"}},
            "28.5.2",
            "name no socket",
        ),
        # moby daemon/runtime_unix.go wrapRuntime: the default runtime's program
        (
            {"runtimes": {"x": {"path": "/x", "runtimeArgs": ["a"]}}, "default-runtime": "x"},
            "28.5.2",
            "no program for x",
        ),
    ],
)
def test_files_and_kernel(needing, data, version, words):
    missing = needing(data, version).rstrip("|")
    assert (words in missing) if words else not missing


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"hosts": ["unix:///nosuch/x.sock"]}, "needs the directory /nosuch"),
        ({"hosts": ["unix:///etc"]}, "names a directory"),
        ({"hosts": ["unix:///run/x.sock"]}, ""),
        ({"hosts": ["fd://5"]}, "does not hand over"),
        ({"hosts": ["fd://3"]}, ""),
        ({"group": "nosuch"}, "names no group"),
        ({"group": "nosuch", "hosts": ["fd://"]}, ""),
        ({"group": "998"}, ""),
    ],
)
def test_own_sockets(needing, data, words):
    # moby daemon/listeners/listeners_linux.go
    needing.host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd\n")
    missing = needing(data).rstrip("|")
    assert (words in missing) if words else not missing


def test_descriptors_of_another_socket(needing):
    needing.host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd\n")
    more = {"/etc/systemd/system/x.socket": "[Socket]\nListenStream=1\nService=docker.service\n"}
    assert "does not hand over" in needing({"hosts": ["fd://4"]})
    assert needing({"hosts": ["fd://4"]}, **more) == "|"


@pytest.mark.parametrize(
    ("text", "version", "starts"),
    [
        ("1.24", "28.5.2", True),
        ("1.51", "28.5.2", True),
        ("1.23", "28.5.2", False),
        ("1.46", "26.1.5", False),
        ("v1.40", "28.5.2", False),
        ("9.9", "24.0.9", True),
    ],
)
def test_oldest_api(needing, text, version, starts):
    # moby daemon/config/config.go ValidateMinAPIVersion, since 25.0
    unit = "[Service]\nEnvironment=DOCKER_MIN_API_VERSION=%s\nExecStart=/usr/sbin/dockerd\n" % text
    needing.host.put(SERVICE, unit)
    assert (needing({}, version) == "|") == starts


@pytest.mark.parametrize(
    ("kernel", "starts"),
    [
        ({"cpu/cpu.rt_period_us": ""}, True),
        ({"cpu/cpu.shares": ""}, False),
        ({"cgroup.controllers": ""}, False),
    ],
)
def test_realtime(needing, kernel, starts):
    # moby cmd/dockerd/daemon_linux.go validateCPURealtimeOptions
    assert "on a running host only" in needing({"cpu-rt-runtime": 1})
    for name, text in kernel.items():
        needing.host.put("/sys/fs/cgroup/" + name, text)
    assert (needing({"cpu-rt-runtime": 1}) == "|") == starts
    assert needing({"cpu-rt-runtime": 1}, "20.10.24") == "|"


def test_slices_of_a_unified_hierarchy(needing):
    # moby daemon/daemon_unix.go verifyDaemonSettings, UsingSystemd
    needing.host.put("/sys/fs/cgroup/cgroup.controllers", "")
    assert needing({"cgroup-parent": "x"}) == "|"
    needing.host.put("/run/systemd/system/x", "")
    assert "must name a slice" in needing({"cgroup-parent": "x"})
    assert needing({"cgroup-parent": "x.slice"}) == "|"
    other = {"cgroup-parent": "x", "exec-opts": ["native.cgroupdriver=cgroupfs"]}
    assert needing(other) == "|"


def test_programs_of_an_installed_engine(needing):
    needing.host.put("/usr/sbin/dockerd", "", 0o755)
    assert "docker-proxy is not" in needing({}) and "iptables is not" in needing({})
    assert needing({"iptables": False, "userland-proxy": False}) == "|"
    needing.host.put("/usr/libexec/docker/docker-proxy", "", 0o755)
    needing.host.put("/usr/sbin/iptables", "", 0o755)
    assert needing({}) == "|"
    assert "docker-proxy is not" in needing({}, "26.1.5")


def test_what_only_a_running_host_knows(needing):
    assert needing({"bridge": "br0"}).startswith("|whether there is a bridge br0")
    assert needing({"bridge": "none"}) == "|"
    assert needing({"log-driver": "loki", "log-opts": {"a": "b"}}).startswith("|log-driver loki")
    assert needing({"log-driver": "loki"}) == "|"
    needing.host.put("/sys/class/net/br1/address", "")
    assert "names no interface here" in needing({"bridge": "br0"})
    assert needing({"bridge": "br1"}) == "|"


@pytest.mark.parametrize(
    ("flag", "words"), [("/nosuch", "names no file"), ("", ""), ("/etc/passwd", "")]
)
def test_a_file_that_a_flag_names(needing, flag, words):
    unit = '[Service]\nExecStart=/usr/sbin/dockerd "--config-file=%s"\n' % flag
    needing.host.put(SERVICE, unit)
    assert words in needing({})


def test_a_flag_that_takes_the_default_program_away(needing):
    unit = '[Service]\nExecStart=/usr/sbin/dockerd "--userland-proxy-path="\n'
    needing.host.put(SERVICE, unit)
    assert "names no program" in needing({})


@pytest.mark.parametrize(("version", "starts"), [("26.1.5", False), ("28.5.2", True)])
def test_ranges_of_others_when_dockremap_is_made(needing, version, starts):
    assert (needing({"userns-remap": "default"}, version, "other:1\n") == "|") == starts
