# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default bridge and the address pools: what libnetwork refuses when dockerd starts.

``dockerd --validate`` sees none of this. Sources: moby ``daemon/daemon_unix.go`` initBridgeDriver,
``libnetwork/ipams/defaultipam``, ``libnetwork/ipamutils``, ``libnetwork/drivers/bridge``.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Callable, Iterator, Tuple

from .addresses import subnet
from .directives import Version

Refusal = Tuple[str, object, str]  # directive, value, what dockerd takes
_LINK_LOCAL = ipaddress.ip_network("fe80::/64")
_SUBNET = "address/bits, such as 10.200.0.1/24"


def problems(get: Callable[[str], Any], version: Version) -> Iterator[Refusal]:
    """What keeps the networks from being made; ``get`` gives a directive's value."""
    pools = get("default-address-pools") or []
    yield from _pools(pools, version)
    if get("bridge") == "none":
        return
    yield from _ipv6(get, version)
    for name in ("bip", "fixed-cidr"):
        found = subnet(get(name) or "")
        if get(name) and (found is None or found.version != 4):
            yield name, get(name), _SUBNET
            return
    if get("bridge"):
        return  # somebody else made it, and gave it what addresses it has
    yield from _addresses(get, pools, version)
    mtu = get("mtu")
    if mtu and version >= (25, 0) and not 68 <= mtu <= 65535:
        yield "mtu", mtu, "68 to 65535, as a bridge does"


def _field(pool: dict, name: str) -> Any:
    """A field of a pool; Go compares their names without case."""
    return next((value for key, value in (pool or {}).items() if key.lower() == name), None)


def _pools(pools: list, version: Version) -> Iterator[Refusal]:
    for pool in pools:
        base, size = subnet(_field(pool, "base") or ""), _field(pool, "size") or 0
        name = "default-address-pools"
        if base is None:
            yield name, _field(pool, "base"), "subnets such as 10.200.0.0/16"
        elif not max(base.network.prefixlen, 1) <= size <= base.max_prefixlen:
            yield name, size, "sizes from the pool's own to that of one address"


def _ignored(pool: dict, version: Version) -> bool:
    """Whether a pool is split into so many parts that ipamutils counts none, and takes defaults."""
    base, size = subnet(_field(pool, "base") or ""), _field(pool, "size") or 0
    overflows = base is not None and size - base.network.prefixlen >= 63
    return overflows and (23, 0) <= version < (28, 0)


def _addresses(get: Callable[[str], Any], pools: list, version: Version) -> Iterator[Refusal]:
    own, part = subnet(get("bip") or ""), subnet(get("fixed-cidr") or "")
    if own:
        network = own.network
        ends = (network.network_address, network.broadcast_address)
        alone = network.prefixlen == 32 and version < (23, 0)
        if alone or (network.prefixlen < 31 and own.ip in ends):
            yield "bip", get("bip"), "the bridge's own address in a subnet with room for others"
    chosen = own or part
    bases = [subnet(_field(pool, "base") or "") for pool in pools if not _ignored(pool, version)]
    if bases and not chosen and all(base is None or base.version == 6 for base in bases):
        yield "default-address-pools", "no IPv4 subnet", "one for the default bridge"
    gateway = get("default-gateway")
    if gateway:
        # Without a subnet of its own the bridge may have kept that of an earlier start.
        address = ipaddress.ip_address(gateway)
        if address.version != 4 or (chosen and address not in chosen.network):
            yield "default-gateway", gateway, "an IPv4 address in the bridge's subnet"


def ipv6_problem(text: str, version: Version) -> str:
    """What dockerd has against fixed-cidr-v6; empty where it takes it.

    Source: libnetwork/drivers/bridge validateIPv6Subnet. Since 28.0 it looks at the whole subnet,
    before that at the address as written.
    """
    found = subnet(text)
    if found is None or found.version != 6:
        return "an IPv6 subnet such as fd00:1::/64"
    whole = version >= (28, 0)
    clash = found.network.overlaps(_LINK_LOCAL) if whole else found.ip in _LINK_LOCAL
    if clash and found.network != _LINK_LOCAL and version >= (25, 0):
        return "subnets that do not overlap fe80::/64, or that one itself"
    return "subnets that are not multicast" if whole and found.ip.is_multicast else ""


def _ipv6(get: Callable[[str], Any], version: Version) -> Iterator[Refusal]:
    if not get("ipv6"):
        return
    if not get("fixed-cidr-v6") and version < (28, 0):
        yield "ipv6", True, "fixed-cidr-v6 beside it, before Engine 28.0"
    own = get("bip6")
    if own and version >= (28, 0):
        found = subnet(own)
        if found is None or found.version != 6:
            yield "bip6", own, "address/bits, such as fd00:1::1/64"
