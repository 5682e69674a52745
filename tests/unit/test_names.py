# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subject alternative names, and those by which a host is reached."""

from __future__ import annotations

import ipaddress
import json

import pytest
from _dockerd import leaves, names
from _dockerd.errors import HostError, Refused
from _dockerd.host import Host, Result
from hypothesis import example, given
from hypothesis import strategies as st


class Fake(Host):
    """A directory that answers ``ip`` with given interfaces."""

    def __init__(self, root, interfaces=None) -> None:
        super().__init__(str(root))
        self.interfaces = interfaces

    def run(self, argv, timeout=30, env=None):
        if self.interfaces is None:
            return Result(127, "", "ip: No such file or directory")
        text = self.interfaces if isinstance(self.interfaces, str) else json.dumps(self.interfaces)
        return Result(0, text, "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web1", "web1"),
        ("Web1.Example.ORG.", "web1.example.org"),
        ("web_1", "web_1"),
        ("_srv.example", "_srv.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("*.example.org", "*.example.org"),
        ("a" * 63 + ".org", "a" * 63 + ".org"),
        ("1and1.com", "1and1.com"),
        (" web1\n", "web1"),
        ("10.0.0.5", "10.0.0.5"),
        (" 10.0.0.5 ", "10.0.0.5"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_san(text, name):
    assert names.san(text, "v") == name


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", " ", "a b", "no_such_host_with spaces", "a..b", ".a", "-a", "a-", "a-.b",
        "a" * 64, ".".join(["a" * 60] * 5), "*", "*.org*", "*.*.org", "a.*.org", "w*b.example.org",
        "*.org", "300.1.2.3", "1.2.3", "1.2.3.4.5", "10", "01.2.3.4", "10.0.0.1/24",
        "10.0.0.1:2376", "web1:2376", "[::1]", "fe80::1%eth0", "::g", "1:2", "http://x",
        "tcp://web1:2376", "web1/",
        "DNS:web1", "IP:10.0.0.1", "bücher.example", "web1\x00", "we\tb", "a,b", "a;b",
        "user@host", "a\\b", "'web1'", "$(id)", "{{ x }}", 5, 1.5, "é",
    ],
)  # fmt: skip
def test_what_is_no_san_names_the_variable(text):
    with pytest.raises(Refused, match="dockerd_tls_server_sans"):
        names.san(text, "dockerd_tls_server_sans")


@given(st.text(max_size=300))
@example("xn--")
@example("١٢٣")
@example("1²")
def test_a_san_is_refused_or_fits_a_certificate(text):
    try:
        name = names.san(text, "v")
    except Refused:
        return
    assert names.san(name, "v") == name
    assert leaves._general(name) is not None


@given(st.ip_addresses())
def test_every_address_is_a_san(address):
    name = names.san(str(address).upper(), "v")
    assert ipaddress.ip_address(name) == (getattr(address, "ipv4_mapped", None) or address)


def test_sans_are_sorted_and_single():
    found = names.sans(["10.0.0.2", "b", "::1", "A", "10.0.0.10", "a", "10.0.0.2"], "v")
    assert found == ("a", "b", "10.0.0.2", "10.0.0.10", "::1")


def interface(name, *addresses, kind=None, master=None):
    found = {"ifname": name, "addr_info": [dict(scope="global", **one) for one in addresses]}
    if kind:
        found["linkinfo"] = {"info_kind": kind}
    if master:
        found["master"] = master
    return found


def v4(address, **flags):
    return {"family": "inet", "local": address, **flags}


def test_collect(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("Web1\n")
    (tmp_path / "etc/hosts").write_text(
        "127.0.0.1 localhost\n127.0.1.1 web1.example.org web1 # web1 alias\n10.9.9.9 other web2\n"
    )
    host = Fake(
        tmp_path,
        [
            {},
            interface("lo", v4("10.255.0.1")),
            interface("eth0", v4("192.0.2.10"), v4("192.0.2.11", dynamic=True)),
            interface("eth1", v4("2001:db8::1"), v4("2001:db8::2", temporary=True)),
            interface("eth2", v4("192.0.2.12", deprecated=True), v4("169.254.1.1")),
            {"ifname": "eth3", "addr_info": [{"scope": "link", "local": "fe80::1"}]},
            interface("host0", v4("198.18.0.10"), kind="veth"),
            interface("docker0", v4("172.17.0.1"), kind="bridge"),
            interface("br-a", v4("172.18.0.1"), kind="bridge"),
            interface("veth1", kind="veth", master="br-a"),
            interface("virbr0", v4("192.168.122.1"), kind="bridge"),
            interface("vnet0", kind="tun", master="virbr0"),
            interface("br0", v4("192.0.2.20"), kind="bridge"),
            interface("eth4", master="br0"),
            interface("veth2", kind="veth", master="br0"),
        ],
    )
    assert names.collect(host, ["Web1.Prod", "my alias", "fe80::1%eth0", "203.0.113.1"]) == (
        "localhost", "web1", "web1.example.org", "web1.prod", "127.0.0.1", "192.0.2.10",
        "192.0.2.11", "192.0.2.20", "198.18.0.10", "203.0.113.1", "::1", "2001:db8::1",
    )  # fmt: skip


@pytest.mark.parametrize("answer", [None, "", "nonsense", '[{"ifname": 1}]', "[1]", "null", "7"])
def test_addresses_that_cannot_be_read(tmp_path, answer):
    with pytest.raises(HostError, match="dockerd_tls_collect_sans"):
        names.collect(Fake(tmp_path, answer), [])


OTHERS = {
    "Web2.Prod.Example": "web2",
    "203.0.113.2": "web2",
    "2001:DB8::2": "web2",
    "Db3": "db3",
    "*.apps.example": "db3",
    "docker.example.": "db3",
    "my alias!": "alias",
    "db1.prod": "db1",
    "db2.prod.corp.example": "db2",
    "10.1": "short",
    "010.0.0.5": "octal",
    "[fd00::1]": "bracketed",
    "fe80::7%eth0": "zoned",
    "bücher.example": "idn",
}
CLAIMS = [
    ("localhost", None),
    ("web1", None),
    ("web1.prod.example", None),
    ("web1.elsewhere.example", None),
    ("192.0.2.1", None),
    ("vault.prod.example", None),  # nobody's in the inventory
    ("web2.prod.example", "web2"),
    ("203.0.113.2", "web2"),
    ("2001:db8::2", "web2"),
    ("web2", "web2"),
    ("db3", "db3"),
    ("db3.prod.example", "db3"),
    ("docker.example", "db3"),
    ("x.apps.example", "db3"),
    ("x.y.apps.example", None),
    ("*.prod.example", "a wildcard"),
    ("*.apps.example", "a wildcard"),
    ("*.web1.example", "a wildcard"),
    ("docker", "db3"),
    ("db1.prod.corp.example", "db1"),
    ("db1", "db1"),
    ("db1.other", None),
    ("db2.prod", "db2"),
    ("10.0.0.1", "short"),
    ("8.0.0.5", "octal"),
    ("fd00::1", "bracketed"),
    ("fe80::7", "zoned"),
    ("xn--bcher-kva.example", "idn"),
]


@pytest.mark.parametrize(("claim", "owner"), CLAIMS, ids=[one[0] for one in CLAIMS])
def test_what_is_anothers_cannot_be_claimed(claim, owner):
    own = ["web1", "192.0.2.1", "localhost", "127.0.0.1", "::1"]
    assert names.san(claim, "") == claim
    assert names.foreign((claim,), own, OTHERS) == ({claim: owner} if owner else {})


@pytest.mark.parametrize("claim", [one[0] for one in CLAIMS])
def test_what_the_operator_lists_is_own(claim):
    assert names.foreign((claim,), ["web1", claim.upper()], OTHERS) == {}
