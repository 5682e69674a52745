# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from _dockerd import directives
from _dockerd.directives import DIRECTIVES, FLAGS, SHORT, SINGULAR

# `dockerd --help` of three engines, hidden and deprecated flags of their sources included.
FLAGS_20_10 = """
add-runtime allow-nondistributable-artifacts api-cors-header authorization-plugin bip bridge
cgroup-parent cluster-advertise cluster-store cluster-store-opt config-file containerd
containerd-namespace containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd
data-root debug default-address-pool default-cgroupns-mode default-gateway default-gateway-v6
default-ipc-mode default-runtime default-shm-size default-ulimit dns dns-opt dns-search exec-opt
exec-root experimental fixed-cidr fixed-cidr-v6 graph group help host host-gateway-ip icc init
init-path insecure-registry ip ip-forward ip-masq ip6tables iptables ipv6 label live-restore
log-driver log-level log-opt max-concurrent-downloads max-concurrent-uploads max-download-attempts
metrics-addr mtu network-control-plane-mtu network-diagnostic-port no-new-privileges
node-generic-resource oom-score-adjust pidfile raw-logs registry-mirror restart rootless
seccomp-profile selinux-enabled shutdown-timeout storage-driver storage-opt
swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy
userland-proxy-path userns-remap version
""".split()
GONE = {
    "cluster-advertise", "cluster-store", "cluster-store-opt", "graph", "oom-score-adjust",
}  # fmt: skip
ADDED = {
    (26, 1): "http-proxy https-proxy no-proxy validate default-network-opt cdi-spec-dir log-format",
    (28, 5): "feature bip6 ip-forward-no-drop allow-direct-routing",
    (29, 7): "firewall-backend bridge-accept-fwmark nri-opts default-stop-timeout",
}


def flags_of(version):
    return {
        flag
        for flag, row in FLAGS.items()
        if row.known(version) and (row.flag_since or row.since) <= version
    }


def test_flags_of_each_engine_are_those_of_its_source():
    expected = set(FLAGS_20_10)
    assert flags_of((20, 10)) == expected
    expected = expected - GONE | set(ADDED[(26, 1)].split())
    assert flags_of((26, 1)) == expected
    expected |= set(ADDED[(28, 5)].split())
    assert flags_of((28, 5)) == expected
    expected = expected - {"api-cors-header"} | set(ADDED[(29, 7)].split())
    # The engine dropped this flag in 29.0 and still lets the key pass in the file.
    assert flags_of((29, 7)) - {"allow-nondistributable-artifacts"} == expected - {
        "allow-nondistributable-artifacts"
    }


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("28.5.2+dfsg4-5", (28, 5, 2)),
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("v29.7", (29, 7)),
        ("29.8.0-rc.1", (29, 8, 0)),
    ],
)
def test_parse_version(text, version):
    assert directives.parse_version(text) == version


@pytest.mark.parametrize("text", ["", "dev", "library-import", "-1"])
def test_parse_version_of_nothing(text):
    with pytest.raises(ValueError, match="engine version"):
        directives.parse_version(text)


@pytest.mark.parametrize(
    ("name", "version", "known"),
    [
        ("bip6", (27, 5, 1), False),
        ("bip6", (28, 0, 0), True),
        ("graph", (23, 0, 18), True),
        ("graph", (24, 0, 0), False),
        ("oom-score-adjust", (25, 0, 13), True),
        ("oom-score-adjust", (26, 0, 0), False),
        ("nri-opts", (29, 1, 5), False),
        ("nri-opts", (29, 2, 0), True),
        ("icc", (99, 0), True),
    ],
)
def test_known(name, version, known):
    assert DIRECTIVES[name].known(version) is known


def test_table_has_each_name_once():
    assert len(DIRECTIVES) == len(directives._TABLE)
    assert len(FLAGS) == len([row for row in directives._TABLE if row.flag])
    assert {letter: row.name for letter, row in SHORT.items()} == {
        "b": "bridge", "D": "debug", "g": "graph", "G": "group", "h": "help", "H": "hosts",
        "l": "log-level", "p": "pidfile", "r": "restart", "s": "storage-driver", "v": "version",
    }  # fmt: skip


def test_singular_names_lead_to_the_directive():
    assert SINGULAR["authorization-plugin"].name == "authorization-plugins"
    assert SINGULAR["host"].name == "hosts"
    assert "host-gateway-ip" not in SINGULAR  # a directive by itself
    assert "icc" not in SINGULAR


@pytest.mark.parametrize(
    ("name", "reloadable"),
    [("live-restore", True), ("labels", True), ("tlsverify", False), ("icc", False)],
)
def test_reloadable(name, reloadable):
    assert DIRECTIVES[name].reloadable is reloadable


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ICC", "icc"),
        ("no_new_privileges", "no-new-privileges"),
        ("live-restor", "live-restore"),
        ("insecure-registrys", "insecure-registries"),
        ("grap", None),  # never a name that newer engines refuse
        ("something-else-entirely", None),
    ],
)
def test_suggest(name, meant):
    assert directives.suggest(name) == meant
