# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, sizes and URLs as dockerd reads them: Go's net and net/url, docker/go-units."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

# What Go's unicode.IsSpace calls space, and its strings.TrimSpace takes away.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?[kmgtp]?i?b?\Z", re.IGNORECASE)

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)\Z", re.DOTALL)
# What net/url lets pass unescaped in a host, and a percent sign that escapes nothing.
_NO_HOST = re.compile(r"[^a-zA-Z0-9\-_.~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff]")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
# distribution/reference DomainRegexp; IPv6 in brackets since 2.8.2, in Engine 24.0.
_DOMAIN = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(r"(?:%s(?:\.%s)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z" % (_DOMAIN, _DOMAIN))


def ip_version(text: str) -> int | None:
    """4 or 6 for an IP address as Go's net.ParseIP takes it, else None."""
    if "%" in text or re.search(r"(^|[.:])0[0-9]+\.", text) or re.search(r"\.0[0-9]+$", text):
        return None
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None


def subnet(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    """``address/bits`` as Go's net.ParseCIDR takes it, else None."""
    address, slash, bits = text.partition("/")
    version = ip_version(address) if slash and re.match(r"[0-9]+\Z", bits) else None
    if version is None or int(bits) > {4: 32, 6: 128}[version]:
        return None
    found = ipaddress.ip_interface("%s/%d" % (address, int(bits)))
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None and int(bits) >= 96:
        return ipaddress.ip_interface("%s/%d" % (mapped, int(bits) - 96))
    return found


def network_version(text: str) -> int | None:
    """4 or 6 for ``address/bits``, else None."""
    found = subnet(text)
    return found.version if found else None


@dataclass(frozen=True)
class Url:
    """What Go's url.Parse makes of a text."""

    scheme: str
    user: bool
    host: str  # without the port, brackets kept
    port: str
    path: str
    query: str
    fragment: str


def url(text: str) -> Url | None:
    """Parse as Go's net/url does, or None where that fails."""
    rest, _hash, fragment = text.partition("#")
    if re.search(r"[\x00-\x1f\x7f]", text) or rest.startswith(":"):
        return None
    found = _SCHEME.match(rest)
    scheme, rest = found.groups() if found else ("", rest)
    rest, _mark, query = rest.partition("?")
    if found and not rest.startswith("/"):
        return Url(scheme.lower(), False, "", "", "", query, fragment)
    if not found and ":" in rest.partition("/")[0]:
        return None
    user, host, port = "", "", ""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, at, host = authority.rpartition("@")
        bracket = host.rfind("]")
        if host.startswith("["):
            colon, port = host[bracket + 1 :][:1], host[bracket + 2 :]
            if bracket < 0 or colon not in ("", ":"):
                return None
            host = host[: bracket + 1]
        else:
            name, colon, port = host.rpartition(":")
            host = name if colon else host
            port = port if colon else ""
        if not re.match(r"[0-9]*\Z", port) or _NO_HOST.search(host) or _BAD_ESCAPE.search(host):
            return None
        user = "@" if at else ""
    if _BAD_ESCAPE.search(rest) or _BAD_ESCAPE.search(fragment):
        return None
    return Url(scheme.lower(), bool(user), host, port, rest, query, fragment)


def listen_problem(text: str, old: bool) -> str:
    """What dockerd has against an address to listen on; empty where it takes it.

    Source: moby opts/hosts.go parseDaemonHost; ``old`` is before 23.0. ``npipe://`` passes
    there, and no Linux listens on it (listeners_linux.go).
    """
    text = text.strip(SPACE)
    protocol, slashes, rest = text.partition("://")
    if text and not slashes:
        protocol, rest = "tcp", text
    if not text or protocol == "fd":
        right = rest in ("", "*") or re.match(r"[+-]?[0-9]+\Z", rest)
        return "" if right else "the number of a descriptor after fd://"
    if protocol == "unix":
        return "one path after unix://" if "://" in rest else ""
    if protocol != "tcp":
        return "addresses with unix://, tcp:// or fd://"
    parts = url("tcp://" + rest)
    if parts is None or parts.scheme != "tcp" or (parts.path and not old) or "://" in rest:
        return "tcp://address:port and no more"
    if (parts.port and not (0 < int(parts.port) or old)) or int(parts.port or 0) > 65535:
        return "ports from 1 to 65535"
    return ""


def mirror_problem(text: str, old: bool, strict: bool) -> str:
    """What dockerd has against a registry mirror, moby registry/config.go ValidateMirror.

    ``old`` is before 23.0, which takes no path; ``strict`` since 28.0, which asks for two slashes.
    """
    parts = url(text)
    if parts is None or parts.scheme not in ("http", "https") or (strict and "://" not in text):
        return "URLs with https:// or http://"
    if parts.query or parts.fragment or (old and parts.path not in ("", "/")):
        return (
            "mirrors without path, query or fragment"
            if old
            else "mirrors without query or fragment"
        )
    return "mirrors without user and password" if parts.user else ""


def registry_problem(text: str) -> str:
    """What dockerd has against a registry's name, moby registry/config.go.

    Covers ValidateIndexName, hasScheme and validateHostPort, all asked at start.
    """
    if text.startswith("-") or text.endswith("-"):
        return "names that neither begin nor end with a hyphen"
    found = re.match(r"https?://(.*)\Z", text, re.IGNORECASE | re.DOTALL)
    name = found.group(1) if found else text
    if "://" in name:
        return "host:port or address/bits"
    if subnet(name):
        return ""
    if not _REGISTRY.match(name) and not ip_version(name):
        return "host:port or address/bits"
    port = name.rpartition(":")[2] if _REGISTRY.match(name) and ":" in name else ""
    return "ports up to 65535" if port.isdigit() and int(port) > 65535 else ""


def port_problem(text: str) -> str:
    """What dockerd has against host:port to serve metrics on, moby allocateDaemonPort."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.match(r"[0-9]+\Z", port) or int(port) > 65535:
        return "an address and a port, such as 127.0.0.1:9323"
    return ""
