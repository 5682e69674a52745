# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every daemon.json directive and dockerd flag of Engine 20.10 to 29.7, as data.

Source: moby ``daemon/config/config.go``, ``config_linux.go`` and the flag definitions in
``cmd/dockerd`` (``daemon/command`` since 29.0), compared release by release.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Tuple

Version = Tuple[int, ...]

NEWEST = (29, 7)  # the newest engine this table was read from


@dataclass(frozen=True)
class Directive:
    """One row: a daemon.json key, the flag that means the same, or both.

    ``kind`` is what dockerd decodes the value into: bool, int, str, ip, size, list (of
    strings), ips, map (string to string), bools (string to bool), or one of the structures
    runtimes, ulimits, pools, networks, proxies, builder, nri. Versions are tuples.
    """

    name: str
    kind: str
    since: Version = (1, 12)
    until: Version | None = None  # the first version that refuses it
    ignored: Version | None = None  # the first that accepts it in the file without effect
    reloadable: bool = False  # SIGHUP applies it, moby daemon/reload.go
    flag: str | None = None
    flag_since: Version | None = None  # where the flag is younger than the directive
    short: str | None = None
    pitfall: str = ""

    @property
    def inner(self) -> bool:
        """Whether its inner keys stand for themselves, so that each can have its own owner."""
        return self.kind in MAPS

    def known(self, version: Version) -> bool:
        """Whether this engine has it."""
        return self.since <= version and (self.until is None or version < self.until)


MAPS = ("map", "bools", "runtimes", "ulimits", "networks", "proxies", "builder", "nri")


def _row(name: str, kind: str, since: Version = (1, 12), **rest) -> Directive:
    rest.setdefault("flag", name)
    return Directive(name, kind, since, **rest)


_CLASSIC_SWARM = "it belonged to classic Swarm; 'docker swarm init' took its place"

_TABLE = (
    _row("authorization-plugins", "list", flag="authorization-plugin", reloadable=True),
    _row("bip", "str"),
    _row("bridge", "str", short="b"),
    _row("fixed-cidr", "str"),
    _row("fixed-cidr-v6", "str"),
    _row("default-gateway", "ip"),
    _row("default-gateway-v6", "ip"),
    _row("ip", "ip"),
    _row("cgroup-parent", "str"),
    _row("containerd", "str"),
    _row("debug", "bool", short="D", reloadable=True),
    _row("default-runtime", "str", reloadable=True),
    _row("runtimes", "runtimes", flag="add-runtime", reloadable=True),
    _row("default-ulimits", "ulimits", flag="default-ulimit"),
    _row("dns", "ips"),
    _row("dns-opts", "list", flag="dns-opt"),
    _row("dns-search", "list"),
    _row("exec-opts", "list", flag="exec-opt"),
    _row("exec-root", "str"),
    _row("pidfile", "str", short="p"),
    _row("group", "str", short="G", pitfall="sockets made by systemd take SocketGroup= instead"),
    _row("hosts", "list", flag="host", short="H"),
    _row("icc", "bool"),
    _row("ip-forward", "bool"),
    _row("ip-masq", "bool"),
    _row("iptables", "bool"),
    _row("ipv6", "bool"),
    _row("insecure-registries", "list", flag="insecure-registry", reloadable=True),
    _row("registry-mirrors", "list", flag="registry-mirror", reloadable=True),
    _row("labels", "list", flag="label", reloadable=True),
    _row("live-restore", "bool", reloadable=True),
    _row("log-driver", "str"),
    _row("log-level", "str", short="l"),
    _row("log-opts", "map", flag="log-opt"),
    _row("raw-logs", "bool"),
    _row("max-concurrent-downloads", "int", reloadable=True),
    _row("max-concurrent-uploads", "int", reloadable=True),
    _row("mtu", "int"),
    _row("selinux-enabled", "bool"),
    _row("storage-driver", "str", short="s"),
    _row("storage-opts", "list", flag="storage-opt"),
    _row("swarm-default-advertise-addr", "str"),
    _row("tls", "bool"),
    _row("tlsverify", "bool", pitfall="even false switches TLS on"),
    _row("tlscacert", "str"),
    _row("tlscert", "str"),
    _row("tlskey", "str"),
    _row("userland-proxy", "bool"),
    _row("userns-remap", "str"),
    _row("cpu-rt-period", "int", (1, 13)),
    _row("cpu-rt-runtime", "int", (1, 13)),
    _row("experimental", "bool", (1, 13)),
    _row("init", "bool", (1, 13)),
    _row("init-path", "str", (1, 13)),
    _row("metrics-addr", "str", (1, 13)),
    _row("seccomp-profile", "str", (1, 13)),
    _row("userland-proxy-path", "str", (1, 13)),
    _row("shutdown-timeout", "int", (1, 13), reloadable=True),
    _row("data-root", "str", (17, 6)),
    _row("default-shm-size", "size", (17, 6), reloadable=True),
    _row("no-new-privileges", "bool", (17, 6)),
    _row("default-ipc-mode", "str", (17, 9), reloadable=True),
    _row("network-control-plane-mtu", "int", (17, 9)),
    _row("node-generic-resources", "list", (17, 9), flag="node-generic-resource"),
    _row("network-diagnostic-port", "int", (17, 12), reloadable=True),
    _row("default-address-pools", "pools", (18, 6), flag="default-address-pool"),
    _row("builder", "builder", (18, 9), flag=None),
    _row("cri-containerd", "bool", (18, 9)),
    _row("features", "bools", (18, 9), flag="feature", flag_since=(27, 3), reloadable=True),
    _row("containerd-namespace", "str", (19, 3)),
    _row("rootless", "bool", (19, 3)),
    _row("default-cgroupns-mode", "str", (20, 10), reloadable=True),
    _row("ip6tables", "bool", (20, 10)),
    _row("host-gateway-ip", "ip", (20, 10)),
    _row("max-download-attempts", "int", (20, 10), reloadable=True),
    _row("proxies", "proxies", (23, 0), flag=None),
    _row("default-network-opts", "networks", (24, 0), flag="default-network-opt"),
    _row("cdi-spec-dirs", "list", (25, 0), flag="cdi-spec-dir"),
    _row("log-format", "str", (25, 0)),
    _row("bip6", "str", (28, 0)),
    _row("host-gateway-ips", "ips", (28, 0), flag=None),  # its flag is still host-gateway-ip
    _row("ip-forward-no-drop", "bool", (28, 0)),
    _row("allow-direct-routing", "bool", (28, 2)),
    _row("firewall-backend", "str", (29, 0)),
    _row("bridge-accept-fwmark", "str", (29, 0)),
    _row("min-api-version", "str", (29, 0), flag=None),
    _row("nri-opts", "nri", (29, 2), reloadable=True),
    _row("default-stop-timeout", "int", (29, 7), reloadable=True),
    # Refused by newer engines.
    _row("disable-legacy-registry", "bool", until=(19, 3), pitfall="v1 registries are gone"),
    _row("api-enable-cors", "bool", until=(17, 9), pitfall="put a proxy that sets CORS in front"),
    _row("graph", "str", until=(24, 0), short="g", pitfall="write data-root"),
    _row("cluster-store", "str", until=(24, 0), reloadable=True, pitfall=_CLASSIC_SWARM),
    _row("cluster-advertise", "str", until=(24, 0), reloadable=True, pitfall=_CLASSIC_SWARM),
    _row(
        "cluster-store-opts",
        "map",
        until=(24, 0),
        flag="cluster-store-opt",
        reloadable=True,
        pitfall=_CLASSIC_SWARM,
    ),
    _row(
        "oom-score-adjust", "int", (1, 13), until=(26, 0), pitfall="set OOMScoreAdjust= in the unit"
    ),
    _row(
        "api-cors-header",
        "str",
        until=(29, 0),
        pitfall="put a proxy that sets CORS in front",
    ),
    # Accepted in the file and without effect there.
    _row(
        "allow-nondistributable-artifacts",
        "list",
        (17, 6),
        ignored=(28, 1),
        reloadable=True,
        pitfall="every layer is pushed now",
    ),
    _row(
        "deprecated-key-path",
        "str",
        (17, 6),
        ignored=(24, 0),
        flag=None,
        pitfall="there is no key.json",
    ),
    _row(
        "containerd-plugins-namespace",
        "str",
        (19, 3),
        ignored=(19, 3),
        pitfall="only the flag --containerd-plugins-namespace works",
    ),
    _row("http-proxy", "str", (23, 0), ignored=(23, 0), pitfall="write it inside proxies"),
    _row("https-proxy", "str", (23, 0), ignored=(23, 0), pitfall="write it inside proxies"),
    _row("no-proxy", "str", (23, 0), ignored=(23, 0), pitfall="write it inside proxies"),
    _row(
        "restart", "bool", ignored=(1, 12), short="r", pitfall="use restart policies of containers"
    ),
    _row("config-file", "str", ignored=(1, 12), pitfall="it is a flag only"),
    _row("help", "bool", ignored=(1, 12), short="h", pitfall="it is a flag only"),
    _row("version", "bool", ignored=(1, 12), short="v", pitfall="it is a flag only"),
    _row("validate", "bool", (23, 0), ignored=(23, 0), pitfall="it is a flag only"),
)

DIRECTIVES: dict[str, Directive] = {row.name: row for row in _TABLE}
FLAGS: dict[str, Directive] = {row.flag: row for row in _TABLE if row.flag}
SHORT: dict[str, Directive] = {row.short: row for row in _TABLE if row.short}

# Flag names that dockerd lets pass in the file, although it reads only the plural.
SINGULAR: dict[str, Directive] = {
    flag: row for flag, row in FLAGS.items() if flag not in DIRECTIVES
}


def parse_version(text: str) -> Version:
    """``28.5.2+dfsg4-5`` as (28, 5, 2). Raises ValueError where there is no version."""
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)", text)
    if not found:
        raise ValueError("%r is not an engine version such as 28.5.2" % text)
    return tuple(int(part) for part in found.group(1).split("."))


def suggest(name: str) -> str | None:
    """The directive that somebody who wrote ``name`` most likely meant."""
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    live = [row.name for row in _TABLE if not row.ignored and not row.until]
    near = difflib.get_close_matches(wanted, live, 1, 0.75)
    return near[0] if near else None
