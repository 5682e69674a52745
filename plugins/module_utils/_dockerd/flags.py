# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of dockerd's command line: what its flags set, and which of them it refuses.

A flag's value is decoded into what daemon.json would hold, so that the rules for the file judge
both. Sources: moby ``cmd/dockerd/config.go``, ``config_unix.go`` and ``opts``, spf13/pflag,
docker/go-units.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable

from .addresses import SIZE, ip_version, network_version
from .directives import FLAGS, NEWEST, Directive, Version
from .units import Flag, Word, boolean


@dataclass
class Given:
    """What a command line sets, and why dockerd does not start with it."""

    values: dict[str, Any] = field(default_factory=dict)  # directive -> as daemon.json has it
    problems: list[str] = field(default_factory=list)


class _Refused(Exception):
    """dockerd does not take this value; the message says what it takes."""


def decode(flags: Iterable[Flag], arguments: Iterable[Word], version: Version | None) -> Given:
    """Read flags as this engine does; ``version`` None is an engine nobody knows.

    ``arguments`` are the words that are no flags, of which dockerd takes none.
    """
    given = Given()
    for flag in flags:
        wrong = _wrong(given.values, flag, version)
        if wrong:
            words = _dashed(flag) if wrong == _NO_FLAG else " ".join(flag.words)
            given.problems.append("%s in %s: %s" % (words, flag.origin, wrong))
    for word in arguments:
        # Any other word may be a secret that lost its flag.
        shown = word.text if word.text.startswith("-") else "word %d after dockerd" % word.number
        given.problems.append(
            "%s in %s is no flag, and dockerd takes nothing else; remove it" % (shown, word.origin)
        )
    return given


_NO_FLAG = "this engine has no such flag, and dockerd does not start with it; remove it"


def _dashed(flag: Flag) -> str:
    """A flag without its value."""
    return ("--%s" if flag.words[0].startswith("--") else "-%s") % flag.flag


def _wrong(values: dict[str, Any], flag: Flag, version: Version | None) -> str:
    """Add a flag's value to the others; what dockerd has against it, if anything."""
    row = FLAGS.get(flag.flag)
    since = (row.flag_since or row.since) if row else (0,)
    if row is None or (version and not (row.known(version) and since <= version)):
        if row is None and version and version[:2] > NEWEST:
            return ""
        return _NO_FLAG
    if row.name in ("help", "version", "validate") and flag.value is not False:
        return "dockerd answers and ends; remove it"
    if flag.value is True and row.kind != "bool":
        return "the flag needs a value"
    try:
        values[row.name] = _DECODERS[row.kind](flag.value, values.get(row.name), version)
    except _Refused as error:
        return "dockerd does not start with this value: it takes %s" % error
    return _by_name(row, str(flag.value))


def _by_name(row: Directive, text: str) -> str:
    """What a flag refuses although the same value passes in the file."""
    if row.name == "labels" and re.match(r"(com|io)\.docker\.|org\.dockerproject\.", text, re.I):
        return "labels of docker's own namespaces are reserved"
    return ""


# -- one decoder for each kind: (text, what earlier flags set, engine) -> value


def _bool(value: object, earlier: Any, version: Version | None) -> bool:
    if not isinstance(value, bool):
        raise _Refused("true or false")
    return value


def _int(text: str, earlier: Any, version: Version | None) -> int:
    """Go's strconv.ParseInt with base 0: prefixes and underscores are allowed."""
    octal = re.match(r"([+-]?)0([0-7_]+)\Z", text)
    try:
        if text != text.strip():
            raise ValueError
        number = int("%s0o%s" % octal.groups() if octal else text, 0)
    except ValueError:
        raise _Refused("a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise _Refused("a number of 64 bits")
    return number


def _str(text: str, earlier: Any, version: Version | None) -> str:
    return text


def _ip(text: str, earlier: Any, version: Version | None) -> str:
    # pflag 1.0.6 takes an empty one.
    if not (text == "" and (version is None or version >= (28, 0))) and not ip_version(
        text.strip()
    ):
        raise _Refused("an IP address")
    return text.strip()


def _size(text: str, earlier: Any, version: Version | None) -> str:
    if not SIZE.match(text):
        raise _Refused("a size such as 64M")
    return text


def _list(text: str, earlier: Any, version: Version | None) -> list:
    return [*(earlier or []), text]


def _ips(text: str, earlier: Any, version: Version | None) -> list:
    parts = [text]
    if version is None or version >= (25, 0):  # pflag's IPSlice
        parts = re.sub("[\"'`]", "", text).split(",") if text else []
    if not all(ip_version(part.strip()) for part in parts):
        raise _Refused("IP addresses")
    return [*(earlier or []), *(part.strip() for part in parts)]


def _map(text: str, earlier: Any, version: Version | None) -> dict:
    name, _equals, value = text.partition("=")
    return {**(earlier or {}), name: value}


def _bools(text: str, earlier: Any, version: Version | None) -> dict:
    name, equals, value = text.partition("=")
    meant = boolean(value) if equals else True
    if not name or meant is None:
        raise _Refused("name, name=true or name=false")
    return {**(earlier or {}), name: meant}


def _runtimes(text: str, earlier: Any, version: Version | None) -> dict:
    name, _equals, path = (part.strip() for part in text.partition("="))
    name = name.lower()
    if not name or not path or name == "runc" or name in (earlier or {}):
        raise _Refused("name=path, each name once and none called runc")
    return {**(earlier or {}), name: {"path": path}}


_ULIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending "
    "stack"
).split()


def _ulimits(text: str, earlier: Any, version: Version | None) -> dict:
    name, _equals, limits = text.partition("=")
    found = re.match(r"([+-]?[0-9]+)(?::([+-]?[0-9]+))?\Z", limits)
    if name not in _ULIMITS or not found:
        raise _Refused("name=soft:hard with a name such as nofile")
    soft = int(found.group(1))
    hard = soft if found.group(2) is None else int(found.group(2))
    # Before go-units 0.5 unlimited was a number like any other.
    unlimited = version is None or version >= (23, 0)
    if (hard != -1 or not unlimited) and (soft > hard or (soft == -1 != hard and unlimited)):
        raise _Refused("a soft limit that is no higher than the hard one")
    return {**(earlier or {}), name: {"Name": name, "Soft": soft, "Hard": hard}}


def _pools(text: str, earlier: Any, version: Version | None) -> list:
    pool: dict[str, Any] = {}
    for part in next(csv.reader([text]), []):
        name, _equals, value = part.lower().partition("=")
        if name == "base" and network_version(value):
            pool["base"] = value
        elif name == "size" and re.match(r"[+-]?[0-9]+\Z", value):
            pool["size"] = int(value)
        else:
            raise _Refused("base=10.200.0.0/16,size=24")
    return [*(earlier or []), pool]


def _networks(text: str, earlier: Any, version: Version | None) -> dict:
    driver, first, rest = text.partition("=")
    name, second, value = rest.partition("=")
    if not first or not second:
        raise _Refused("driver=option=value")
    found = dict(earlier or {})
    found[driver] = {**found.get(driver, {}), name: value}
    return found


_DECODERS: dict[str, Callable] = {
    "bool": _bool,
    "int": _int,
    "str": _str,
    "ip": _ip,
    "size": _size,
    "list": _list,
    "ips": _ips,
    "map": _map,
    "bools": _bools,
    "runtimes": _runtimes,
    "ulimits": _ulimits,
    "pools": _pools,
    "networks": _networks,
    "nri": _map,
}
