# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names and addresses by which a host is reached, as certificates hold them."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from contextlib import suppress

from .errors import HostError, Refused
from .host import Host

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBERS = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([.](0[xX][0-9a-fA-F]+|[0-9]+)){0,3}")
_GUESTS = ("veth", "tun")  # kinds of the ports of containers and of virtual machines
_UNSTABLE = ("temporary", "deprecated", "tentative", "dadfailed")  # flags of ip-address(8)


def san(text: str, variable: str) -> str:
    """A subject alternative name in its one spelling: an address or a DNS name.

    Raises Refused naming ``variable`` and what is wrong, for whatever a TLS client in Go
    would never match.
    """
    name = str(text).strip().lower()
    try:
        address = ipaddress.ip_address(name)
        if getattr(address, "scope_id", None):
            raise Refused("%s: %r: an address in a certificate has no zone." % (variable, text))
        # Python versions spell a mapped address differently; its IPv4 form is what clients call.
        return str(getattr(address, "ipv4_mapped", None) or address)
    except ValueError:
        pass
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    host = labels[1:] if labels[0] == "*" and len(labels) > 2 else labels
    if "://" in name or "/" in name:
        why = "is a URL or a network; give the name or the address alone"
    elif name.startswith(("dns:", "ip:")):
        why = "has a prefix; give the name or the address alone"
    elif ":" in name or "[" in name:
        why = "has a port or brackets, or is no IPv6 address; give the name or the address alone"
    elif not name.isascii():
        why = "is not ASCII; write an international name in its xn-- form"
    elif len(name) > 253 or not all(_LABEL.fullmatch(label) for label in host):
        why = "is neither a DNS name nor an IP address"
    elif host[-1].isdigit():
        why = "looks like an IPv4 address and is none"
    else:
        return name
    raise Refused("%s: %r %s." % (variable, text, why))


def sans(texts: list, variable: str) -> tuple:
    """Subject alternative names, each once, DNS names before addresses. Raises Refused."""
    return tuple(sorted({san(text, variable) for text in texts}, key=san_order))


def san_order(name: str) -> tuple:
    """A key to sort by: DNS names before addresses, these by number."""
    try:
        address = ipaddress.ip_address(name)
        return 1, address.version, int(address), ""
    except ValueError:
        return 0, 0, 0, name


def foreign(claims: tuple, own: list, others: dict) -> dict:
    """What a host claims and must not have: each such name, and whose it is.

    ``claims`` are names as :func:`sans` gives them, ``own`` what the operator calls the host,
    ``others`` every other name that the operator knows, with its host. A name stands for every
    longer one that begins with its labels, because resolvers complete it (resolv.conf(5), search).
    A wildcard is a claim to whatever it covers, and none but the operator's own counts.
    """
    mine = {_spelled(name) for name in own}
    mine_begin = {begin for name in mine for begin in _beginnings(name)}
    theirs = {_spelled(name): owner for name, owner in others.items()}
    theirs = {name: owner for name, owner in theirs.items() if name not in mine}
    they_begin = {begin: owner for name, owner in theirs.items() for begin in _beginnings(name)}
    found = {}
    for claim in claims:
        if claim in mine:
            continue
        if claim.startswith("*."):
            found[claim] = "a wildcard"
            continue
        owner = theirs.get(claim) or theirs.get("*." + claim.partition(".")[2])
        if not owner and claim not in mine_begin:
            owner = they_begin.get(claim)
            # The longest of the names that it completes decides.
            for begin in reversed(_beginnings(claim)):
                if owner or begin in mine:
                    break
                owner = theirs.get(begin)
        if owner:
            found[claim] = owner
    return found


def _spelled(name: str) -> str:
    """A name as a certificate would hold it, from the inventory's spelling of it."""
    text = str(name).strip().strip("[]").partition("%")[0]
    with suppress(OSError):
        # As resolvers read 10.1 and 010.0.0.5, inet_aton(3).
        text = socket.inet_ntoa(socket.inet_aton(text)) if _NUMBERS.fullmatch(text) else text
    with suppress(UnicodeError):
        text = text if text.isascii() else text.encode("idna").decode()
    try:
        return san(text, "")
    except Refused:
        # No certificate can hold it, so that nobody can claim it.
        return str(name).lower()


def _beginnings(name: str) -> list[str]:
    """The shorter names that a resolver may complete to a DNS name; none of an address."""
    if name.startswith("*") or ":" in name or _NUMBERS.fullmatch(name):
        return []
    labels = name.split(".")
    return [".".join(labels[:number]) for number in range(1, len(labels))]


def collect(host: Host, names: list) -> tuple:
    """The names and addresses by which a host is reached, with ``names`` from the inventory.

    They come from the host itself and never from DNS, so that a resolver which is down
    does not change a certificate. Left out are addresses that nobody calls or that do not
    last: link-local, temporary and deprecated ones, and those of container bridges.
    Raises HostError where the addresses cannot be read.
    """
    found = ["localhost", "127.0.0.1", "::1", *names, *own_names(host), *_addresses(host)]
    return tuple(sorted({one for one in map(_collected, found) if one}, key=san_order))


def own_names(host: Host) -> list:
    """What a host calls itself: its name, and the one that /etc/hosts puts first, hosts(5)."""
    name = _line(host, "/proc/sys/kernel/hostname") or _line(host, "/etc/hostname")
    found = [name] if name else []
    for line in _text(host, "/etc/hosts").splitlines():
        fields = line.split("#")[0].lower().split()
        if name and name in fields[1:]:
            found.append(fields[1])
    return found


def _addresses(host: Host) -> list:
    path = "%s:/usr/sbin:/sbin" % os.environ.get("PATH", "/usr/bin:/bin")
    listed = host.run(["ip", "-details", "-json", "address", "show"], env={"PATH": path})
    try:
        interfaces = [one for one in json.loads(listed.out) if one]
        kinds = {one["ifname"]: one.get("linkinfo", {}).get("info_kind") for one in interfaces}
        # A bridge that holds a port of the machine is its way to the world; one without, or
        # with ports of containers and virtual machines alone, is theirs.
        outward = {one.get("master") for one in interfaces if kinds[one["ifname"]] not in _GUESTS}
        found = []
        for interface in interfaces:
            name = interface["ifname"]
            if name == "lo" or (kinds[name] == "bridge" and name not in outward):
                continue
            for address in interface["addr_info"]:
                if address["scope"] == "global" and not any(map(address.get, _UNSTABLE)):
                    found.append(address["local"])
        return found
    except (ValueError, TypeError, KeyError, AttributeError):
        raise HostError(
            "The host's addresses cannot be read by 'ip -details -json address show': %s. Install "
            "iproute2, or set dockerd_tls_collect_sans to false and name the host in "
            "dockerd_tls_server_sans." % (listed.words[:200] or "no answer")
        ) from None


def _collected(text: str) -> str | None:
    # An inventory's alias need not be a name that a certificate can hold.
    try:
        name = san(text, "")
    except Refused:
        return None
    try:
        return None if ipaddress.ip_address(name).is_link_local else name
    except ValueError:
        return name


def _text(host: Host, path: str) -> str:
    return (host.optional(path) or b"").decode("utf-8", "replace")


def _line(host: Host, path: str) -> str:
    return _text(host, path).strip().lower()
