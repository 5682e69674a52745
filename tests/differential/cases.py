# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes cases: a daemon.json, a command line and the files they name, from a seed and a number.

Whether a case starts is of no interest here: the tables hold what dockerd is likely to take and
what it is likely to refuse, and everything is mutated after that.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from _dockerd.directives import DIRECTIVES, SINGULAR

ENGINES = {"validate": ("trixie", "forky"), "start": ("bookworm", "trixie", "forky")}
STOCK = ["-H", "fd://", "--containerd=/run/containerd/containerd.sock"]
CONFIG = "/etc/docker/daemon.json"
DEFAULTS = "/etc/default/docker"
DROPIN = "/etc/systemd/system/docker.service.d/flags.conf"
TLS = "/etc/docker/tls"

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ci:x:1000:1000::/home/ci:/bin/sh
remap:x:1001:1001::/home/remap:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
nogroup:x:65534:
docker:x:998:ci
ci:x:1000:
remap:x:1001:
4000:x:4001:
"""
SUBIDS = (
    "ci:100000:65536\nremap:165536:65536\n",
    "1000:100000:65536\n1001:165536:65536\n",
    "remap:165536:65536\n",
    "ci:100000:65536\nci:300000:10\nroot:500000:65536\n",
    "ci:100000\nremap:x:y\n",
    "# none\n\n",
    "",
)


class Pairs(list):
    """An object as its (name, value) pairs, so that a name can stand twice."""


@dataclass
class Case:
    """One host. ``argv`` and ``environment`` are what systemd would give dockerd."""

    name: str
    engine: str
    argv: list = field(default_factory=lambda: list(STOCK))
    environment: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)  # path -> bytes, or the name of TLS material

    @property
    def digest(self) -> str:
        """Tells this case from every other, whatever the keys made for this machine hold."""
        parts = (self.engine, self.argv, sorted(self.environment.items()))
        return hashlib.sha256(repr((*parts, sorted(self.files.items()))).encode()).hexdigest()[:16]


# -- values

_KINDS = {
    "bool": ([True, False], ["true", 1, "yes"]),
    "int": ([0, 1, 1500, 65535], [-1, 1.5, "1500", 2**63, 1e3]),
    "str": (["", "x"], [5, True, ["x"]]),
    "ip": (["127.0.0.1", "::1", "", "192.0.2.7"], ["x", "1.2.3", "1.2.3.4/24", 5]),
    "size": (["64M", "1GiB", "1.5g", "512"], ["x", "", "64 X", 64, None, "-1m"]),
    "list": ([[], ["x"], ["x", "y"]], ["x", [5], {"x": "y"}, [["x"]]]),
    "ips": ([["192.0.2.1"], ["::1"], []], [["x"], "192.0.2.1", [5]]),
    "map": ([{}, {"max-size": "10m"}], [{"max-file": 3}, ["x"], "x", {"a": True}]),
    "bools": ([{}, {"a": True}], [{"a": "x"}, {"a": 1}, ["a"]]),
    "runtimes": (
        [{}, {"x": {"path": "/bin/x"}}, {"crun": {"path": "crun", "runtimeArgs": ["--debug"]}}],
        [{"x": 5}, {"x": {"path": 5}}, {"x": {"runtimeArgs": "y"}}, []],
    ),
    "ulimits": (
        [{}, {"nofile": {"Name": "nofile", "Soft": 64, "Hard": 128}}, {"core": {"Hard": 0}}],
        [{"nofile": "64:128"}, {"n": {"Soft": "1"}}, {"n": {"Name": 5}}, ["x"], {"n": 5}],
    ),
    "pools": (
        [[], [{"base": "10.200.0.0/16", "size": 24}], [{"Base": "10.1.0.0/16", "Size": 20}]],
        [[{"base": "x"}], {"base": "10.0.0.0/8"}, [{"size": "24"}], [5], [{"base": "10.0.0.0"}]],
    ),
    "networks": ([{}, {"bridge": {"a": "b"}}], [{"bridge": {"a": 1}}, {"bridge": 5}, []]),
    "proxies": (
        [{}, {"http-proxy": "http://p:3128"}, {"no-proxy": "a,b"}],
        [{"http-proxy": 5}, {"icc": False}, {"zz": 1}, "x", {"HTTP-Proxy": "x"}],
    ),
    "builder": (
        [{}, {"gc": {"enabled": True, "defaultKeepStorage": "1GB"}}, {"foo": 1}],
        [{"gc": {"enabled": "x"}}, {"gc": 5}, 5],
    ),
    "nri": ([{}, {"enable": True}], [{"enable": "x"}, {"foo": 1}]),
}  # fmt: skip
_VALUES = {
    "log-level": (["info", "DEBUG", "warn", "panic", ""], ["bogus", "warning", 5]),
    "log-format": (["text", "json", ""], ["xml", "JSON"]),
    "default-ipc-mode": (["private", "shareable", ""], ["host", "container:x", "none"]),
    "default-cgroupns-mode": (["private", "host", ""], ["x"]),
    "labels": ([["a=b"], ["a="], ["a=1", "b=2"], ["a=1", "a=1"]], [["a"], ["a=1", "a=2"], [""]]),
    "dns-search": ([["example.com"], ["."], ["a.b."]], [["a_b"], ["1"], [""], ["-a.com"]]),
    "dns": ([["192.0.2.1"], ["::1", ""]], [["x"], ["01.2.3.4"], ["fe80::1%eth0"], ["1.2.3.4 "]]),
    "hosts": (
        [["fd://"], ["unix:///run/x.sock"], ["tcp://127.0.0.1:2376"], ["tcp://"], [" unix://"]],
        [["foo://x"], ["tcp://a/b"], ["tcp://x:0"], ["tcp://x:y"], ["unix://a://b"], ["http://x"],
         ["tcp://[::1"], ["tcp://a:99999"], ["tcp://a%zz"], ["tcp://a b"], [":x"], ["npipe://"]],
    ),
    "registry-mirrors": (
        [["https://m.example"], ["http://m.example/"], ["https://m.example/p/"], ["HTTPS://m"]],
        [["m.example"], ["https://u:p@m"], ["ftp://m"], ["https://m?x=1"], ["https://m/#f"],
         ["https://"], [""], ["https://m:x"], ["https://a b"], ["https://[::1"], ["https:/m"]],
    ),
    "insecure-registries": (
        [["10.0.0.0/8"], ["r.example:5000"], ["http://r.example"], ["[::1]:5000"]],
        [["foo://x"], ["r:99999"], ["-r"], ["r-"], ["r:x"], [""], ["a_b"], ["http://-x"]],
    ),
    "fixed-cidr": (["", "172.17.0.0/24"], ["x", "10.0.0.0"]),
    "fixed-cidr-v6": (["fd00:1::/64", ""], ["10.0.0.0/8", "fd00::", "x", "::ffff:10.0.0.0/104"]),
    "bip": (["172.17.0.1/16", ""], ["10.0.0.1", "x"]),
    "exec-opts": (
        [["native.cgroupdriver=cgroupfs"], [" native.cgroupdriver = cgroupfs"], []],
        [["a=b"], ["a"], ["native.cgroupdriver="], ["NATIVE.cgroupdriver=cgroupfs"], ["=x"],
         ["native.cgroupdriver=cgroupfs", "native.cgroupdriver=cgroupfs"], [""], ["isolation=x"]],
    ),
    "node-generic-resources": (
        [["gpu=1"], ["gpu=a", "gpu=b"], []],
        [["gpu"], ["gpu="], ["=1"], ["gpu=a,b"], ["gpu=1", "gpu=a"], ["gpu=1", "gpu=2"], ["g=-1"]],
    ),
    "features": (
        [{"containerd-snapshotter": True}, {"cdi": False}, {}],
        [{"a": "x"}, {"windows-dns-proxy": True}, {"a": 1}],
    ),
    "host-gateway-ips": (
        [["192.0.2.1"], ["192.0.2.1", "::1"]],
        [["192.0.2.1", "192.0.2.2"], ["::1", "::2"], ["x"], [""]],
    ),
    "default-address-pools": (
        [[{"base": "10.200.0.0/16", "size": 24}], [{"base": "fd00::/56", "size": 64}]],
        [[{"base": "10.0.0.0/8", "size": 4}], [{"base": "10.0.0.0/8", "size": 40}], [{"base": ""}],
         [{"size": 24}], [{"base": "10.0.0.0/33", "size": 24}], [{"base": "10.0.0.0/8"}]],
    ),
    "userns-remap": (
        ["default", "ci", "ci:ci", "1000", "1000:1000", "root", "0:0", "remap", "default:ci"],
        ["nosuch", "ci:nosuch", "4242", "a:b:c", "ci:", ":ci", "1000:4242", "4000", "-1", "nobody",
         "ci:4000", "01000", " ci"],
    ),
    "userland-proxy-path": (
        ["/usr/bin/true", "/usr/sbin/docker-proxy", ""],
        ["x", "/nosuch", "/etc/passwd", "/usr", "./x"],
    ),
    "rootless": ([False], [True, "x"]),
    "cpu-rt-period": ([0], [1000000, -1, "x"]),
    "cpu-rt-runtime": ([0], [950000, -1, "x"]),
    "storage-driver": (["overlay2", "vfs", ""], ["devicemapper", "aufs", "nosuch"]),
    "network-diagnostic-port": ([0, 2000, 65535], [-1, 65536]),
    "api-cors-header": ([""], ["*"]),
    "default-runtime": (["runc", "io.containerd.runc.v2", ""], ["nosuch"]),
    "containerd-namespace": (["moby", "x", ""], ["plugins.moby"]),
    "authorization-plugins": ([[]], [["nosuch"]]),
    "max-download-attempts": ([1, 5], [0, -1]),
    "tlscacert": (["{tls}/ca.pem", ""], ["{tls}/nosuch", "{tls}/garbage", "{tls}/server-key.pem"]),
    "tlscert": (["{tls}/server-cert.pem", "{tls}/expired"], ["{tls}/nosuch", "{tls}/garbage", ""]),
    "tlskey": (["{tls}/server-key.pem"], ["{tls}/nosuch", "{tls}/other-key", "{tls}/encrypted"]),
    "group": (["docker", "ci", ""], ["nosuch"]),
    "seccomp-profile": (["", "builtin", "unconfined"], ["/nosuch"]),
}  # fmt: skip
# Names that are in moby's source and in no table of ours, and names that people write.
_STRANGERS = (
    "swarm-raft-heartbeat-tick", "swarm-raft-election-tick", "resolv-conf", "default-init",
    "containerd-plugin-namespace", "isolation", "debug-port", "trust-key", "log-config",
    "storage-option", "dns-options", "insecure_registries", "live-restore-enabled", "tls-verify",
    "bridge-ip", "userns", "seccomp", "cgroup-driver", "graph-driver", "data_root", "D", "H", "l",
    "features.buildkit", "", " icc", "icc ", "cluster", "no-new-privilege", "metrics-address",
    "containerd-snapshotter", "max-concurrent-download", "api-enable-cors", "registry", "h", "v",
)  # fmt: skip
# What is not compatible with much else or waits for something is rare.
_RARE = {
    "tls", "tlsverify", "tlscacert", "tlscert", "tlskey", "rootless", "cpu-rt-period",
    "cpu-rt-runtime", "authorization-plugins", "userns-remap",
}  # fmt: skip
# Flags that the oracle itself gives or that end dockerd: in a file they conflict with nothing else.
_NEVER = {"validate"}
_NAMES = sorted(set(DIRECTIVES) - _RARE - _NEVER) * 2 + sorted(_RARE) + sorted(SINGULAR)


def _tls(value: object) -> object:
    return value.replace("{tls}", TLS) if isinstance(value, str) else value


def value(random: Random, name: str) -> object:
    """A value for a directive: mostly of its kind, sometimes of another's."""
    row = DIRECTIVES.get(name) or SINGULAR.get(name)
    chance = random.random()
    if row is None or chance > 0.95:
        return random.choice(random.choice(random.choice(list(_KINDS.values()))))
    if chance > 0.92:
        return None
    good, bad = _VALUES.get(row.name) or _KINDS[row.kind]
    return _tls(random.choice(good if chance < 0.66 else bad))


# -- daemon.json


def _misspelt(random: Random, name: str) -> str:
    return random.choice(
        (name.upper(), name.title(), name + "s", name[:-1], name.replace("-", "_"),
         random.choice(_STRANGERS))
    )  # fmt: skip


def _object(random: Random, count: int) -> Pairs:
    found = Pairs()
    for _index in range(count):
        name = random.choice(_NAMES)
        pair = (name, value(random, name))
        chance = random.random()
        if chance < 0.06:
            pair = (_misspelt(random, name), pair[1])
        elif chance < 0.13:  # nesting
            outer = random.choice(("w", "tls-opts", "proxies", "content-trust", "network", name))
            inner = random.choice((pair[1], True, False, "true", "False", "maybe", 1))
            pair = (outer, Pairs([(name, inner)]))
            if random.random() < 0.1:
                pair = ("w", Pairs([pair]))
        found.append(pair)
        if random.random() < 0.06:  # twice
            found.insert(random.randrange(len(found) + 1), (pair[0], value(random, name)))
    random.shuffle(found)
    return found


def _text(value_: object, indent: str, level: int = 1) -> str:
    if isinstance(value_, dict):
        value_ = Pairs(value_.items())
    if not isinstance(value_, Pairs):
        return json.dumps(value_)
    inner = ",".join(
        "%s%s: %s" % (indent * level, json.dumps(name), _text(item, indent, level + 1))
        for name, item in value_
    )
    return "{%s%s}" % (inner, indent * (level - 1) if inner else "")


_BYTES = (
    lambda random, raw: raw[:-1] + b",}",
    lambda random, raw: raw.replace(b'"', b"'", 2),
    lambda random, raw: b"\xef\xbb\xbf" + raw,
    lambda random, raw: raw.decode("utf-8", "replace").encode("utf-16"),
    lambda random, raw: raw + random.choice((b"x", b"{}", b"\n\n", b"\0", b"//", b" ]")),
    lambda random, raw: raw[: random.randrange(len(raw) + 1)],
    lambda random, raw: b"// comment\n" + raw,
    lambda random, raw: raw.replace(b":", b"=", 1),
    lambda random, raw: raw.replace(b'"', b'"\xff', 1),
    lambda random, raw: raw.replace(b'": "', b'": "\\u00e4\\ud800', 1),
    lambda random, raw: raw.replace(b'": "', b'": "\t', 1),
    lambda random, raw: b"[" + raw + b"]",
    lambda random, raw: random.choice((b"", b" \n", b"null", b"5", b'"x"', b"{", b"\0", b"true")),
    lambda random, raw: raw.replace(b"true", b"True").replace(b"null", b"None"),
    lambda random, raw: raw.replace(b"0", b"007", 1).replace(b"5", b"+5", 1),
)


def config(random: Random) -> bytes:
    """The bytes of a daemon.json."""
    count = random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4))
    indent = random.choice(("", "\n", "\n  ", "\r\n\t"))
    raw = _text(_object(random, count), indent).encode()
    return random.choice(_BYTES)(random, raw) if random.random() < 0.12 else raw


# -- the command line

# Words that nothing decodes into, or that are read in ways of their own; a command line each.
_BAD_WORDS = [
    shlex.split(line) for line in Path(__file__).with_name("flags.txt").read_text().splitlines()
]


def words(random: Random, name: str, value_: object) -> list:
    """A directive as flags."""
    row = DIRECTIVES[name]
    flag = "--%s" % row.flag
    if isinstance(value_, bool):
        return random.choice(([flag + "=" + json.dumps(value_)], [flag]))
    if isinstance(value_, dict):
        items = ["%s=%s" % (key, _inner(item)) for key, item in value_.items()]
    elif isinstance(value_, list):
        items = [_inner(item) for item in value_]
    else:
        items = [str(value_)]
    if row.short and random.random() < 0.3:
        return [word for item in items for word in ("-" + row.short, item)]
    if random.random() < 0.5:
        return ["%s=%s" % (flag, item) for item in items]
    return [word for item in items for word in (flag, item)]


def _inner(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    if "path" in item:
        return str(item["path"])
    if "Soft" in item or "Hard" in item:
        return "%s:%s" % (item.get("Soft", 0), item.get("Hard", 0))
    return ",".join("%s=%s" % pair for pair in item.items())


def extra(random: Random) -> list:
    """Flags beyond the stock ones."""
    found: list = []
    for _index in range(random.choice((1, 1, 1, 2, 3))):
        if random.random() < 0.3:
            found += random.choice(_BAD_WORDS)
        else:
            name = random.choice([name for name in _NAMES if DIRECTIVES.get(name)])
            if DIRECTIVES[name].flag and name not in ("validate", "help", "version"):
                found += words(random, name, value(random, name))
    return found


def _quoted(word: str) -> str:
    """A word as systemd reads it back, systemd.syntax(7) and systemd.service(5)."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"%s"' % word if not word or set(word) & set(" '\t\\;") else word


def _variable(words_: list) -> str:
    """Words in a variable that ExecStart= splits: systemd takes quotes and backslashes there."""
    return " ".join(
        "'%s'" % word if not word or set(word) & set(' "\t\\') else word for word in words_
    )


def tell(random: Random, case: Case, more: list) -> None:
    """Add flags to the command line, by one of the ways there are."""
    way = random.choice(("dropin", "options", "environment", "file"))
    if any("'" in word or "\n" in word for word in more):
        way = "dropin"
    if way == "dropin":
        stock = random.choice((STOCK, STOCK, STOCK, [], STOCK[:2], STOCK[2:]))
        case.argv = [*stock, *more]
        line = " ".join(["/usr/sbin/dockerd", *map(_quoted, case.argv)])
        text = "[Service]\nExecStart=\nExecStart=%s\n" % line
        if random.random() < 0.3:
            text = text.replace(" ", " \\\n    ", 1)
        case.files[DROPIN] = text.encode()
        return
    case.argv = [*STOCK, *more]
    assigned = "DOCKER_OPTS=%s" % _variable(more)
    if way == "environment":
        escaped = assigned.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
        case.files[DROPIN] = ('[Service]\nEnvironment="%s"\n' % escaped).encode()
        return
    quoted = '"%s"' % _variable(more).replace("\\", "\\\\").replace('"', '\\"')
    quoted = quoted.replace("$", "\\$").replace("`", "\\`")
    text = "# flags of dockerd\nDOCKER_OPTS=%s\n" % quoted
    if way == "options":
        case.files[DEFAULTS] = text.encode()
    else:
        case.files["/etc/dockerd.env"] = text.encode()
        case.files[DROPIN] = b"[Service]\nEnvironmentFile=/etc/dockerd.env\n"


_ENVIRONMENT = (
    {"DOCKER_TLS_VERIFY": "1"},
    {"DOCKER_TLS_VERIFY": "0", "DOCKER_CERT_PATH": TLS},
    {"DOCKER_CERT_PATH": TLS},
    {"DOCKER_MIN_API_VERSION": "1.24"},
    {"DOCKER_MIN_API_VERSION": "1.23"},
    {"DOCKER_MIN_API_VERSION": "v1.40"},
    {"DOCKER_MIN_API_VERSION": "9.9"},
    {"HTTP_PROXY": "http://192.0.2.1:3128"},
    {"PATH": "/nowhere"},
)


def _surround(random: Random, case: Case, text: bytes) -> None:
    """The files that the configuration names, and the environment."""
    shown = text + " ".join(case.argv).encode()
    if random.random() < 0.04:
        case.environment.update(random.choice(_ENVIRONMENT))
        lines = "".join('Environment="%s=%s"\n' % pair for pair in case.environment.items())
        path = DROPIN.replace("flags", "environment")
        case.files[path] = b"[Service]\n" + lines.encode()
    if b"tls" in shown or any(name.startswith("DOCKER_") for name in case.environment):
        for name in MATERIAL:
            case.files["%s/%s" % (TLS, name)] = "tls:" + name
    if b"userns-remap" in shown:
        case.files["/etc/passwd"] = PASSWD.encode()
        case.files["/etc/group"] = GROUP.encode()
        for name in ("/etc/subuid", "/etc/subgid"):
            case.files[name] = random.choice(
                SUBIDS[:2] if random.random() < 0.6 else SUBIDS
            ).encode()


MATERIAL = (
    "ca.pem", "server-cert.pem", "server-key.pem", "cert.pem", "key.pem", "expired", "other-key",
    "encrypted", "encrypted-rfc1423", "garbage", "empty", "chain", "der", "both", "rsa-cert",
    "rsa-key", "rsa-key-pkcs1", "small-cert", "small-key", "ed-cert", "ed-key", "crlf-cert",
    "parameters-key", "ca-cut", "ca-two",
)  # fmt: skip
_CERTS = (
    "server-cert.pem", "expired", "chain", "both", "crlf-cert", "rsa-cert", "small-cert",
    "ed-cert", "garbage", "empty", "der", "server-key.pem", "nosuch", "ca.pem", "",
)  # fmt: skip
_KEYS = {
    "rsa-cert": ("rsa-key", "rsa-key-pkcs1", "server-key.pem"),
    "small-cert": ("small-key", "rsa-key"),
    "ed-cert": ("ed-key", "server-key.pem"),
    "": ("server-key.pem", "other-key", "encrypted", "encrypted-rfc1423", "garbage", "empty",
         "der", "both", "parameters-key", "nosuch", "", "server-cert.pem"),
}  # fmt: skip
_AUTHORITIES = ("ca.pem", "ca-two", "ca-cut", "garbage", "empty", "server-key.pem", "nosuch", "")


def _tls_options(random: Random) -> dict:
    """A TLS set-up, mostly right in all but one of its parts."""
    cert = random.choice(_CERTS) if random.random() < 0.5 else "server-cert.pem"
    key = "server-key.pem"
    if cert in _KEYS and random.random() < 0.9:
        key = random.choice(_KEYS[cert])
    elif random.random() < 0.4:
        key = random.choice(_KEYS[""])
    options: dict = {}
    switch = random.choice(("tls", "tlsverify", "tlsverify", "both", "wrapper"))
    if switch in ("tls", "both"):
        options["tls"] = random.random() < 0.8
    if switch in ("tlsverify", "both"):
        options["tlsverify"] = random.random() < 0.7
    if switch == "wrapper":
        options["tls-opts"] = {random.choice(("tls", "tlsverify")): random.random() < 0.7}
    chosen = {
        "tlscert": cert,
        "tlskey": key,
        "tlscacert": random.choice(_AUTHORITIES) if random.random() < 0.5 else "ca.pem",
    }
    for name, file in chosen.items():
        if random.random() < 0.95:
            options[name] = "%s/%s" % (TLS, file) if file else ""
    return options


def _bundle(random: Random, case: Case, options: dict, text: bytes) -> bytes:
    """Options as flags or in the file, whole or parted."""
    flags = [name for name in options if name in DIRECTIVES and random.random() < 0.25]
    if flags and random.random() < 0.8:
        tell(
            random,
            case,
            [word for name in flags for word in words(random, name, options[name])],
        )
        options = {name: item for name, item in options.items() if name not in flags}
    return json.dumps(options).encode() if options or not text else text


def make(kind: str, seed: int, number: int) -> Case:
    """The case with this number; the same for the same arguments, always."""
    random = Random("%s/%s/%s" % (seed, kind, number))
    case = Case("%s:%d" % (kind, number), ENGINES[kind][number % len(ENGINES[kind])])
    if kind == "start":
        text = _start(random, seed, case)
    else:
        text = config(random)
        chance = random.random()
        if chance < 0.07:
            text = _bundle(random, case, _tls_options(random), text)
        elif chance < 0.10:
            text = _bundle(random, case, {"userns-remap": value(random, "userns-remap")}, text)
        elif chance < 0.35:
            tell(random, case, extra(random))
    if text or random.random() < 0.5:
        case.files[CONFIG] = text
    _surround(random, case, text)
    return case


# -- what only a start shows

# Options that --validate lets pass, whether dockerd then starts or not; a line each.
STARTS = [
    json.loads(line) for line in Path(__file__).with_name("starts.jsonl").read_text().splitlines()
]
# Each of these waits for seconds before dockerd gives up or goes on.
SLOW = (
    {"authorization-plugins": ["nosuch"]},
    {"-H": ["tcp://0.0.0.0:2375"]},
    {"authorization-plugins": ["nosuch"], "icc": False},
)
# dockerd's own listeners, in place of the socket that systemd hands over.
LISTENERS = (
    ["unix:///run/x.sock"], ["unix://"], ["unix:///nosuch/x.sock"], ["tcp://127.0.0.1:2375"],
    ["tcp://127.0.0.1:99999"], ["tcp://192.0.2.1:2376"], ["tcp://nosuch.invalid:2376"], ["fd://5"],
    ["fd://3"], ["fd://x"], ["fd://*"], ["fd://", "unix:///run/x.sock"], ["unix:///etc/passwd"],
    ["unix:///run/x.sock", "unix:///run/x.sock"], ["tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"],
    ["unix:///run/x.sock", "unix:///run/y.sock"], ["fd://", "fd://"], ["tcp://localhost:2375"], ["npipe://"],
    ["127.0.0.1:2375"], [""], ["unix:///run"], ["tcp://[::1]:2375"],
)  # fmt: skip


def _start(random: Random, seed: int, case: Case) -> bytes:
    """One or two ingredients in a daemon.json, some as flags, sometimes with other listeners."""
    number = int(case.name.partition(":")[2]) // len(ENGINES["start"])
    if number % 60 == 59:
        options = dict(random.choice(SLOW))
    elif number < len(STARTS):
        order = Random("%s/order" % seed).sample(range(len(STARTS)), len(STARTS))
        options = dict(STARTS[order[number]])  # each once, alone
    else:
        options = dict(random.choice(STARTS))
    chance = random.random()
    if number >= len(STARTS) and chance < 0.4:
        options.update(random.choice(STARTS))
    hosts = options.pop("-H", None)
    if hosts is None and chance > 0.88:
        hosts = random.choice(LISTENERS)
    if hosts is None:
        if chance < 0.12:
            return _bundle(random, case, options, b"")
        if number % 9 == 8:
            return _bundle(random, case, _tls_options(random), b"")
        return json.dumps(options).encode()
    if random.random() < 0.5:
        options["hosts"] = hosts
        hosts = []
    more = [word for host in hosts for word in ("-H", host)]
    case.argv = [STOCK[2], *more]
    line = " ".join(["/usr/sbin/dockerd", *map(_quoted, case.argv)])
    case.files[DROPIN] = ("[Service]\nExecStart=\nExecStart=%s\n" % line).encode()
    return json.dumps(options).encode()
