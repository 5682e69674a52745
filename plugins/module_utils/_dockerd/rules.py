# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of daemon.json: what an engine refuses, and what it accepts and does not apply.

The rules follow moby ``daemon/config/config.go``, ``config_linux.go`` and
``verifyDaemonSettings`` in ``daemon/daemon_unix.go``. They know nothing of the host: files, users
and swarm are judged elsewhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping

from . import bridge, logopts
from .addresses import (
    SIZE,
    ip_version,
    listen_problem,
    mirror_problem,
    port_problem,
    registry_problem,
)
from .config import Document, Path, named
from .directives import DIRECTIVES, NEWEST, SINGULAR, Directive, Version, suggest
from .units import boolean


@dataclass(frozen=True)
class Problem:
    """Something dockerd refuses (``fatal``), or accepts and does not apply."""

    code: str
    message: str
    directive: str
    line: int | None
    column: int | None
    fatal: bool


def settings(
    document: Document, version: Version | None, flags: Mapping[str, Any]
) -> Callable[[str], Any]:
    """A function from a directive to what file, flags and wrapped booleans set it to.

    It gives None where a directive is unset or not of its type.
    """
    judge = _Judge(document, version, flags)
    judge.types()
    return judge.usable


def problems(
    document: Document, version: Version | None, flags: Iterable[str] = ()
) -> list[Problem]:
    """Everything in the file that this engine refuses or silently does not apply.

    ``version`` None is an engine nobody knows: only what every supported one refuses counts.
    ``flags`` are the directives given as flags; a mapping from directive to value lets
    combinations of flags and file be judged as well.
    """
    judge = _Judge(document, version, flags)
    for rule in (
        judge.encoding,
        judge.duplicates,
        judge.names,
        judge.types,
        judge.conflicts,
        judge.choices,
        judge.numbers,
        judge.strings,
        judge.labels,
        judge.resources,
        judge.addresses,
        judge.registries,
        judge.exec_options,
        judge.logs,
        judge.runtimes,
        judge.combinations,
        judge.features,
        judge.storage,
        judge.builder,
        judge.old,
        judge.networks,
    ):
        rule()
    return judge.found


_SCALARS = {"bool": bool, "int": int, "str": str, "ip": str, "size": str}


def _json(kind: str) -> type:
    """The type that JSON has for a kind of directive."""
    return _SCALARS.get(kind) or (list if kind in ("list", "ips", "pools") else dict)


def _is(value: object, kind: type) -> bool:
    """Whether a value is of a JSON type; to Python alone true is a number too."""
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


_WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "str": "a string",
    "ip": "an IP address as a string",
    "size": 'a size as a string, such as "64M"',
    "list": "a list of strings",
    "ips": "a list of IP addresses",
    "map": "an object of strings",
    "bools": "an object of true and false",
    "runtimes": 'an object such as {"name": {"path": "/usr/bin/crun"}}',
    "ulimits": 'an object such as {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 2048}}',
    "pools": 'a list such as [{"base": "10.200.0.0/16", "size": 24}]',
    "networks": 'an object such as {"bridge": {"com.docker.network.bridge.enable_icc": "false"}}',
    "proxies": "an object with http-proxy, https-proxy and no-proxy",
    "builder": 'an object such as {"gc": {"enabled": true}}',
    "nri": "an object with enable, plugin-path, plugin-config-path and socket-path",
}
# What is inside the structures; names of struct fields are compared without case, as Go does.
_FIELDS: dict[str, dict[str, Any]] = {
    "runtimes": {"path": "str", "runtimeargs": "list", "runtimetype": "str", "options": {}},
    "ulimits": {"name": "str", "soft": "int", "hard": "int"},
    "pools": {"base": "str", "size": "int"},
    "proxies": {"http-proxy": "str", "https-proxy": "str", "no-proxy": "str"},
    "builder": {"gc": {"enabled": "bool", "defaultkeepstorage": "str"}},
    "nri": {
        "enable": "bool",
        "plugin-path": "str",
        "plugin-config-path": "str",
        "socket-path": "str",
    },
}
_ITEMS = {"list": "str", "ips": "ip", "map": "str", "bools": "bool"}
_PRIVATE = ("log-opts", "proxies")  # whose values are in no message: tokens, passwords
_OUT = "take it out"
_APPLIED = "dockerd applies it at start and loses it on reload"
_NOT_APPLIED = "dockerd lets it pass and does not apply it"
_ONE_BRIDGE = "bip is for the bridge that dockerd makes, bridge names one of yours; keep one"
_MESSAGES = {
    "encoding": "not UTF-8 here, and dockerd refuses that since 23.0; save the file as UTF-8",
    "bom": "a byte order mark, which dockerd reads since 23.0; save the file without it",
    "empty": "the file is empty, which dockerd takes since 23.0; write {} into it",
    "padded": "white space around the document that JSON does not know, which dockerd takes since "
    "23.0; take it out",
    "duplicate": "%(name)s is written more than once: dockerd goes by the last and says nothing; "
    "leave one",
    "singular": "%(directive)s is a flag's name: dockerd lets it pass in the file and does not "
    "apply it; the directive is %(plural)s",
    "ignored": "%(directive)s is accepted and does nothing here: take it out; %(pitfall)s",
    "newer": "%(directive)s is no directive up to Engine %(newest)s, the newest we know; "
    "dockerd --validate decides",
    "unknown": "%(directive)s is no directive, and dockerd does not start with it; %(hint)s",
    "removed": "%(directive)s was removed in Engine %(until)s, and dockerd does not start with it; "
    "%(out)s",
    "version": "%(directive)s came with Engine %(since)s and this is %(engine)s, which does not "
    "know it; take it out or upgrade",
    "content-trust": "content-trust was a directive of the Enterprise Edition only: dockerd does "
    "not start with what is in it; take it out",
    "wrapper": "%(directive)s stands inside %(outer)s, which is no place for it: %(effect)s; "
    "move it to the top",
    "type": "%(where)s is %(what)s, and dockerd does not start: %(directive)s must be %(wanted)s",
    "value": "%(directive)s has %(value)s, and dockerd starts only with %(wanted)s",
    "conflict": "%(directive)s is set here and by the flag --%(flag)s, and dockerd does not start "
    "with two sources, even of equal values; keep one",
    "gateways": "host-gateway-ip is the former name of host-gateway-ips, and dockerd does not "
    "start with both; keep host-gateway-ips",
    "exec-opts": "exec-opts has %(option)s, and dockerd %(effect)s: native.cgroupdriver is the "
    "only option there is; take it out",
    "log-driver": "log-driver %(driver)s does not exist, and %(effect)s; you mean %(near)s",
    "log-opts": "log-opts.%(option)s is no option of log driver %(driver)s, and dockerd does not "
    "start with it; take it out, or set the log-driver it belongs to",
    "buffer": "log-opts.max-buffer-size goes with mode non-blocking, and dockerd does not start "
    "without it; set mode, or take it out",
    "runtimes": "runtimes.%(name)s %(wrong)s, and dockerd does not start; name it otherwise than "
    "runc and give it a path, or a runtimeType",
    "combination": "%(first)s and %(second)s do not go together, and dockerd does not start: "
    "%(why)s",
}
# Fields of moby's Config that are no directives: only an object gets past the names to them.
_UNNAMED = {
    "containerd-plugin-namespace",
    "default-init",
    "resolv-conf",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
}
_GATEWAYS = {"host-gateway-ip", "host-gateway-ips"}
_MARK = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)(/(0x[0-9a-fA-F]+|[0-9]+))?\Z")
_CHOICES = {
    "log-level": ("panic", "fatal", "error", "warn", "info", "debug", "trace"),
    "log-format": ("text", "json"),
    "default-ipc-mode": ("private", "shareable"),
    "default-cgroupns-mode": ("private", "host"),
    "firewall-backend": ("iptables", "nftables"),
}
# Since which engine, from, to; moby config.Validate.
_RANGES = {
    "mtu": ((23, 0), 0, 2**63 - 1),
    "max-concurrent-downloads": ((1, 12), 0, 2**63 - 1),
    "max-concurrent-uploads": ((1, 12), 0, 2**63 - 1),
    "max-download-attempts": ((20, 10), 0, 2**63 - 1),
    "default-stop-timeout": ((29, 7), 0, 2**63 - 1),
    "network-diagnostic-port": ((28, 0), 0, 65535),
}
_STORAGE = ("overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs")
_STORAGE_GONE = {"aufs": (24, 0), "overlay": (24, 0), "devicemapper": (25, 0)}
# What each storage driver takes in storage-opts; the others are not judged.
_STORAGE_OPTS = {"overlay2": ("overlay2.size",), "vfs": ("size", "vfs.xattrs")}
_RUNC = "io.containerd.runc.v2"
_RUNC_SWITCHES = ("SystemdCgroup", "NoPivotRoot", "NoNewKeyring")  # containerd's runc options
_GC_SIZES = (
    "defaultkeepstorage",
    "defaultreservedspace",
    "defaultmaxusedspace",
    "defaultminfreespace",
    "keepstorage",
    "reservedspace",
    "maxusedspace",
    "minfreespace",
)
_DOMAIN = re.compile(
    r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*\.?\s*\Z"
)


def _release(version: Version) -> str:
    return ".".join(str(part) for part in version)


class _Judge:
    """The rules, each looking at one file for one engine."""

    def __init__(self, document: Document, version: Version | None, flags: Iterable[str]) -> None:
        self.document = document
        self.data = document.data
        self.version = version and (*version, 0, 0)[: max(len(version), 2)]
        self.flags: dict[str, Any] = (
            dict(flags) if isinstance(flags, Mapping) else dict.fromkeys(flags)
        )
        self.found: list[Problem] = []
        self.refused: set[str] = set()  # what later rules need not look at
        self.cgroup_driver = ""
        # What dockerd's check of names sees: objects it does not know are taken apart.
        self.seen: dict[str, Path] = {}
        for key, value in self.data.items():
            if isinstance(value, dict) and not self.whole(key):
                for inner in value:
                    self.seen[inner] = (key, inner)
            else:
                self.seen[key] = (key,)

    # -- what the rules ask

    def since(self, *version: int) -> bool:
        """Whether the engine is at least this; an unknown engine counts as the newest."""
        return self.version is None or self.version >= version

    def before(self, *version: int) -> bool:
        """Whether the engine is known to be older than this."""
        return self.version is not None and self.version < version

    def known(self, row: Directive) -> bool:
        if self.version is None:
            return row.until is None or row.until > (20, 10)
        return row.known(self.version)

    def ignored(self, row: Directive) -> bool:
        return row.ignored is not None and self.since(*row.ignored)

    def whole(self, key: str) -> bool:
        """Whether dockerd keeps an object below this key together."""
        row = DIRECTIVES.get(key)
        # Removed names are still in moby's list (flatOptions), so only the start counts.
        return row is not None and row.inner and key != "proxies" and self.since(*row.since)

    def accepted(self, key: str) -> bool:
        """Whether the name alone passes dockerd's check."""
        row = DIRECTIVES.get(key)
        if row is not None:
            return self.known(row) and key != "proxies"
        row = SINGULAR.get(key)
        return row is not None and self.known(row) and self.since(*(row.flag_since or row.since))

    def setting(self, name: str) -> Any:
        """What a directive is set to by file or flag; None where unset or not of its type."""
        value = self.value(name)
        path = self.seen.get(name, ())
        if value is None and len(path) == 2:  # inside a wrapper
            value = self.wrapped(str(path[0]), name)
        return value if _is(value, _json(DIRECTIVES[name].kind)) else None

    def value(self, name: str) -> Any:
        """What the file or else a flag has; maps that are written twice are merged, as Go does."""
        value = self.data.get(name)
        for path, former in self.document.former:
            if path == (name,) and isinstance(value, dict) and isinstance(former, dict):
                value = {**former, **value}
        return self.flags.get(name) if value is None else value

    def wrapped(self, outer: str, name: str) -> bool | None:
        """A boolean inside a wrapper object, which dockerd applies through the flag."""
        value = self.data[outer][name]
        if name not in DIRECTIVES or DIRECTIVES[name].kind != "bool":
            return None
        return value if isinstance(value, bool) else boolean(str(value))

    def texts(self, name: str) -> list[str]:
        """The strings of a list."""
        value = self.told(name, list) or []
        return [item or "" for item in value]

    def map(self, name: str) -> dict[str, Any]:
        """A map, empty where there is none of the right type."""
        return self.told(name, dict) or {}

    def report(
        self, code: str, directive: str, path: Path = (), fatal: bool = True, **words: object
    ) -> None:
        path = path or self.seen.get(directive, (directive,))
        place = self.document.positions.get(path, (None, None))
        self.say(code, directive, place, fatal, **words)
        if fatal:
            self.refused.add(directive)

    def say(self, code: str, directive: str, place: tuple, fatal: bool, **words: object) -> None:
        message = _MESSAGES[code] % dict(words, directive=directive[:80])
        self.found.append(Problem(code, message, directive, place[0], place[1], fatal))

    # -- rules

    def encoding(self) -> None:
        document = self.document
        if document.invalid and self.since(23, 0):
            self.say("encoding", "", document.invalid, True)
        if document.bom and self.before(23, 0):
            self.say("bom", "", (1, 1), True)
        if document.empty and self.before(23, 0):
            self.say("empty", "", (1, 1), True)
        if document.padded and self.before(23, 0):
            self.say("padded", "", (1, 1), True)

    def duplicates(self) -> None:
        for path, line, column in self.document.duplicates:
            self.say("duplicate", str(path[0]), (line, column), False, name=_dotted(path))

    def names(self) -> None:
        for key, value in self.data.items():
            row = DIRECTIVES.get(key)
            if isinstance(value, dict) and not self.whole(key):
                self.wrapper(key, value)
            elif key == "proxies" and self.since(23, 0):
                self.mistyped(DIRECTIVES[key], (key,), named(value))
            elif not self.accepted(key):
                self.unknown(key)
            elif row is None:
                self.report("singular", key, fatal=False, plural=SINGULAR[key].name)
            elif self.ignored(row):
                self.report("ignored", key, fatal=False, pitfall=row.pitfall)

    def unknown(self, key: str, path: Path = (), fatal: bool = True) -> None:
        row = DIRECTIVES.get(key) or SINGULAR.get(key)
        if row is None and self.version is not None and self.version[:2] > NEWEST:
            self.report("newer", key, path, False, newest=_release(NEWEST))
        elif row is None:
            near = suggest(key) if len(self.found) < 50 else None  # comparing is slow
            self.report("unknown", key, path, hint="did you mean %s?" % near if near else _OUT)
        elif row.until is not None and row.until <= (self.version or NEWEST):
            out = "%s: %s" % (_OUT, row.pitfall) if row.pitfall else _OUT
            self.report("removed", key, path, fatal, until=_release(row.until), out=out)
        else:
            since = row.since if key in DIRECTIVES else row.flag_since or row.since
            engine = _release(self.version or ())
            self.report("version", key, path, fatal, since=_release(since), engine=engine)

    def wrapper(self, key: str, value: dict[str, Any]) -> None:
        """An object that dockerd takes apart: its inner keys count as directives."""
        strangers = [inner for inner in value if not self.accepted(inner)]
        row = DIRECTIVES.get(key)
        if key == "content-trust":
            self.report("content-trust", key, fatal=bool(strangers))
            return
        if row is not None and not self.known(row):
            self.unknown(key, fatal=bool(strangers))
            return
        for inner in strangers:
            self.unknown(inner, (key, inner))
        if row is not None and key != "proxies" and not self.ignored(row):
            return  # a directive that is no object; types() says so
        for inner in value:
            if inner in strangers or (key == "proxies" and inner in _FIELDS["proxies"]):
                continue
            effect = _APPLIED if self.wrapped(key, inner) is not None else _NOT_APPLIED
            self.report("wrapper", inner, (key, inner), False, outer=key, effect=effect)

    def types(self) -> None:
        # Go decodes every value of a name that is written twice, and fails at any of them.
        former = [(path[0], _skeleton(path[1:], value)) for path, value in self.document.former]
        for key, value in [*self.data.items(), *former]:
            if isinstance(value, dict) and key.lower() in _UNNAMED:
                where, what = key, _shown(value)
                self.report("type", key, where=where, what=what, wanted="left out")
            # Go decodes "ICC" into icc; only an object of that name gets past the names.
            row = DIRECTIVES.get(key.lower() if isinstance(value, dict) else key)
            if row is None or not self.known(row) or self.ignored(row):
                continue
            if key in self.refused or (value is None and row.kind != "size"):
                continue
            wrong = self.wrong(row, value)
            if wrong is not None:
                path, what = wrong
                if row.name in _PRIVATE:
                    what = named(value[path[0]] if path else value)
                self.mistyped(row, (key, *path), what)

    def mistyped(self, row: Directive, path: Path, what: str) -> None:
        place = path
        while place and place not in self.document.positions:
            place = place[:-1]
        wanted = _WANTED[row.kind]
        self.report("type", row.name, place, where=_dotted(path), what=what, wanted=wanted)

    def wrong(self, row: Directive, value: Any) -> tuple[Path, str] | None:
        """The first place where a value is not what dockerd decodes, and what is there."""
        kind = row.kind
        if kind in _SCALARS:
            return self.scalar(kind, value)
        listed = kind in ("list", "ips", "pools")
        if not isinstance(value, list if listed else dict):
            return (), _shown(value)
        if kind in ("proxies", "builder", "nri"):
            return self.fields(_FIELDS[kind], value, exact=kind == "nri")
        for name, item in enumerate(value) if listed else value.items():
            if item is None:
                continue
            if kind in _ITEMS:
                bad = self.scalar(_ITEMS[kind], item)
            elif not isinstance(item, dict):
                bad = (), _shown(item)
            elif kind == "networks":
                bad = self.fields(dict.fromkeys(map(str.lower, item), "str"), item)
            else:
                bad = self.fields(_FIELDS[kind], item)
            if bad is not None:
                return (name, *bad[0]), bad[1]
        return None

    def fields(
        self, wanted: dict[str, Any], value: dict[str, Any], exact: bool = False
    ) -> tuple[Path, str] | None:
        """The first wrong field of a structure; unknown ones count only where ``exact``."""
        for name, item in value.items():
            kind = wanted.get(name.lower())
            bad: tuple[Path, str] | None = None
            if kind is None:
                bad = ((), "no option of it") if exact else None
            elif item is None:
                continue
            elif kind == "list":
                strings = isinstance(item, list) and all(isinstance(each, str) for each in item)
                bad = None if strings else ((), _shown(item))
            elif isinstance(kind, dict):
                bad = self.fields(kind, item) if isinstance(item, dict) else ((), _shown(item))
            else:
                bad = self.scalar(kind, item)
            if bad is not None:
                return (name, *bad[0]), bad[1]
        return None

    def scalar(self, kind: str, value: Any) -> tuple[Path, str] | None:
        if not _is(value, _SCALARS[kind]):
            return (), _shown(value)
        if kind == "int" and not -(2**63) <= value < 2**63:
            return (), "a number of more than 64 bits"
        if kind == "ip" and value:
            # dns and host-gateway-ips are netip.Addr since 29.0, which knows zones.
            zoned = ":" in value and self.since(29, 0)
            if ip_version(value.partition("%")[0] if zoned else value) is None:
                return (), _shown(value)
        if kind == "size" and not SIZE.match(value):
            return (), _shown(value)
        return None

    def conflicts(self) -> None:
        given = set(self.flags)
        if given & _GATEWAYS:
            given |= _GATEWAYS
        for key in self.seen:
            if key in given and key in DIRECTIVES and key != "runtimes":
                flag = DIRECTIVES[key].flag or "host-gateway-ip"
                self.report("conflict", key, flag=flag)
        if _GATEWAYS <= set(self.seen) and self.since(28, 0):
            self.report("gateways", "host-gateway-ip")

    def choices(self) -> None:
        for name, choices in _CHOICES.items():
            value = self.told(name, str) or ""
            if name == "log-level":
                value = value.lower()
                if value == "warning" and self.before(23, 0):
                    continue
            if value and value not in choices:
                self.refuse(name, value, "one of %s" % ", ".join(choices))

    def numbers(self) -> None:
        for name, (since, least, most) in _RANGES.items():
            value = self.told(name, int)
            if value is not None and self.since(*since) and not least <= value <= most:
                self.refuse(name, value, "%d to %d" % (least, most))
        if self.told("max-download-attempts", int) == 0 and self.before(23, 0):
            self.refuse("max-download-attempts", 0, "1 or more")

    def strings(self) -> None:
        path = self.told("userland-proxy-path", str)
        if path and not path.startswith("/") and self.since(25, 0):
            if self.setting("userland-proxy") is not False:
                self.refuse("userland-proxy-path", path, "an absolute path")
        cidr = self.told("fixed-cidr-v6", str)
        looked_at = self.since(25, 0) or self.setting("ipv6")
        if cidr and looked_at:
            wanted = bridge.ipv6_problem(cidr, self.version or NEWEST)
            if wanted:
                self.refuse("fixed-cidr-v6", cidr, wanted)
        mark = self.told("bridge-accept-fwmark", str)
        if mark and not _MARK.match(mark):
            self.refuse("bridge-accept-fwmark", mark, "mark or mark/mask, such as 0x1/0x3")
        if self.told("api-cors-header", str) and self.since(27, 0):
            out = "%s: %s" % (_OUT, DIRECTIVES["api-cors-header"].pitfall)
            fatal = self.since(28, 0)
            self.report(
                "removed" if fatal else "ignored",
                "api-cors-header",
                fatal=fatal,
                until="28.0",
                out=out,
                pitfall=DIRECTIVES["api-cors-header"].pitfall,
            )

    def storage(self) -> None:
        """Graph drivers and their options, moby daemon/graphdriver."""
        if self.map("features").get("containerd-snapshotter"):
            return  # then it names a snapshotter of containerd
        driver = self.told("storage-driver", str)
        gone = _STORAGE_GONE.get(driver or "")
        if gone and self.version is not None and self.version >= gone:
            self.refuse("storage-driver", driver, "others since %s, such as overlay2" % gone[0])
        elif driver and not gone and driver not in _STORAGE and not self.maybe("experimental"):
            # With experimental it may be a plugin's.
            self.refuse("storage-driver", driver, "one of %s" % ", ".join(_STORAGE))
        known = _STORAGE_OPTS.get(driver or "overlay2", ())
        for option in self.texts("storage-opts"):
            name, equals, value = (part.strip() for part in option.partition("="))
            old = name.lower() == "overlay2.override_kernel_check" and self.before(24, 0)
            if not equals:
                self.refuse("storage-opts", option, "options written name=value")
            elif known and name.lower() not in known and not (old and boolean(value) is not None):
                self.refuse("storage-opts", option, "options of that storage driver")
            elif name.lower() in ("overlay2.size", "size") and not SIZE.match(value):
                self.refuse("storage-opts", option, "a size such as 10G")

    def builder(self) -> None:
        """Sizes in the garbage collection of BuildKit, moby builder/builder-next/controller.go."""
        collection = _lowered(_lowered(self.map("builder")).get("gc") or {})
        enabled = collection.get("enabled")
        if not (enabled or (enabled is None and self.since(28, 2))):
            return
        policies = collection.get("policy")
        for policy in policies if isinstance(policies, list) else [collection]:
            if not isinstance(policy, dict):
                continue
            for name, value in _lowered(policy).items():
                if name in _GC_SIZES and value and not SIZE.match(str(value)):
                    self.refuse("builder", value, "sizes such as 10GB")
                if name == "filter" and self.before(23, 0) and isinstance(value, list):
                    if any("=" not in str(one) for one in value):
                        self.refuse("builder", value, "filters written name=value")

    def old(self) -> None:
        """What only engines before 26.0 have."""
        score = self.told("oom-score-adjust", int)
        if score is not None and not -1000 <= score <= 1000:
            self.refuse("oom-score-adjust", score, "-1000 to 1000")
        if self.told("graph", str) and self.told("data-root", str):
            self.combine("graph", "data-root", "graph is its former name; keep data-root")
        store = self.told("cluster-store", str)
        if store and "://" not in store:
            self.refuse("cluster-store", store, "provider://address")

    def told(self, name: str, kind: type) -> Any:
        """A directive of this engine as file or flags have it, if it is of the right type."""
        value = self.value(name)
        if name in self.refused or not _is(value, kind) or not self.known(DIRECTIVES[name]):
            return None
        return value

    def refuse(self, name: str, value: object, wanted: str, path: Path = ()) -> None:
        self.report("value", name, path, value=_shown(value), wanted=wanted)

    def labels(self) -> None:
        values: dict[str, str] = {}
        for label in self.texts("labels"):
            key, equals, value = label.partition("=")
            if not equals:
                self.refuse("labels", label, "labels written key=value")
            elif values.setdefault(key, value) != value:
                self.refuse("labels", label, "one value for each label")

    def resources(self) -> None:
        """Generic resources of a swarm node, swarmkit api/genericresource/parse.go."""
        tokens: dict[str, list[str]] = {}
        for text in self.texts("node-generic-resources"):
            parts = [part.strip() for part in text.split("=")]
            if len(parts) != 2:
                self.refuse("node-generic-resources", text, "resources written name=value")
                return
            tokens.setdefault(parts[0], []).append(parts[1])
        for name, values in tokens.items():
            numbers = [value for value in values if re.match(r"[+-]?[0-9]+\Z", value)]
            if numbers and (len(values) > 1 or int(numbers[0]) < 0):
                wanted = "one number that is not negative, or names only"
                self.refuse("node-generic-resources", name, wanted)

    def addresses(self) -> None:
        for domain in self.texts("dns-search"):
            letters = re.search("[a-zA-Z]", domain)
            if domain.strip() != "." and not (letters and _DOMAIN.match(domain.strip())):
                self.refuse("dns-search", domain, "domain names")
        for address in self.texts("hosts"):
            wanted = listen_problem(address, self.before(23, 0))
            if wanted or address.strip().startswith("npipe:"):
                self.refuse("hosts", address, wanted or "addresses that Linux listens on")
        families = [ip_version(text.partition("%")[0]) for text in self.texts("host-gateway-ips")]
        if families.count(4) > 1 or families.count(6) > 1:
            self.refuse("host-gateway-ips", families, "one IPv4 and one IPv6 address")
        metrics = self.told("metrics-addr", str)
        if metrics and port_problem(metrics):
            self.refuse("metrics-addr", metrics, port_problem(metrics))

    def networks(self) -> None:
        for directive, value, wanted in bridge.problems(self.usable, self.version or NEWEST):
            self.refuse(directive, value, wanted)

    def usable(self, name: str) -> Any:
        """A setting that no rule refused yet."""
        return None if name in self.refused else self.setting(name)

    def registries(self) -> None:
        for mirror in self.texts("registry-mirrors"):
            wanted = mirror_problem(mirror, self.before(23, 0), self.since(28, 0))
            if wanted:  # no password in a message
                self.refuse("registry-mirrors", mirror.rpartition("@")[2], wanted)
        for registry in self.texts("insecure-registries"):
            wanted = registry_problem(registry)
            if wanted:
                self.refuse("insecure-registries", registry, wanted)
        if self.before(28, 1):
            for registry in self.texts("allow-nondistributable-artifacts"):
                wanted = registry_problem(registry)
                if wanted or "://" in registry:
                    wanted = wanted or "names without a scheme"
                    self.refuse("allow-nondistributable-artifacts", registry, wanted)

    def exec_options(self) -> None:
        for option in self.texts("exec-opts"):
            key, value = (part.strip() for part in option.partition("=")[::2])
            if key.lower() != "native.cgroupdriver" or not value:
                effect = "does not start" if self.since(28, 0) else "ignores it"
                fatal = self.since(28, 0)
                self.report("exec-opts", "exec-opts", fatal=fatal, option=option, effect=effect)
            elif value not in ("systemd", "cgroupfs"):
                self.refuse("exec-opts", option, "native.cgroupdriver=systemd or =cgroupfs")
            else:
                self.cgroup_driver = value

    def logs(self) -> None:
        options = self.map("log-opts")
        driver = self.told("log-driver", str)
        if driver is None and "log-driver" in self.flags:
            return  # by a flag whose value nobody told
        driver = driver or "json-file"
        if not logopts.built_in(driver, self.version):
            # Any other name may be a plugin's, if it is not the misspelt name of a driver.
            squeezed = re.sub("[^a-z]", "", str(driver).lower())
            near = [name for name in logopts.OPTIONS if name.replace("-", "") == squeezed]
            if near and "log-driver" not in self.refused:
                effect = "dockerd does not start" if options else "no container starts"
                self.report(
                    "log-driver",
                    "log-driver",
                    fatal=bool(options),
                    driver=driver,
                    near=near[0],
                    effect=effect,
                )
            return
        if driver == "none" or not options:
            return
        mode = options.get("mode") or ""
        if mode not in ("", "blocking", "non-blocking"):
            wanted = "mode blocking or non-blocking"
            self.refuse("log-opts", mode, wanted, ("log-opts", "mode"))
        if "max-buffer-size" in options and mode != "non-blocking":
            self.report("buffer", "log-opts", ("log-opts", "max-buffer-size"))
        for name in logopts.unknown(driver, options, self.since(29, 5)):
            self.report("log-opts", "log-opts", ("log-opts", name), option=name, driver=driver)
        wrong = logopts.wrong(driver, options)
        if wrong:
            name, wanted = wrong
            shown = "%s %s" % (name, _shown(options.get(name)))
            self.refuse("log-opts", shown, wanted, ("log-opts", name))

    def runtimes(self) -> None:
        runtimes = self.map("runtimes")
        for name, runtime in runtimes.items():
            held = {key.lower(): value for key, value in (runtime or {}).items() if value}
            fields = set(held)
            wrong = ""
            if name == "runc":
                wrong = "is reserved for the built-in runtime"
            elif self.before(24, 0):
                continue
            elif not fields & {"path", "runtimetype"}:
                wrong = "has neither path nor runtimeType"
            elif {"path", "runtimetype"} <= fields:
                wrong = "has both path and runtimeType"
            elif {"path", "options"} <= fields:
                wrong = "has options, which go with runtimeType"
            elif {"runtimetype", "runtimeargs"} <= fields:
                wrong = "has runtimeArgs, which go with path"
            elif held.get("runtimetype") == _RUNC:
                bad = [
                    key
                    for key, value in held.get("options", {}).items()
                    if key in _RUNC_SWITCHES and not isinstance(value, bool)
                ]
                wrong = "has an option %s that is not true or false" % bad[0] if bad else ""
            if wrong:
                self.report("runtimes", "runtimes", ("runtimes", name), name=name, wrong=wrong)
        default = self.told("default-runtime", str)
        shim = default and re.match(r"[^./]+\.[^/]*\Z", default)  # isPermissibleC8dRuntimeName
        if self.before(23, 0):
            shim = default in (_RUNC, "io.containerd.runtime.v1.linux")
        if default and default != "runc" and default not in runtimes and not shim:
            if "runtimes" not in self.flags and "runtimes" not in self.refused:
                self.refuse("default-runtime", default, "runc or a name from runtimes")

    def combinations(self) -> None:
        """What ``dockerd --validate`` calls OK and what then fails at start."""
        get = self.setting
        no_icc = get("icc") is False
        if get("bridge") and get("bip"):
            self.combine("bridge", "bip", _ONE_BRIDGE)
        if get("bridge") and get("bip6") and self.since(28, 0):
            self.combine("bridge", "bip6", _ONE_BRIDGE)
        if no_icc and get("iptables") is False:
            self.combine("icc", "iptables", "icc: false is made of iptables rules; leave them on")
        if no_icc and get("ipv6") and get("ip6tables") is False and self.since(27, 0):
            self.combine("icc", "ip6tables", "icc: false needs ip6tables rules; leave them on")
        if get("ip6tables") and self.before(27, 0) and not self.maybe("experimental"):
            why = "ip6tables is experimental before Engine 27.0; set experimental: true"
            self.combine("ip6tables", "experimental: false", why)
        parent = get("cgroup-parent") or "any.slice"
        if self.cgroup_driver == "systemd" and not re.search(r".\.slice\Z", parent):
            why = "that driver takes slices; name one such as docker-workload.slice"
            self.combine("cgroup-parent", "native.cgroupdriver=systemd", why)
        namespace = "containerd-plugins-namespace"
        if get("containerd-namespace") == "plugins.moby" and namespace not in self.flags:
            why = "containers and plugins need a namespace each; choose another name"
            self.combine("containerd-namespace", namespace, why)

    def features(self) -> None:
        features = self.map("features")
        remap = self.setting("userns-remap")
        if features.get("containerd-snapshotter") and remap and self.since(29, 0):
            why = "the containerd image store remaps no users; take containerd-snapshotter out"
            self.combine("features", "userns-remap", why)
        cri = self.setting("cri-containerd")
        if features.get("embedded-containerd") and cri and self.since(29, 7):
            self.combine("features", "cri-containerd", "embedded-containerd has no CRI; choose one")
        if "windows-dns-proxy" in features and self.since(26, 0) and self.before(28, 0):
            self.refuse("features", "windows-dns-proxy", "features of Linux")

    def maybe(self, name: str) -> bool:
        """Whether a boolean is on, or set by a flag whose value nobody told."""
        return bool(self.setting(name)) or (name in self.flags and self.flags[name] is None)

    def combine(self, first: str, second: str, why: str) -> None:
        at = first if first in self.seen else second
        self.report("combination", at, first=first, second=second, why=why)


def _skeleton(path: Path, value: Any) -> Any:
    """The value where it stands, with nothing beside it."""
    for key in reversed(path):
        value = {key: value} if isinstance(key, str) else [value]
    return value


def _lowered(value: Any) -> dict[str, Any]:
    """An object with its names as Go compares them."""
    return {key.lower(): item for key, item in value.items()} if isinstance(value, dict) else {}


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _shown(value: object) -> str:
    """A value in a message: short ones as they are, the others by their kind."""
    text = str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 and not isinstance(value, (dict, list)) else named(value)
