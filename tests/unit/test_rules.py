# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from _dockerd import config, rules
from _dockerd.directives import DIRECTIVES, SINGULAR
from hypothesis import given
from hypothesis import strategies as st

STOCK = ("hosts", "containerd")  # what the packaged units give as flags


def judge(text, version=(28, 5, 2), flags=()):
    document = config.parse(text.encode() if isinstance(text, str) else text)
    return rules.problems(document, version, flags)


def fatal(*args):
    return any(problem.fatal for problem in judge(*args))


# Verdicts of `dockerd --validate` of Debian's 26.1.5 and 28.5.2, run on each of these.
VALIDATED = [
    # (file, 26.1.5 starts, 28.5.2 starts)
    ("{}", True, True),
    ('{"icc": "false"}', False, False),
    ('{"ICC": true}', False, False),
    ('{"ICC": {}}', False, False),
    ('{"mtu": 1500.0}', False, False),
    ('{"mtu": 1e3}', False, False),
    ('{"mtu": -1}', False, False),
    ('{"cpu-rt-period": 99999999999999999999}', False, False),
    ('{"default-shm-size": null}', False, False),
    ('{"default-shm-size": 64}', False, False),
    ('{"default-shm-size": "64 MiB"}', True, True),
    ('{"default-shm-size": "64X"}', False, False),
    ('{"dns": null, "icc": null, "mtu": null, "runtimes": null}', True, True),
    ('{"dns": [null, "", "::1"]}', True, True),
    ('{"dns": ["x"]}', False, False),
    ('{"dns": ["fe80::1%eth0"]}', False, False),
    ('{"dns": ["01.2.3.4"]}', False, False),
    ('{"ip": ""}', True, True),
    ('{"ip": "x"}', False, False),
    ('{"labels": [null]}', False, False),
    ('{"labels": ["a"]}', False, False),
    ('{"labels": ["=a", "b="]}', True, True),
    ('{"labels": ["a=1", "a=2"]}', False, False),
    ('{"hosts": "fd://"}', False, False),
    ('{"hosts": ["foo://x"]}', False, False),
    ('{"hosts": ["x", "", "tcp://", " unix://"]}', True, True),
    ('{"hosts": ["tcp://a b"]}', False, False),
    ('{"hosts": ["tcp://a/b"]}', False, False),
    ('{"hosts": ["tcp://x:0"]}', False, False),
    ('{"hosts": ["tcp://[::1"]}', False, False),
    ('{"hosts": ["unix://a://b"]}', False, False),
    ('{"icc": "x", "icc": true}', False, False),
    ('{"resolv-conf": {"icc": true}}', False, False),
    ('{"registry-mirrors": ["https:/m"]}', True, False),
    ('{"log-opts": {"a": 5, "a": "x"}}', False, False),
    ('{"node-generic-resources": ["gpu=1", "gpu=2"]}', False, False),
    ('{"node-generic-resources": ["gpu=a", "gpu=b", "ssd=3"]}', True, True),
    ('{"fixed-cidr-v6": "::ffff:10.0.0.0/104"}', False, False),
    ('{"log-opts": {"max-file": 3}}', False, False),
    ('{"log-opts": {"tag": null}}', True, True),
    ('{"log-level": "warning"}', False, False),
    ('{"log-level": "INFO", "log-format": ""}', True, True),
    ('{"log-format": "xml"}', False, False),
    ('{"features": {"a": null, "b": true}}', True, True),
    ('{"features": {"a": "x"}}', False, False),
    ('{"features": {"windows-dns-proxy": false}}', False, True),
    ('{"proxies": null}', False, False),
    ('{"proxies": {}}', True, True),
    ('{"proxies": {"http-proxy": 5}}', False, False),
    ('{"proxies": {"icc": "x"}}', True, True),
    ('{"proxies": {"HTTP-proxy": "x"}}', False, False),
    ('{"http-proxy": 5}', True, True),
    ('{"builder": 5}', False, False),
    ('{"builder": {"GC": {"Enabled": "x"}}}', False, False),
    ('{"builder": {"gc": {"policy": [{"keepStorage": "1GB"}]}}}', True, True),
    ('{"runtimes": []}', False, False),
    ('{"runtimes": {"x": 5}}', False, False),
    ('{"runtimes": {"x": {"Path": "/x"}}}', True, True),
    ('{"default-ulimits": {"nofile": "1024:2048"}}', False, False),
    ('{"default-ulimits": {"a": {"hard": "5"}}}', False, False),
    ('{"default-address-pools": [{"base": "10.0.0.0/8", "size": "24"}]}', False, False),
    ('{"default-address-pools": {"base": "10.0.0.0/8"}}', False, False),
    ('{"default-address-pools": [{"Base": "10.0.0.0/8", "size": 24}]}', True, True),
    ('{"default-network-opts": {"bridge": {"a": 1}}}', False, False),
    ('{"tls": {"tls": "x"}}', False, False),
    ('{"w": {}}', True, True),
    ('{"w": {"userns-remap": 5}}', True, True),
    ('{"w": {"nope": 1}}', False, False),
    ('{"w": {"v": {"icc": true}}}', False, False),
    ('{"label": 5, "restart": 5, "help": 5, "version": 5}', True, True),
    ('{"feature": 1}', False, True),
    ('{"bip6": "fd00::1/64"}', False, True),
    ('{"firewall-backend": "nftables"}', False, False),
    ('{"graph": "/x"}', False, False),
    ('{"cluster-store-opts": {}}', False, False),
    ('{"oom-score-adjust": -500}', False, False),
    ('{"api-cors-header": ""}', True, True),
    ('{"api-cors-header": "*"}', True, False),
    ('{"allow-nondistributable-artifacts": 5}', False, True),
    ('{"containerd-plugins-namespace": 5}', True, True),
    ('{"containerd-plugin-namespace": "x"}', False, False),
    ('{"default-init": "x"}', False, False),
    ('{"content-trust": {"mode": "enforced"}}', False, False),
    ('{"host-gateway-ips": ["1.2.3.4", "1.2.3.5"]}', False, False),
    ('{"host-gateway-ips": ["1.2.3.4", "::1"]}', False, True),
    ('{"host-gateway-ips": ["1.2.3.4"], "host-gateway-ip": "1.2.3.4"}', False, False),
    ('{"dns-search": ["a_b"]}', False, False),
    ('{"dns-search": ["1"]}', False, False),
    ('{"dns-search": [".", "example.com."]}', True, True),
    ('{"default-ipc-mode": "host"}', False, False),
    ('{"default-cgroupns-mode": "x"}', False, False),
    ('{"fixed-cidr-v6": "10.0.0.0/8"}', False, False),
    ('{"fixed-cidr-v6": "fd00::"}', False, False),
    ('{"fixed-cidr-v6": "fe80::/10"}', False, False),
    ('{"fixed-cidr-v6": "fe80::1/128"}', False, False),
    ('{"fixed-cidr-v6": "fe80::/65"}', False, False),
    ('{"fixed-cidr-v6": "fe80::1/64"}', True, True),
    ('{"fixed-cidr-v6": "fe80:0:0:1::/64"}', True, True),
    ('{"fixed-cidr-v6": "::/0"}', True, False),
    ('{"fixed-cidr-v6": "8000::/1"}', True, False),
    ('{"fixed-cidr-v6": "ff00::1/128"}', True, False),
    ('{"userland-proxy-path": "x"}', False, False),
    ('{"userland-proxy-path": "x", "userland-proxy": false}', True, True),
    ('{"network-diagnostic-port": 99999}', True, False),
    ('{"group": "\\ud800"}', True, True),
    ('{"icc": true, "icc": false}', True, True),
    (b'{"bip": "\xff"}', False, False),
    (b'\xef\xbb\xbf{"icc": true}', True, True),
    ("", True, True),
]


@pytest.mark.parametrize(("text", "old", "new"), VALIDATED)
def test_agrees_with_dockerd_validate(text, old, new):
    assert not fatal(text, (26, 1, 5)) == old
    assert not fatal(text, (28, 5, 2)) == new


@pytest.mark.parametrize(
    ("text", "version", "starts"),
    [
        # moby verifyDaemonSettings, setupRuntimes, ValidateLogOpts: nothing --validate sees.
        ('{"icc": false, "iptables": false}', (26, 1), False),
        ('{"icc": false, "iptables": true}', (26, 1), True),
        ('{"w": {"icc": false}, "iptables": false}', (26, 1), False),
        ('{"icc": false, "ipv6": true, "ip6tables": false, "fixed-cidr-v6": "fd00::/64"}',
         (26, 1), True),
        ('{"icc": false, "ipv6": true, "ip6tables": false}', (27, 0), False),
        ('{"ip6tables": true}', (26, 1), False),
        ('{"ip6tables": true, "experimental": true}', (26, 1), True),
        ('{"ip6tables": true}', (27, 0), True),
        ('{"bridge": "br0", "bip": "10.0.0.1/24"}', (20, 10), False),
        ('{"bridge": "", "bip": "10.0.0.1/24"}', (20, 10), True),
        ('{"bridge": "br0", "bip6": "fd00::1/64"}', (28, 0), False),
        ('{"exec-opts": ["native.cgroupdriver=foo"]}', (26, 1), False),
        ('{"exec-opts": ["native.cgroupdriver=none"]}', (28, 5), False),
        ('{"exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": "/x"}', (28, 5), False),
        ('{"exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": ".slice"}', (28,), False),
        ('{"exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": "a.slice"}', (28,), True),
        ('{"exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "/x"}', (28, 5), True),
        ('{"exec-opts": ["a=b"]}', (26, 1), True),
        ('{"exec-opts": ["a=b"]}', (28, 0), False),
        ('{"containerd-namespace": "plugins.moby"}', (28, 0), False),
        ('{"runtimes": {"runc": {"path": "/x"}}}', (28, 0), False),
        ('{"runtimes": {"x": {}}}', (28, 0), False),
        ('{"runtimes": {"x": {"path": "/x", "runtimeType": "y"}}}', (28, 0), False),
        ('{"runtimes": {"x": {"path": "/x", "options": {"a": 1}}}}', (28, 0), False),
        ('{"runtimes": {"x": {"runtimeType": "io.x.v1", "runtimeArgs": ["a"]}}}', (28, 0), False),
        ('{"default-runtime": "crun"}', (28, 0), False),
        ('{"default-runtime": "crun", "runtimes": {"crun": {"path": "/x"}}}', (28, 0), True),
        ('{"default-runtime": "io.containerd.runc.v2"}', (28, 0), True),
        ('{"log-opts": {"max-sise": "10m"}}', (28, 0), False),
        ('{"log-driver": "syslog", "log-opts": {"anything": "10m"}}', (28, 0), False),
        ('{"log-driver": "local", "log-opts": {"labels": "x"}}', (29, 4), False),
        ('{"log-driver": "local", "log-opts": {"labels": "x"}}', (29, 5), True),
        ('{"log-driver": "none", "log-opts": {"labels": "x"}}', (28, 0), True),
        ('{"log-driver": "jsonfile", "log-opts": {"max-size": "10m"}}', (28, 0), False),
        ('{"log-driver": "loki", "log-opts": {"loki-url": "x"}}', (28, 0), True),  # a plugin
        ('{"log-opts": {"mode": "fast"}}', (28, 0), False),
        ('{"log-opts": {"max-buffer-size": "4m"}}', (28, 0), False),
        ('{"log-opts": {"max-buffer-size": "4m", "mode": "non-blocking"}}', (28, 0), True),
        ('{"registry-mirrors": ["mirror.example"]}', (28, 0), False),
        ('{"registry-mirrors": ["https://mirror.example/"]}', (28, 0), True),
        ('{"registry-mirrors": ["https://u:secret@mirror.example"]}', (28, 0), False),
        ('{"insecure-registries": ["foo://x"]}', (28, 0), False),
        ('{"insecure-registries": ["10.0.0.0/8", "r:5000", "http://r"]}', (28, 0), True),
        ('{"storage-driver": "devicemapper"}', (24, 0), True),
        ('{"storage-driver": "devicemapper"}', (25, 0), False),
        ('{"userns-remap": "u", "features": {"containerd-snapshotter": true}}', (29, 0), False),
        ('{"userns-remap": "u", "features": {"containerd-snapshotter": true}}', (28,), True),
        ('{"cri-containerd": true, "features": {"embedded-containerd": true}}', (29, 7), False),
        ('{"firewall-backend": "ipchains"}', (29, 0), False),
        ('{"bridge-accept-fwmark": "0x1/0x3"}', (29, 0), True),
        ('{"bridge-accept-fwmark": "one"}', (29, 0), False),
        ('{"dns": ["fe80::1%eth0"]}', (29, 0), True),
        ('{"nri-opts": {"enable": true}}', (29, 2), True),
        ('{"nri-opts": {"enabled": true}}', (29, 2), False),
        ('{"nri-opts": {"enable": true}}', (29, 1), False),
        ('{"default-stop-timeout": -1}', (29, 7), False),
        ('{"content-trust": {}}', (28, 0), True),
        # 20.10 has no --validate; read in its source.
        ("", (20, 10), False),
        (b'\xef\xbb\xbf{}', (20, 10), False),
        (b'{"group": "\xff"}', (20, 10), True),
        ('{"log-level": "warning"}', (20, 10), True),
        ('{"max-download-attempts": 0}', (20, 10), False),
        ('{"fixed-cidr-v6": "fd00::"}', (20, 10), True),
        ('{"fixed-cidr-v6": "fd00::", "ipv6": true}', (20, 10), False),
        ('{"max-download-attempts": 0}', (26, 1), True),
        ('{"graph": "/x", "oom-score-adjust": -500, "cluster-store": "x://y"}', (20, 10), True),
        ('{"proxies": {"http-proxy": "x"}}', (20, 10), False),
        ('{"default-network-opts": {"bridge": {}}}', (23, 0), True),
    ],
)  # fmt: skip
def test_what_validate_does_not_see(text, version, starts):
    assert not fatal(text, version) == starts


@pytest.mark.parametrize(
    ("text", "code", "directive", "fatal", "line", "column"),
    [
        ('{"authorization-plugin": ["opa"]}', "singular", "authorization-plugin", False, 1, 2),
        ('{\n "w": {\n  "icc": false}}', "wrapper", "icc", False, 3, 3),
        ('{"w": {"log-level": "foo"}}', "wrapper", "log-level", False, 1, 8),
        ('{"http-proxy": "http://p"}', "ignored", "http-proxy", False, 1, 2),
        ('{"containerd-plugins-namespace": "x"}', "ignored", "containerd-plugins-namespace",
         False, 1, 2),
        ('{"icc": true, "icc": false}', "duplicate", "icc", False, 1, 15),
        ('{"live-restor": true}', "unknown", "live-restor", True, 1, 2),
        ('{"graph": "/x"}', "removed", "graph", True, 1, 2),
        ('{"nri-opts": {"enable": true}}', "version", "nri-opts", True, 1, 2),
        ('{"nri-opts": {}}', "version", "nri-opts", False, 1, 2),
        ('{"log-opts": {\n"max-file": 3}}', "type", "log-opts", True, 2, 1),
        ('{"content-trust": {"mode": "x"}}', "content-trust", "content-trust", True, 1, 2),
        ('{"log-driver": "json_file"}', "log-driver", "log-driver", False, 1, 2),
    ],
)  # fmt: skip
def test_one_problem(text, code, directive, fatal, line, column):
    (problem,) = judge(text)
    assert (problem.code, problem.directive, problem.fatal) == (code, directive, fatal)
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"live-restor": true}', "did you mean live-restore?"),
        ('{"label": ["a=b"]}', "the directive is labels"),
        ('{"graph": "/x"}', "removed in Engine 24.0"),
        ('{"graph": "/x"}', "write data-root"),
        ('{"nri-opts": {"enable": true}}', "came with Engine 29.2 and this is 28.5.2"),
        ('{"w": {"icc": false}}', "loses it on reload"),
        ('{"hosts": "fd://"}', 'hosts is "fd://"'),
        ('{"log-opts": {"max-file": 3}}', "log-opts.max-file is number"),
        ('{"icc": false, "iptables": false}', "icc and iptables do not go together"),
    ],
)
def test_messages(text, words):
    assert words in judge(text)[0].message


def test_no_password_in_a_message():
    for problem in judge('{"registry-mirrors": ["https://u:secret@m", "u:secret@m"]}'):
        assert "secret" not in problem.message


@pytest.mark.parametrize(
    ("text", "flags", "conflicts"),
    [
        ('{"hosts": ["fd://"], "containerd": "x"}', STOCK, ["hosts", "containerd"]),
        ('{"hosts": null}', STOCK, ["hosts"]),
        ('{"w": {"hosts": ["fd://"]}}', STOCK, ["hosts"]),
        ('{"host": ["fd://"]}', STOCK, []),
        ('{"runtimes": {"x": {"path": "/x"}}}', ["runtimes"], []),
        ('{"labels": ["a=b"], "icc": true}', ["labels", "icc"], ["labels", "icc"]),
        ('{"host-gateway-ips": ["1.1.1.1"]}', ["host-gateway-ip"], ["host-gateway-ips"]),
        ('{"icc": true}', STOCK, []),
    ],
)
def test_flags_against_file(text, flags, conflicts):
    assert [p.directive for p in judge(text, (28, 5), flags) if p.code == "conflict"] == conflicts


def test_values_of_flags_count_in_combinations():
    assert not fatal('{"icc": false}', (28, 5), ["iptables"])
    assert fatal('{"icc": false}', (28, 5), {"iptables": False})
    assert not fatal('{"ip6tables": true}', (26, 1), ["experimental"])
    assert fatal('{"log-opts": {"max-size": "1m"}}', (28, 5), {"log-driver": "journald"})
    assert not fatal('{"log-opts": {"syslog-format": "x"}}', (28, 5), ["log-driver"])
    assert not fatal('{"default-runtime": "crun"}', (28, 5), ["runtimes"])


def test_engines_newer_than_the_table_decide_for_themselves():
    (problem,) = judge('{"from-the-future": 1}', (29, 8))
    assert (problem.code, problem.fatal) == ("newer", False)
    assert fatal('{"from-the-future": 1}', (29, 7, 2))
    assert fatal('{"icc": "x"}', (30, 1))


def test_unknown_engine_is_refused_only_what_all_refuse():
    assert not fatal('{"graph": "/x", "nri-opts": {"enable": true}, "bip6": "x"}', None)
    assert fatal('{"disable-legacy-registry": true}', None)
    assert fatal('{"nonsense": true}', None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(sorted(DIRECTIVES) + sorted(SINGULAR) + ["x", "ICC", "content-trust"])


@given(
    st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=4),
    st.sampled_from([(20, 10), (23, 0), (26, 1, 5), (28, 5), (29, 7), (31,), None]),
)
def test_nothing_in_a_file_breaks_the_judge(data, version):
    for problem in judge(json.dumps(data), version, STOCK):
        assert problem.message and "%(" not in problem.message
        assert problem.line == 1


def test_a_flood_of_unknown_names_takes_no_long_time():
    found = judge("{%s}" % ",".join('"live-restor%d": 1' % number for number in range(20000)))
    assert len(found) == 20000
    assert "did you mean live-restore" in found[0].message
    assert len(judge('{"%s": 1}' % ("x" * 100000))[0].message) < 300


# Seen at real starts of 20.10.24, 26.1.5 and 28.5.2; the source of each rule is at its function.
STARTED = [
    # (file, 20.10 starts, 26.1 starts, 28.5 starts)
    ('{"hosts": ["npipe://"]}', False, False, False),
    ('{"hosts": ["tcp://127.0.0.1:99999"]}', False, False, False),
    ('{"hosts": ["fd://x"]}', False, False, False),
    ('{"bip": "10.9.0.1"}', False, False, False),
    ('{"bip": "10.9.0.0/24"}', False, False, False),
    ('{"bip": "10.9.0.1/32"}', False, True, True),
    ('{"bip": "fd00::1/64"}', False, False, False),
    ('{"bip": "10.9.0.1/24", "fixed-cidr": "10.8.0.0/24"}', True, True, True),
    ('{"bip": "10.9.0.1/24", "default-gateway": "10.8.0.254"}', False, False, False),
    ('{"bip": "10.9.0.1/24", "default-gateway": "10.9.0.254"}', True, True, True),
    ('{"default-gateway": "::1"}', False, False, False),
    ('{"default-gateway": "10.1.0.1"}', True, True, True),
    ('{"fixed-cidr": "x"}', False, False, False),
    ('{"fixed-cidr": "x", "bridge": "none"}', True, True, True),
    ('{"ipv6": true}', False, False, True),
    ('{"bip6": "10.0.0.1/24", "ipv6": true}', False, False, False),
    ('{"bip6": "x"}', False, False, True),
    ('{"mtu": 1}', True, False, False),
    ('{"mtu": 65536}', True, False, False),
    ('{"mtu": 68}', True, True, True),
    ('{"default-address-pools": [{"base": "10.0.0.0/8", "size": 4}]}', False, False, False),
    ('{"default-address-pools": [{"base": "10.0.0.0/8", "size": 33}]}', False, False, False),
    ('{"default-address-pools": [{"base": "10.0.0.0/8"}]}', False, False, False),
    ('{"default-address-pools": [{"base": "10.1.2.3/16", "size": 24}]}', True, True, True),
    ('{"default-address-pools": [{"base": "fd00::/56", "size": 64}]}', False, False, False),
    ('{"default-address-pools": [{"base": "fd00::/8", "size": 96}]}', False, True, False),
    ('{"insecure-registries": ["-r"]}', False, False, False),
    ('{"insecure-registries": [""]}', False, False, False),
    ('{"insecure-registries": ["a_b"]}', False, False, False),
    ('{"insecure-registries": ["https://r/"]}', False, False, False),
    ('{"insecure-registries": ["r:99999"]}', False, False, False),
    ('{"insecure-registries": ["10.0.0.0/33"]}', False, False, False),
    ('{"insecure-registries": ["http://r:5000", "::1"]}', True, True, True),
    ('{"allow-nondistributable-artifacts": ["-x"]}', False, False, True),
    ('{"metrics-addr": ":9323"}', False, False, False),
    ('{"metrics-addr": "127.0.0.1:9323"}', True, True, True),
    ('{"storage-driver": "VFS"}', False, False, False),
    ('{"storage-driver": "vfs", "storage-opts": ["a=b"]}', False, False, False),
    ('{"storage-opts": ["size=1G"]}', False, False, False),
    ('{"storage-opts": ["overlay2.override_kernel_check=true"]}', True, False, False),
    ('{"builder": {"gc": {"enabled": true, "defaultKeepStorage": "x"}}}', False, False, False),
    ('{"builder": {"gc": {"defaultKeepStorage": "x"}}}', True, True, False),
    ('{"builder": {"gc": {"enabled": true, "policy": [{"filter": ["a"]}]}}}', False, True, True),
    ('{"default-runtime": "io.containerd.nosuch.v2"}', False, True, True),
    ('{"runtimes": {"x": {"runtimeType": "io.containerd.runc.v2", "options": '
     '{"SystemdCgroup": "x"}}}}', True, False, False),
    ('{"oom-score-adjust": -5000}', False, False, False),
    ('{"graph": "/x", "data-root": "/y"}', False, False, False),
    ('{"cluster-store": "x"}', False, False, False),
    ('{"log-opts": {"cache-disabled": "true"}}', True, True, True),
    ('{"log-opts": {"cache-x": "true"}}', False, False, False),
    ('{"log-opts": {"mode": "non-blocking", "max-buffer-size": "x"}}', False, False, False),
    ('{"log-driver": "syslog", "log-opts": {"syslog-facility": "x"}}', False, False, False),
    ('{"log-driver": "syslog", "log-opts": {"syslog-format": "rfc5424"}}', True, True, True),
    ('{"log-driver": "syslog", "log-opts": {"syslog-address": "foo://x"}}', False, False, False),
    ('{"log-driver": "gelf", "log-opts": {"tag": "x"}}', False, False, False),
    ('{"log-driver": "gelf", "log-opts": {"gelf-address": "udp://h:1", '
     '"gelf-compression-level": "10"}}', False, False, False),
    ('{"log-driver": "gelf", "log-opts": {"gelf-address": "udp://h:1", '
     '"gelf-tcp-max-reconnect": "2"}}', False, False, False),
    ('{"log-driver": "fluentd", "log-opts": {"fluentd-async": "maybe"}}', False, False, False),
    ('{"log-driver": "fluentd", "log-opts": {"fluentd-buffer-limit": "x"}}', False, False, False),
    ('{"log-driver": "awslogs", "log-opts": {"awslogs-region": "x"}}', False, False, False),
    ('{"log-driver": "awslogs", "log-opts": {"awslogs-group": "x"}}', True, True, True),
    ('{"log-driver": "splunk", "log-opts": {"splunk-nosuch": "x"}}', False, False, False),
    ('{"log-driver": "logentries", "log-opts": {"logentries-token": "x"}}', True, True, True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "oldest", "old", "new"), STARTED)
def test_agrees_with_real_starts(text, oldest, old, new):
    for version, starts in (((20, 10, 24), oldest), ((26, 1, 5), old), ((28, 5, 2), new)):
        assert fatal(text, version) is not starts, version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"max-concurrent-downloads": -1}', "0 to 9223372036854775807"),
        ('{"mtu": 1e3}', "mtu is 1e3,"),
        ('{"mtu": 1500.0}', "mtu is 1500.0,"),
    ],
)
def test_numbers_as_they_are_written(text, words):
    assert words in judge(text)[0].message


@pytest.mark.parametrize(
    "text",
    [
        '{"log-opts": {"splunk-token": 73717}}',
        '{"log-opts": "73717"}',
        '{"proxies": {"http-proxy": 73717}}',
        '{"proxies": "73717"}',
    ],
)
@pytest.mark.parametrize("version", [(20, 10), (28, 5, 2)])
def test_no_secret_in_a_type_error(text, version):
    found = judge(text, version)
    assert found and not any("73717" in problem.message for problem in found)


def test_white_space_that_only_newer_engines_take():
    text = "\u00a0{}\f"
    assert not fatal(text, (26, 1))
    assert fatal(text, (20, 10))
    assert not fatal("\n{}\n", (20, 10))
