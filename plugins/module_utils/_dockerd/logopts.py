# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of log drivers: which ones each driver takes at start, moby daemon/logger.

dockerd asks the driver only where there are options (daemon/logs.go defaultLogConfig).
"""

from __future__ import annotations

import re
from typing import Callable, Mapping

from .addresses import SIZE, url
from .directives import Version
from .units import boolean

_ANY = {"mode", "max-buffer-size"}
_META = {"env", "env-regex", "labels", "labels-regex", "tag"}
_FILE = {"compress", "max-file", "max-size"}
_CACHE = {"cache-disabled", "cache-max-file", "cache-max-size", "cache-compress"}


def _names(prefix: str, words: str) -> set[str]:
    return {prefix + word for word in words.split()}


# moby daemon/logger/*/: ValidateLogOpt.
OPTIONS: dict[str, set[str]] = {
    "json-file": _META | _FILE,
    "local": _META | _FILE,
    "journald": _META,
    "none": set(),
    "syslog": _META
    | _names("syslog-", "address facility tls-ca-cert tls-cert tls-key tls-skip-verify format"),
    "gelf": _META
    | _names(
        "gelf-",
        "address compression-level compression-type tcp-max-reconnect tcp-reconnect-delay",
    ),
    "fluentd": _META
    | _names(
        "fluentd-",
        "address async async-connect async-reconnect-interval buffer-limit max-retries request-ack"
        " retry-wait sub-second-precision write-timeout",
    ),
    "splunk": _META
    | _names(
        "splunk-",
        "url token source sourcetype index capath caname insecureskipverify format"
        " verify-connection gzip gzip-level index-acknowledgment",
    ),
    "awslogs": {"tag"}
    | _names(
        "awslogs-",
        "region endpoint group stream create-group create-stream datetime-format multiline-pattern"
        " credentials-endpoint force-flush-interval-seconds max-buffered-events format",
    ),
    "gcplogs": (_META - {"tag"}) | _names("gcp-", "project log-cmd meta-zone meta-name meta-id"),
}
_FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp local0 local1 local2 local3 "
    "local4 local5 local6 local7"
).split()
_DURATION = re.compile(r"[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|\u00b5s|ms|s|m|h)(.*))\Z")


def _number(least: int, most: int = 2**31 - 1) -> Callable[[str], bool]:
    return lambda text: bool(re.match(r"[+-]?[0-9]+\Z", text)) and least <= int(text) <= most


def _size(text: str) -> bool:
    return bool(SIZE.match(text))


def _bool(text: str) -> bool:
    return boolean(text) is not None


def _duration(text: str) -> bool:
    return bool(_DURATION.match(text))


def _udp_or_tcp(text: str) -> bool:
    parts = url(text)
    return parts is not None and parts.scheme in ("udp", "tcp") and bool(parts.port)


def _syslog_address(text: str) -> bool:
    parts = url(text)
    schemes = ("unix", "unixgram", "udp", "tcp", "tcp+tls")
    return parts is not None and parts.scheme in schemes


def _fluentd_address(text: str) -> bool:
    parts = url(text if "://" in text else "tcp://" + text)
    if parts is None or parts.scheme not in ("tcp", "tls", "unix"):
        return False
    if parts.scheme == "unix":
        return bool(parts.path.strip("/"))
    return not parts.path and int(parts.port or 0) <= 65535


# Options whose value is looked at when dockerd starts; an empty one counts as absent.
_VALUES: dict[str, tuple[Callable[[str], bool], str]] = {
    "max-buffer-size": (_size, "a size such as 4m"),
    "syslog-address": (_syslog_address, "udp://, tcp://, tcp+tls://, unix:// or unixgram://"),
    "syslog-facility": (
        lambda text: text in _FACILITIES or _number(0, 23)(text),
        "a facility such as daemon",
    ),
    "syslog-format": (
        lambda text: text in ("rfc3164", "rfc5424", "rfc5424micro"),
        "rfc3164, rfc5424 or rfc5424micro",
    ),
    "gelf-address": (_udp_or_tcp, "udp://host:port or tcp://host:port"),
    "gelf-compression-level": (_number(-1, 9), "-1 to 9"),
    "gelf-compression-type": (lambda text: text in ("gzip", "zlib", "none"), "gzip, zlib or none"),
    "gelf-tcp-max-reconnect": (_number(0), "a whole number"),
    "gelf-tcp-reconnect-delay": (_number(0), "a whole number"),
    "fluentd-address": (_fluentd_address, "host:port, tcp://, tls:// or unix://"),
    "fluentd-async": (_bool, "true or false"),
    "fluentd-async-connect": (_bool, "true or false"),
    "fluentd-async-reconnect-interval": (_duration, "a duration such as 5s"),
    "fluentd-buffer-limit": (_size, "a size such as 1m"),
    "fluentd-max-retries": (_number(0), "a whole number"),
    "fluentd-request-ack": (_bool, "true or false"),
    "fluentd-retry-wait": (_duration, "a duration such as 1s"),
    "fluentd-sub-second-precision": (_bool, "true or false"),
    "fluentd-write-timeout": (_duration, "a duration such as 1s"),
    "awslogs-create-group": (_bool, "true or false"),
    "awslogs-force-flush-interval-seconds": (_number(1), "a whole number above 0"),
    "awslogs-max-buffered-events": (_number(1), "a whole number above 0"),
    "awslogs-format": (lambda text: text == "json/emf", "json/emf"),
}
_GELF_NEEDS = {
    "gelf-compression-level": "udp",
    "gelf-compression-type": "udp",
    "gelf-tcp-max-reconnect": "tcp",
    "gelf-tcp-reconnect-delay": "tcp",
}


def built_in(driver: str, version: Version | None) -> bool:
    """Whether an engine has a log driver of this name itself; others may be plugins."""
    old = version is not None and version < (25, 0)
    return driver in OPTIONS or (driver == "logentries" and old)


def unknown(driver: str, options: Mapping[str, object], local_meta: bool) -> list[str]:
    """The options that a driver refuses; ``local_meta`` is Engine 29.5 or newer."""
    if driver == "logentries":
        return []  # it takes any
    known = OPTIONS[driver] | _ANY | _CACHE
    if driver == "local" and not local_meta:
        known = known - _META
    return [name for name in options if name not in known]


def wrong(driver: str, options: Mapping[str, object]) -> tuple[str, str] | None:
    """The first option whose value its driver refuses, and what it takes."""
    if driver == "gelf" and not options.get("gelf-address"):
        return "gelf-address", "an address, without which gelf takes no options"
    if driver == "awslogs" and not options.get("awslogs-group"):
        return "awslogs-group", "a group, without which awslogs takes no options"
    if driver == "logentries" and not options.get("logentries-token"):
        return "logentries-token", "a token, without which logentries takes no options"
    if {"awslogs-datetime-format", "awslogs-multiline-pattern"} <= set(options):
        return "awslogs-datetime-format", "no awslogs-multiline-pattern beside it"
    for name, value in options.items():
        takes, wanted = _VALUES.get(name, (None, ""))
        strict = name.startswith(("gelf-", "max-"))
        if takes and (value or strict) and not takes(str(value or "")):
            return name, wanted
        scheme = _GELF_NEEDS.get(name)
        if scheme and not str(options.get("gelf-address")).startswith(scheme + ":"):
            return name, "a %s:// address" % scheme
    return None
