# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests, authorities and leaves, on plain directories and with a clock of our own."""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cryptography
import pytest
from _dockerd import certificates
from _dockerd.certificates import Authority, Leaf
from _dockerd.errors import DockerdError, HostError, Refused
from _dockerd.host import Host, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

NOW = datetime(2027, 1, 1, 12, 0, 0, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
SKEW = timedelta(minutes=5)
SANS = ("localhost", "web1", "web1.example.org", "127.0.0.1", "192.0.2.10", "::1")


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


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def make(host, purpose="servers", passphrase=None, lifetime=3650 * DAY, now=NOW):
    return Authority.make(host, "/authority", purpose, passphrase, lifetime, SKEW, now)


def leaf(usage="server", **properties) -> Leaf:
    names = ("server-cert.pem", "server-key.pem") if usage == "server" else ("cert.pem", "key.pem")
    told = {
        "name": "web1",
        "usage": usage,
        "certificate": "/etc/docker/tls/" + names[0],
        "key": "/etc/docker/tls/" + names[1],
        "trust": "/etc/docker/tls/ca.pem",
        "common_name": "web1",
        "sans": SANS if usage == "server" else (),
        "uid": os.getuid(),
        "gid": os.getgid(),
    }
    return Leaf(**{**told, **properties})


TRUST = b"-----trust-----\n"


def converge(host, wanted, authority, now=NOW, trust=TRUST):
    """What a whole task does; the plan that was carried out."""
    issuers = [authority.signer]
    plan = certificates.plan(host, wanted, trust, issuers, now)
    request = certificates.advance(host, plan, None, issuers, now)
    if request:
        answer = authority.sign(request, wanted, now)
        plan = certificates.plan(host, wanted, trust, issuers, now)
        assert certificates.advance(host, plan, answer, issuers, now) is None
    return plan


def reasons(host, wanted, authority, now=NOW, trust=TRUST):
    return certificates.plan(host, wanted, trust, [authority.signer], now).reasons


def load_leaf(host, wanted):
    return certificates.certificates(host.read(wanted.certificate), wanted.certificate)[0]


# -- spans of time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5400),
        ("12h", 43200),
        ("90d", 90 * 86400),
        ("2w", 14 * 86400),
        ("10y", 3650 * 86400),
        (" 30d ", 30 * 86400),
        ("100y", 36500 * 86400),
    ],
)
def test_duration(text, seconds):
    assert certificates.duration(text, "v") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "0d", "90", "d", "-1d", "1.5d", "90 d", "90D", "1d2h", "90 days", "101y", "9999999999y",
     "٣d", "1d\n1d", None, 90, True],
)  # fmt: skip
def test_what_is_no_duration_names_the_variable(text):
    with pytest.raises(Refused, match="dockerd_tls_server_lifetime"):
        certificates.duration(text, "dockerd_tls_server_lifetime")


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 seconds"),
        (SECOND, "1 second"),
        (timedelta(seconds=59), "59 seconds"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=23, minutes=59), "23 hours"),
        (DAY, "1 day"),
        (-3 * DAY, "3 days"),
    ],
)
def test_span(length, words):
    assert certificates.span(length) == words


def options(**changed):
    told = {
        "usage": "server",
        "provider": "authority",
        "key_type": "ecdsa-p256",
        "lifetime": None,
        "renew_before": None,
        "clock_skew": "5m",
    }
    return {**told, **changed}


@pytest.mark.parametrize(
    ("usage", "lifetime", "renew_before"), [("server", 90, 30), ("client", 30, 10)]
)
def test_defaults(usage, lifetime, renew_before):
    wanted = certificates.wanted(options(usage=usage))
    assert (wanted["lifetime"], wanted["renew_before"]) == (lifetime * DAY, renew_before * DAY)
    assert wanted["ours"]
    assert not certificates.wanted(options(provider="external"))["ours"]


@pytest.mark.parametrize(
    ("usage", "lifetime", "renew_before", "variable"),
    [
        ("server", "30d", "30d", "dockerd_tls_renew_before"),
        ("server", "30d", "31d", "dockerd_tls_renew_before"),
        ("server", "305s", "5s", "dockerd_tls_server_lifetime"),
        ("client", "10d", None, "dockerd_tls_client_renew_before"),
        ("client", None, "30d", "dockerd_tls_client_lifetime"),
    ],
)
def test_a_leaf_that_is_due_when_it_is_made_is_refused(usage, lifetime, renew_before, variable):
    with pytest.raises(Refused, match=variable):
        certificates.wanted(options(usage=usage, lifetime=lifetime, renew_before=renew_before))


def test_a_second_more_is_enough():
    certificates.wanted(options(lifetime="306s", renew_before="5s"))


@pytest.mark.parametrize(
    ("apart", "words"),
    [(-SKEW, None), (SKEW, None), (SKEW + SECOND, "ahead of"), (-SKEW - SECOND, "behind")],
)
def test_clocks_may_differ_by_the_skew(apart, words):
    if words is None:
        certificates.check_clock(NOW + apart, NOW, SKEW)
        return
    with pytest.raises(Refused, match="%s .*dockerd_tls_clock_skew" % words):
        certificates.check_clock(NOW + apart, NOW, SKEW)


# -- names


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
    assert certificates.san(text, "v") == name


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
        certificates.san(text, "dockerd_tls_server_sans")


@given(st.text(max_size=300))
@example("xn--")
@example("١٢٣")
@example("1²")
def test_a_san_is_refused_or_fits_a_certificate(text):
    try:
        name = certificates.san(text, "v")
    except Refused:
        return
    assert certificates.san(name, "v") == name
    assert certificates._general(name) is not None


@given(st.ip_addresses())
def test_every_address_is_a_san(address):
    name = certificates.san(str(address).upper(), "v")
    assert ipaddress.ip_address(name) == (getattr(address, "ipv4_mapped", None) or address)


def test_sans_are_sorted_and_single():
    found = certificates.sans(["10.0.0.2", "b", "::1", "A", "10.0.0.10", "a", "10.0.0.2"], "v")
    assert found == ("a", "b", "10.0.0.2", "10.0.0.10", "::1")


@pytest.mark.parametrize("name", ["a", "ci-1", "Alice", "bob@example.org", "x" * 64, "9.9"])
def test_client_name(name):
    assert certificates.client_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "a b", "x" * 65, "é", "a\n", "../a", "~", "@a"]
)
def test_what_is_no_client_name(name):
    with pytest.raises(Refused, match="dockerd_tls_clients"):
        certificates.client_name(name)


def test_common_name():
    assert certificates.common_name(None, "x" * 70) == "x" * 64
    assert certificates.common_name("docker", "web1") == "docker"
    with pytest.raises(Refused, match="dockerd_tls_server_common_name"):
        certificates.common_name("x" * 65, "web1")


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
    assert certificates.collect(host, ["Web1.Prod", "my alias", "fe80::1%eth0", "203.0.113.1"]) == (
        "localhost", "web1", "web1.example.org", "web1.prod", "127.0.0.1", "192.0.2.10",
        "192.0.2.11", "192.0.2.20", "198.18.0.10", "203.0.113.1", "::1", "2001:db8::1",
    )  # fmt: skip


@pytest.mark.parametrize("answer", [None, "", "nonsense", '[{"ifname": 1}]', "[1]", "null", "7"])
def test_addresses_that_cannot_be_read(tmp_path, answer):
    with pytest.raises(HostError, match="dockerd_tls_collect_sans"):
        certificates.collect(Fake(tmp_path, answer), [])


def test_environment_is_for_shell_and_systemd():
    text = certificates.environment("/home/a b/.docker/ci", "tcp://web1:2376").decode()
    assert text == (
        "DOCKER_HOST=tcp://web1:2376\nDOCKER_TLS_VERIFY=1\n"
        "DOCKER_CERT_PATH='/home/a b/.docker/ci'\n"
    )
    assert b"DOCKER_HOST" not in certificates.environment("/x", None)


# -- reading what may be anything


LOADERS = [
    lambda data: certificates.certificates(data, "/f"),
    lambda data: certificates.key(data, "/f"),
    lambda data: certificates.key(data, "/f", "secret"),
    lambda data: certificates.request(data, "/f"),
]


def wrap(kind, body):
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (kind, body, kind)


@pytest.mark.parametrize("load", LOADERS)
@given(data=st.binary(max_size=400))
def test_loaders_take_any_bytes(load, data):
    with pytest.raises(DockerdError, match="/f"):
        load(data)


@pytest.mark.parametrize("load", LOADERS)
@given(
    kind=st.sampled_from(
        [b"CERTIFICATE", b"PRIVATE KEY", b"EC PRIVATE KEY", b"ENCRYPTED PRIVATE KEY",
         b"CERTIFICATE REQUEST"]
    ),
    body=st.binary(max_size=200),
)  # fmt: skip
def test_loaders_take_any_pem(load, kind, body):
    import base64

    with pytest.raises(DockerdError, match="/f"):
        load(wrap(kind, base64.b64encode(body)))


@pytest.fixture(scope="module")
def real():
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        authority = make(Host(directory))
    private = certificates.make_key("ecdsa-p256")
    request = certificates.make_request(private, leaf())
    signed = authority.sign(request, leaf(), NOW)
    return {"certificate": signed, "key": certificates.key_pem(private), "request": request}


def der(pem_bytes):
    import base64

    lines = pem_bytes.strip().splitlines()
    return lines[0], base64.b64decode(b"".join(lines[1:-1])), lines[-1]


@pytest.mark.parametrize("kind", ["certificate", "key", "request"])
@given(st.data())
def test_a_flipped_byte_is_read_or_reported(real, kind, data):
    import base64

    first, body, last = der(real[kind])
    at = data.draw(st.integers(0, len(body) - 1))
    broken = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    pem_bytes = b"\n".join([first, base64.b64encode(broken), last]) + b"\n"
    load = {
        "certificate": lambda: certificates.certificates(pem_bytes, "/f"),
        "key": lambda: certificates.key(pem_bytes, "/f"),
        "request": lambda: certificates.request(pem_bytes, "/f"),
    }[kind]
    try:
        found = load()
    except DockerdError:
        return
    if kind == "certificate":
        public = found[0].public_key()
        certificates.judge(found, public, leaf(), found, NOW)


@given(st.binary(min_size=1, max_size=200))
def test_an_error_never_quotes_a_key(data):
    secret = b"SECRET" + data.hex().encode()
    with pytest.raises(DockerdError) as caught:
        certificates.key(wrap(b"PRIVATE KEY", secret), "/f")
    assert secret.decode() not in str(caught.value)


def test_without_the_library_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(certificates, "MISSING", "No module named 'cryptography'")
    for call in (
        certificates.need,
        lambda: certificates.make_key("ed25519"),
        lambda: LOADERS[0](b""),
    ):
        with pytest.raises(HostError, match="python3-cryptography"):
            call()


def test_without_the_library_a_virgin_host_can_still_be_planned(host, monkeypatch):
    monkeypatch.setattr(certificates, "MISSING", "No module named 'cryptography'")
    plan = certificates.plan(host, leaf(), TRUST, None, NOW)
    assert plan.changed
    assert certificates.expected(host, plan)


# -- authorities


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("purpose", ["servers", "clients"])
def test_an_authority_is_one(host, purpose):
    certificate = make(host, purpose).signer
    basic, usage = (extension(certificate, kind) for kind in (x509.BasicConstraints, x509.KeyUsage))
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    assert extension(certificate, x509.SubjectKeyIdentifier)
    assert certificate.serial_number.bit_length() > 64
    assert purpose in certificate.subject.rfc4514_string()
    assert certificates.not_before(certificate) == NOW - SKEW
    assert certificates.not_after(certificate) == NOW + 3650 * DAY
    assert certificates.signed_by(certificate, certificate)


def test_two_authorities_have_nothing_in_common(host):
    one, two = make(host, "servers").signer, make(host, "clients").signer
    assert one.subject != two.subject
    assert one.serial_number != two.serial_number
    assert not certificates.signed_by(one, two)


@pytest.mark.parametrize("passphrase", [None, "", "correct horse", "ünï"])
def test_an_authority_is_read_back(host, passphrase):
    made = make(host, passphrase=passphrase)
    loaded = Authority.load(host, "/authority", "servers", passphrase, NOW)
    assert loaded.signer == made.signer
    assert host.stat("/authority/servers").mode == 0o700
    assert host.stat("/authority/servers/ca-key.pem").mode == 0o600
    assert (b"ENCRYPTED" in host.read("/authority/servers/ca-key.pem")) == bool(passphrase)
    assert "PRIVATE" not in repr(loaded)


def refused(host, match, passphrase=None, now=NOW):
    with pytest.raises(Refused, match=match):
        Authority.load(host, "/authority", "servers", passphrase, now)


def test_no_authority(host):
    assert Authority.load(host, "/authority", "servers", None, NOW) is None


@pytest.mark.parametrize("gone", ["ca.pem", "ca-key.pem"])
def test_half_an_authority(host, gone):
    make(host)
    host.remove("/authority/servers/" + gone)
    refused(host, "half an authority")
    with pytest.raises(Refused, match="half an authority"):
        Authority.load(host, "/authority", "servers", None, NOW)


def test_passphrases_that_do_not_fit(host):
    make(host)
    refused(host, "not encrypted.*dockerd_tls_authority_passphrase", "secret")
    make(host, passphrase="right")
    refused(host, "no passphrase was given.*dockerd_tls_authority_passphrase")
    refused(host, "does not open.*dockerd_tls_authority_passphrase", "wrong")


def test_a_foreign_key(host):
    make(host)
    other = certificates.key_pem(certificates.make_key("ecdsa-p256"))
    host.write("/authority/servers/ca-key.pem", other, 0o600, os.getuid(), os.getgid())
    refused(host, "not the key of the first certificate")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_an_open_key(host, mode):
    make(host)
    host.own("/authority/servers/ca-key.pem", mode, os.getuid(), os.getgid())
    refused(host, "mode %04o" % mode)


def test_a_leaf_is_no_authority(host):
    authority = make(host)
    private = certificates.make_key("ecdsa-p256")
    signed = authority.sign(certificates.make_request(private, leaf()), leaf(), NOW)
    owner = (os.getuid(), os.getgid())
    host.write("/authority/servers/ca.pem", signed, 0o644, *owner)
    host.write("/authority/servers/ca-key.pem", certificates.key_pem(private), 0o600, *owner)
    refused(host, "no authority")


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_an_unreadable_authority(host, name):
    make(host)
    host.write("/authority/servers/" + name, b"\x00nonsense", 0o600, os.getuid(), os.getgid())
    with pytest.raises(DockerdError, match=name):
        Authority.load(host, "/authority", "servers", None, NOW)


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (NOW - SKEW, True),
        (NOW - SKEW - SECOND, False),
        (NOW + 10 * DAY, True),
        (NOW + 10 * DAY + SECOND, False),
    ],
)
def test_an_authority_outside_its_time(host, now, good):
    make(host, lifetime=10 * DAY)
    if good:
        assert Authority.load(host, "/authority", "servers", None, now)
    else:
        refused(host, "valid from", now=now)


@pytest.mark.parametrize(("extra", "good"), [(timedelta(0), True), (-SECOND, False)])
def test_a_leaf_never_outlives_its_authority(host, extra, good):
    authority = make(host, lifetime=90 * DAY + extra)
    request = certificates.make_request(certificates.make_key("ecdsa-p256"), leaf())
    if good:
        authority.sign(request, leaf(), NOW)
        return
    assert "dockerd_tls_server_lifetime" in authority.refusal("server", 90 * DAY, NOW)
    with pytest.raises(Refused, match="dockerd_tls_server_lifetime"):
        authority.sign(request, leaf(), NOW)


def ask(host, check=False):
    return certificates.make_missing(host, "/authority", None, 3650 * DAY, SKEW, NOW, check)


ALL = [
    "/authority/.gitignore",
    "/authority/clients/ca-key.pem",
    "/authority/clients/ca.pem",
    "/authority/servers/ca-key.pem",
    "/authority/servers/ca.pem",
]


def tree(root):
    return sorted(
        "/" + str(one.relative_to(root)) for one in Path(root).rglob("*") if one.is_file()
    )


def test_make_missing_predicts_and_makes_the_same(host, tmp_path):
    assert ask(host, check=True) == ALL
    assert tree(tmp_path) == []
    assert ask(host) == ALL
    assert tree(tmp_path) == ALL
    assert host.stat("/authority").mode == 0o700
    assert host.read("/authority/.gitignore") == b"*\n"
    assert ask(host) == []


def test_make_missing_leaves_somebody_elses_directory_its_mode_and_rules(host, tmp_path):
    (tmp_path / "authority").mkdir(mode=0o755)
    (tmp_path / "authority/site.yml").write_text("")
    assert "/authority/.gitignore" not in ask(host)
    assert host.stat("/authority").mode == 0o755
    assert host.stat("/authority/clients").mode == 0o700


def test_make_missing_makes_nothing_beside_half_an_authority(host, tmp_path):
    make(host, "clients")
    host.remove("/authority/clients/ca.pem")
    before = tree(tmp_path)
    with pytest.raises(Refused, match="half"):
        ask(host)
    assert tree(tmp_path) == before


# -- signing


@pytest.mark.parametrize("usage", ["server", "client"])
@pytest.mark.parametrize("kind", certificates.KEY_TYPES)
def test_a_leaf_is_what_was_asked_for(host, kind, usage):
    if kind == "rsa-4096" and usage == "client":
        pytest.skip("as for the server, and slow")
    wanted = leaf(usage, key_type=kind)
    authority = make(host)
    private = certificates.make_key(kind)
    signed = authority.sign(certificates.make_request(private, wanted), wanted, NOW)
    found = certificates.certificates(signed, "/f")
    certificate = found[0]
    assert not certificates.judge(
        found, private.public_key(), wanted, [authority.signer], NOW
    ).reasons
    purposes = {
        "server": ExtendedKeyUsageOID.SERVER_AUTH,
        "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [purposes[usage]]
    used = extension(certificate, x509.KeyUsage).value
    assert used.digital_signature
    assert used.key_encipherment == kind.startswith("rsa")
    assert not extension(certificate, x509.BasicConstraints).value.ca
    identifier = extension(authority.signer, x509.SubjectKeyIdentifier).value.digest
    assert extension(certificate, x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    assert extension(certificate, x509.SubjectKeyIdentifier)
    assert certificates.names(certificate) == wanted.sans
    assert certificates.not_before(certificate) == NOW - SKEW
    assert certificates.not_after(certificate) == NOW + wanted.lifetime
    assert certificates.key_type(certificate.public_key()) == kind
    assert certificate.serial_number.bit_length() > 64


def test_a_leaf_does_not_begin_before_its_authority(host):
    authority = make(host)
    wanted = leaf(skew=DAY)
    request = certificates.make_request(certificates.make_key("ecdsa-p256"), wanted)
    found = certificates.certificates(authority.sign(request, wanted, NOW), "/f")[0]
    assert certificates.not_before(found) == NOW - SKEW


@pytest.mark.parametrize(
    "asked",
    [
        leaf(sans=(*SANS, "victim")),
        leaf(sans=SANS[1:]),
        leaf(key_type="rsa-2048"),
        leaf(sans=()),
    ],
)
def test_a_request_for_something_else_is_refused(host, asked):
    request = certificates.make_request(certificates.make_key(asked.key_type), asked)
    with pytest.raises(Refused, match="asked for"):
        make(host).sign(request, leaf(), NOW)


def test_subject_and_usages_of_a_request_are_not_believed(host):
    asked = replace(leaf("client"), common_name="root", sans=SANS)
    request = certificates.make_request(certificates.make_key("ecdsa-p256"), asked)
    found = certificates.certificates(make(host).sign(request, leaf(), NOW), "/f")[0]
    assert found.subject.rfc4514_string() == "CN=web1"
    assert certificates.describe(found)["usages"] == ["serverAuth"]


def test_a_request_signed_by_another_key_is_refused(host, real):
    first, body, last = der(real["request"])
    import base64

    broken = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(DockerdError):
        make(host).sign(b"\n".join([first, base64.b64encode(broken), last]), leaf(), NOW)


# -- judging


def judged(host, wanted, made=None, issuers=None, now=NOW, public=None):
    authority = make(host)
    private = certificates.make_key((made or wanted).key_type)
    request = certificates.make_request(private, made or wanted)
    chain = certificates.certificates(authority.sign(request, made or wanted, NOW), "/f")
    issuers = [authority.signer] if issuers is None else issuers
    return certificates.judge(chain, public or private.public_key(), wanted, issuers, now)


@pytest.mark.parametrize(
    ("left", "due", "expired"),
    [
        (30 * DAY + SECOND, False, False),
        (30 * DAY, True, False),
        (30 * DAY - SECOND, True, False),
        (SECOND, True, False),
        (timedelta(0), True, False),
        (-SECOND, False, True),
        (-400 * DAY, False, True),
    ],
)
def test_renewal_to_the_second(host, left, due, expired):
    verdict = judged(host, leaf(), now=NOW + 90 * DAY - left)
    assert bool(verdict.due) == due
    assert bool(verdict.faults) == expired
    if due:
        assert "dockerd_tls_renew_before (30 days)" in verdict.due
    if expired:
        assert "expired" in verdict.faults[0]


@pytest.mark.parametrize(("before", "early"), [(SKEW, False), (SKEW + SECOND, True)])
def test_a_leaf_of_the_future(host, before, early):
    verdict = judged(host, leaf(), now=NOW - before)
    assert any("not valid before" in one for one in verdict.faults) == early


@pytest.mark.parametrize(
    ("lifetime", "fault"),
    [(90 * DAY, False), (89 * DAY + 86100 * SECOND, False), (89 * DAY + 86099 * SECOND, True)],
)
def test_a_life_that_is_too_long_to_the_second(host, lifetime, fault):
    verdict = judged(host, leaf(lifetime=lifetime, renew_before=DAY), made=leaf())
    assert any("dockerd_tls_server_lifetime" in one for one in verdict.faults) == fault


@pytest.mark.parametrize(
    ("wanted", "made", "words"),
    [
        (leaf(sans=(*SANS, "new")), leaf(), "does not name new"),
        (leaf(), leaf(sans=(*SANS, "10.9.9.9")), "names 10.9.9.9, not wanted"),
        (leaf(), leaf("client", sans=SANS), "clientAuth, wanted is serverAuth"),
        (leaf("client"), leaf(sans=()), "serverAuth, wanted is clientAuth"),
        (leaf(common_name="web2"), leaf(), "common name"),
        (leaf(key_type="ecdsa-p384"), leaf(), "dockerd_tls_key_type is ecdsa-p384"),
        (leaf(sans=()), leaf(sans=()), "no subject alternative name"),
    ],
)
def test_what_is_wrong_is_said(host, wanted, made, words):
    verdict = judged(host, wanted, made=made)
    assert any(words in one for one in verdict.faults), verdict.faults


def test_order_of_sans_does_not_matter(host):
    assert not judged(host, leaf(), made=leaf(sans=tuple(reversed(SANS)))).reasons


def test_another_key(host):
    public = certificates.make_key("ecdsa-p256").public_key()
    assert "the key does not match the leaf" in judged(host, leaf(), public=public).faults


def test_another_authority(host, tmp_path):
    other = make(Host(str(tmp_path / "other")))
    faults = judged(host, leaf(), issuers=[other.signer]).faults
    assert len(faults) == 1
    assert other.signer.subject.rfc4514_string() in faults[0]
    assert "there is none yet" in judged(host, leaf(), issuers=[]).faults[0]


def test_an_authority_of_the_same_name_does_not_pass(host):
    """The name alone must not do: the signature is what counts."""
    authority = make(host)
    private = certificates.make_key("ecdsa-p256")
    impostor = self_signed(private, authority.signer.subject, ca=True)
    assert not certificates.signed_by(authority.signer, impostor)
    assert judged(host, leaf(), issuers=[impostor]).faults


def self_signed(private, subject, ca, pss=False, usages=None, key=None):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key((key or private).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 60 * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
    )
    for usage in usages or ():
        builder = builder.add_extension(usage, False)
    extra = {}
    if pss:
        extra["rsa_padding"] = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    return builder.sign(private, hashes.SHA256(), **extra)


SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outside")])


@pytest.mark.parametrize("pss", [False, True])
def test_signatures_with_rsa(pss):
    if pss and int(cryptography.__version__.split(".")[0]) < 41:
        pytest.skip("this cryptography makes no such signatures")
    private = rsa.generate_private_key(65537, 2048)
    certificate = self_signed(private, SUBJECT, True, pss)
    assert certificates.signed_by(certificate, certificate)
    forged = self_signed(rsa.generate_private_key(65537, 2048), SUBJECT, True, pss, key=private)
    assert not certificates.signed_by(forged, forged)


def test_signatures_of_what_may_not_sign():
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(private, SUBJECT, False)
    assert not certificates.signed_by(certificate, certificate)


def test_signatures_with_dsa_are_not_taken():
    private = dsa.generate_private_key(2048)
    certificate = self_signed(private, SUBJECT, True)
    assert not certificates.signed_by(certificate, certificate)


def test_a_chain_through_intermediates(host):
    root = ec.generate_private_key(ec.SECP256R1())
    middle = ec.generate_private_key(ec.SECP256R1())

    def issue(subject, issuer, public, signing, ca):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        )
        return builder.sign(signing, hashes.SHA256())

    end = ec.generate_private_key(ec.SECP256R1()).public_key()
    top = issue("root", "root", root.public_key(), root, True)
    between = issue("middle", "root", middle.public_key(), root, True)
    last = issue("leaf", "middle", end, middle, False)
    no_ca = issue("middle", "root", middle.public_key(), root, False)
    assert certificates.chains_to([last, between], [top])
    assert certificates.chains_to([last], [between])
    assert not certificates.chains_to([last], [top])
    assert not certificates.chains_to([last, no_ca], [top])
    assert not certificates.chains_to([last, between], [])


@pytest.mark.parametrize(
    ("private", "strong"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), False),
        (lambda: rsa.generate_private_key(65537, 2048), True),
        (lambda: ec.generate_private_key(ec.SECP521R1()), True),
        (lambda: ec.generate_private_key(ec.SECP256K1()), False),
        (lambda: dsa.generate_private_key(2048), False),
    ],
)
def test_weak_keys_of_others(private, strong):
    secret = private()
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    name = x509.SubjectAlternativeName([x509.DNSName("web1")])
    certificate = self_signed(secret, SUBJECT, False, usages=[usage, name])
    wanted = leaf(sans=(), ours=False)
    verdict = certificates.judge([certificate], secret.public_key(), wanted, None, NOW)
    assert bool(verdict.faults) != strong, verdict.faults


def test_others_may_say_more_than_was_asked(host):
    made = leaf(sans=(*SANS, "more"), common_name="whatever", lifetime=400 * DAY)
    assert not judged(host, leaf(ours=False), made=made).reasons
    assert judged(host, leaf(ours=False, sans=(*SANS, "missing")), made=made).faults


@pytest.mark.parametrize(
    ("usages", "said"),
    [
        (None, "not set"),
        (
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            "clientAuth and server",
        ),
        ([x509.ObjectIdentifier("2.5.29.37.0")], "2.5.29.37.0"),
    ],
)
def test_extended_key_usage_is_exact(usages, said):
    private = certificates.make_key("ecdsa-p256")
    extensions = [x509.SubjectAlternativeName([x509.DNSName("web1")])]
    extensions += [x509.ExtendedKeyUsage(usages)] if usages else []
    certificate = self_signed(private, SUBJECT, False, usages=extensions)
    wanted = leaf(sans=(), ours=False)
    verdict = certificates.judge([certificate], private.public_key(), wanted, None, NOW)
    assert len(verdict.faults) == 1
    assert said in verdict.faults[0]


# -- one leaf on its host


def snapshot(root):
    return {
        str(one.relative_to(root)): (one.read_bytes(), one.stat().st_mode & 0o7777)
        for one in Path(root).rglob("*")
        if one.is_file()
    }


@pytest.mark.parametrize(
    ("usage", "modes"),
    [
        ("server", {"": 0o755, "server-key.pem": 0o400, "server-cert.pem": 0o444, "ca.pem": 0o444}),
        ("client", {"": 0o700, "key.pem": 0o600, "cert.pem": 0o600, "ca.pem": 0o600}),
    ],
)
def test_from_nothing_to_good_and_stays(host, tmp_path, usage, modes):
    authority = make(host)
    wanted = leaf(usage)
    predicted = certificates.plan(host, wanted, TRUST, [authority.signer], NOW).files
    converge(host, wanted, authority)
    directory = tmp_path / "etc/docker/tls"
    assert {name: (directory / name).stat().st_mode & 0o7777 for name in modes} == modes
    assert sorted(predicted) == sorted("/etc/docker/tls/" + one.name for one in directory.iterdir())
    before = snapshot(tmp_path)
    again = certificates.plan(host, wanted, TRUST, [authority.signer], NOW)
    assert not again.changed
    assert certificates.advance(host, again, None, [authority.signer], NOW) is None
    assert snapshot(tmp_path) == before
    assert certificates.expected(host, again) == again.before


def test_planning_writes_nothing(host, tmp_path):
    authority = make(host)
    before = snapshot(tmp_path)
    plan = certificates.plan(host, leaf(), TRUST, [authority.signer], NOW)
    certificates.request_at_hand(host, plan)
    certificates.expected(host, plan)
    assert snapshot(tmp_path) == before


def test_renewal_keeps_the_key(host):
    authority = make(host)
    converge(host, leaf(), authority)
    key, first = host.read(leaf().key), load_leaf(host, leaf())
    plan = converge(host, leaf(), authority, NOW + 60 * DAY)
    assert plan.files == [leaf().certificate]
    assert host.read(leaf().key) == key
    assert load_leaf(host, leaf()).serial_number != first.serial_number


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519", "ecdsa-p384"])
def test_another_key_type_keeps_the_live_pair_until_the_leaf_comes(host, tmp_path, kind):
    authority = make(host)
    converge(host, leaf(), authority)
    live = {path: host.read(path) for path in leaf().modes}
    wanted = leaf(key_type=kind)
    plan = certificates.plan(host, wanted, TRUST, [authority.signer], NOW)
    request = certificates.advance(host, plan, None, [authority.signer], NOW)
    assert {path: host.read(path) for path in leaf().modes} == live
    assert host.stat(wanted.pending).mode == 0o400
    again = certificates.plan(host, wanted, TRUST, [authority.signer], NOW)
    assert again.key_waits
    same = certificates.advance(host, again, None, [authority.signer], NOW)
    public = [certificates.request(one, "/f").public_key() for one in (request, same)]
    assert certificates.public_bytes(public[0]) == certificates.public_bytes(public[1])
    answer = authority.sign(request, wanted, NOW)
    certificates.advance(host, again, answer, [authority.signer], NOW)
    assert not reasons(host, wanted, authority)
    assert host.stat(wanted.pending) is None


class Dying(Host):
    """A machine that loses power before its n-th change."""

    def __init__(self, root, changes) -> None:
        super().__init__(root)
        self.left = changes

    def _live(self):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def write(self, *arguments, **named):
        self._live()
        super().write(*arguments, **named)

    def own(self, *arguments):
        self._live()
        super().own(*arguments)

    def make_directory(self, *arguments):
        self._live()
        super().make_directory(*arguments)

    def remove(self, *arguments):
        self._live()
        super().remove(*arguments)


@pytest.mark.parametrize("start", ["virgin", "renewal", "another key"])
@pytest.mark.parametrize("changes", range(8))
def test_a_crash_at_any_change_is_healed_by_the_next_run(host, tmp_path, start, changes):
    authority = make(host)
    wanted, now = leaf(), NOW
    if start != "virgin":
        converge(host, leaf(), authority)
        wanted = leaf(key_type="ed25519") if start == "another key" else leaf()
        now = NOW + 70 * DAY
    try:
        converge(Dying(str(tmp_path), changes), wanted, authority, now)
    except KeyboardInterrupt:
        pass
    if start == "renewal":  # a renewal is one rename: the pair fits at any moment
        private = certificates.key(host.read(wanted.key), "/f")
        verdict = certificates.judge(
            [load_leaf(host, wanted)], private.public_key(), wanted, [authority.signer], now
        )
        assert not verdict.faults
    converge(host, wanted, authority, now)
    plan = certificates.plan(host, wanted, TRUST, [authority.signer], now)
    assert not plan.changed
    assert not host.stat(wanted.pending)


def break_key(host, wanted):
    host.write(wanted.key, b"junk", 0o400, wanted.uid, wanted.gid)


def other_key(host, wanted):
    data = certificates.key_pem(certificates.make_key("ecdsa-p256"))
    host.write(wanted.key, data, 0o400, wanted.uid, wanted.gid)


def encrypted_key(host, wanted):
    data = certificates.key_pem(certificates.make_key("ecdsa-p256"), "secret")
    host.write(wanted.key, data, 0o400, wanted.uid, wanted.gid)


def break_certificate(host, wanted):
    host.write(wanted.certificate, b"junk", 0o444, wanted.uid, wanted.gid)


@pytest.mark.parametrize(
    ("spoil", "words", "files"),
    [
        (lambda host, one: host.remove(one.key), "is not there", {"key", "certificate"}),
        (lambda host, one: host.remove(one.certificate), "is not there", {"certificate"}),
        (break_key, "no private key", {"key", "certificate"}),
        (encrypted_key, "is encrypted", {"key", "certificate"}),
        (other_key, "does not match", {"certificate"}),
        (break_certificate, "no certificate", {"certificate"}),
    ],
)
def test_a_spoilt_pair_is_made_anew(host, spoil, words, files):
    authority = make(host)
    converge(host, leaf(), authority)
    spoil(host, leaf())
    plan = certificates.plan(host, leaf(), TRUST, [authority.signer], NOW)
    assert any(words in one for one in plan.reasons), plan.reasons
    assert plan.files == sorted(getattr(leaf(), one) for one in files)
    converge(host, leaf(), authority)
    assert not certificates.plan(host, leaf(), TRUST, [authority.signer], NOW).changed


@pytest.mark.parametrize("path", ["key", "certificate", "trust"])
def test_a_mode_is_mended_without_a_new_leaf(host, path):
    authority = make(host)
    converge(host, leaf(), authority)
    serial = load_leaf(host, leaf()).serial_number
    host.own(getattr(leaf(), path), 0o666, os.getuid(), os.getgid())
    plan = converge(host, leaf(), authority)
    assert plan.files == [getattr(leaf(), path)]
    assert "0666" in plan.before
    assert host.stat(getattr(leaf(), path)).mode == leaf().modes[getattr(leaf(), path)]
    assert load_leaf(host, leaf()).serial_number == serial


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_an_owner_is_mended_without_a_new_leaf(host):
    authority = make(host)
    converge(host, leaf(), authority)
    host.own(leaf().key, 0o400, 65534, 65534)
    assert converge(host, leaf(), authority).files == [leaf().key]
    assert host.stat(leaf().key).uid == 0


def test_a_directory_is_mended(host, tmp_path):
    authority = make(host)
    converge(host, leaf(), authority)
    (tmp_path / "etc/docker/tls").chmod(0o777)
    assert converge(host, leaf(), authority).files == ["/etc/docker/tls"]
    assert host.stat("/etc/docker/tls").mode == 0o755


def test_trust_is_renewed_without_a_new_leaf(host):
    authority = make(host)
    converge(host, leaf(), authority)
    plan = converge(host, leaf(), authority, trust=b"other\n")
    assert (plan.files, plan.reasons) == ([leaf().trust], [])
    assert host.read(leaf().trust) == b"other\n"


def test_extra_files_are_kept(host):
    authority = make(host)
    wanted = leaf("client", extra={"/etc/docker/tls/docker.env": b"A=1\n"})
    assert "/etc/docker/tls/docker.env" in converge(host, wanted, authority).files
    assert host.stat("/etc/docker/tls/docker.env").mode == 0o600
    changed = replace(wanted, extra={"/etc/docker/tls/docker.env": b"A=2\n"})
    assert converge(host, changed, authority).files == ["/etc/docker/tls/docker.env"]


def test_a_leftover_key_is_cleared_away(host):
    authority = make(host)
    converge(host, leaf(), authority)
    host.write(leaf().pending, b"x", 0o400, os.getuid(), os.getgid())
    assert converge(host, leaf(), authority).changed
    assert host.stat(leaf().pending) is None


def test_refusal_is_raised_only_when_something_must_be_signed(host, tmp_path):
    authority = make(host)
    issuers = [authority.signer]
    with pytest.raises(Refused, match=r"ends soon.*is not there"):
        certificates.plan(host, leaf(), TRUST, issuers, NOW, "ends soon.")
    converge(host, leaf(), authority)
    assert not certificates.plan(host, leaf(), TRUST, issuers, NOW, "ends soon.").changed


@pytest.mark.parametrize(
    ("made", "now", "words"),
    [
        (leaf("client", sans=SANS), NOW, "clientAuth"),
        (leaf(sans=(*SANS, "victim")), NOW, "victim"),
        (leaf(), NOW + 91 * DAY, "expired"),
        (leaf(), NOW - DAY, "not valid before"),
    ],
)
def test_a_bad_answer_replaces_nothing(host, tmp_path, made, now, words):
    authority = make(host)
    converge(host, leaf(key_type="ed25519"), authority)
    plan = certificates.plan(host, leaf(), TRUST, [authority.signer], now)
    request = certificates.advance(host, plan, None, [authority.signer], now)
    private = certificates._waiting_key(host, leaf())
    answer = authority.sign(certificates.make_request(private, made), made, NOW)
    before = snapshot(tmp_path)
    with pytest.raises(Refused, match=words):
        certificates.advance(host, plan, answer, [authority.signer], now)
    assert snapshot(tmp_path) == before
    assert request


@pytest.mark.parametrize(
    "answer", [b"junk", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
)
def test_an_answer_that_is_none_replaces_nothing(host, tmp_path, answer):
    authority = make(host)
    plan = certificates.plan(host, leaf(), TRUST, [authority.signer], NOW)
    certificates.advance(host, plan, None, [authority.signer], NOW)
    before = snapshot(tmp_path)
    with pytest.raises(DockerdError, match="web1"):
        certificates.advance(host, plan, answer, [authority.signer], NOW)
    assert snapshot(tmp_path) == before


def test_rotation(host, tmp_path):
    """Trust both, sign anew, drop the old one."""
    old, new = make(host), make(Host(str(tmp_path / "new")))
    converge(host, leaf(), old, trust=certificates.pem(old.signer))
    owner = (os.getuid(), os.getgid())
    host.write("/authority/servers/ca.pem", certificates.pem(new.signer, old.signer), 0o644, *owner)
    secret = certificates.key_pem(new.private)
    host.write("/authority/servers/ca-key.pem", secret, 0o600, *owner)
    both = Authority.load(host, "/authority", "servers", None, NOW)
    assert [one.subject for one in both.bundle] == [new.signer.subject, old.signer.subject]
    assert reasons(host, leaf(), both)[0].startswith("the leaf is signed by")
    converge(host, leaf(), both)
    assert certificates.signed_by(load_leaf(host, leaf()), new.signer)


def test_a_bundle_hands_out_certificates_only(host):
    authority = make(host)
    text = (
        b"# note\n" + certificates.pem(authority.signer) + certificates.key_pem(authority.private)
    )
    host.write("/authority/servers/ca.pem", text, 0o644, os.getuid(), os.getgid())
    loaded = Authority.load(host, "/authority", "servers", None, NOW)
    assert certificates.pem(*loaded.bundle) == certificates.pem(authority.signer)


def test_pictures_never_show_a_key(host):
    authority = make(host)
    plan = converge(host, leaf(), authority)
    shown = plan.before + certificates.expected(host, plan) + repr(plan.contents)
    body = host.read(leaf().key).decode().splitlines()[1]
    assert "PRIVATE" not in shown
    assert body not in shown
    digest = certificates.hashlib.sha256(host.read(leaf().key)).hexdigest()
    assert digest[:16] not in shown


# -- certificates that others keep


def own_files(host):
    authority = make(host)
    other = make(host, "clients")
    wanted = leaf()
    converge(host, wanted, authority, trust=certificates.pem(other.signer))
    return replace(wanted, ours=False, sans=("web1",)), authority


def test_good_files_of_others(host, tmp_path):
    wanted, _authority = own_files(host)
    before = snapshot(tmp_path)
    assert certificates.examine(host, wanted, NOW).reasons == []
    assert certificates.examine(host, wanted, NOW + 70 * DAY).due
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("path", ["key", "certificate", "trust"])
def test_missing_files_of_others(host, path):
    wanted, _authority = own_files(host)
    host.remove(getattr(wanted, path))
    with pytest.raises(Refused, match="dockerd_tls_server_trust"):
        certificates.examine(host, wanted, NOW)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    host = Host(str(tmp_path_factory.mktemp("others")))
    return host, own_files(host)[0]


@pytest.mark.parametrize(("path", "wrong"), [("key", 0o077), ("certificate", 0o022)])
def test_all_modes_of_others(others, monkeypatch, path, wrong):
    host, wanted = others
    real, shown = Host.stat, [0]

    def stat(self, name):
        found = real(self, name)
        return replace(found, mode=shown[0]) if name == getattr(wanted, path) else found

    monkeypatch.setattr(Host, "stat", stat)
    for mode in range(0o1000):
        shown[0] = mode
        faults = certificates.examine(host, wanted, NOW).faults
        assert bool(faults) == bool(mode & wrong), oct(mode)


def test_trust_that_is_no_authority(host):
    wanted, _authority = own_files(host)
    host.write(wanted.trust, host.read(wanted.certificate), 0o444, os.getuid(), os.getgid())
    assert any("no authority" in one for one in certificates.examine(host, wanted, NOW).faults)


# -- an outside authority


def test_handing_out_and_reading_back(host):
    outside = make(host)
    wanted = replace(leaf(), ours=False)
    private = certificates.make_key("ecdsa-p256")
    request = certificates.make_request(private, wanted)
    path, answer = "/a/requests/web1.csr", "/a/leaves/web1.pem"
    assert certificates.hand_out(host, path, request, True)
    assert host.stat(path) is None
    assert certificates.hand_out(host, path, request, False)
    assert not certificates.hand_out(host, path, certificates.make_request(private, wanted), False)
    changed = certificates.make_request(private, replace(wanted, sans=("other",)))
    assert certificates.hand_out(host, path, changed, False)

    def back(now=NOW, asked=request):
        return certificates.read_back(host, answer, asked, wanted, [outside.signer], now)

    assert "not there yet" in back()[1]
    host.write(answer, b"junk", 0o644, os.getuid(), os.getgid())
    assert "no certificate" in back()[1]
    signed = outside.sign(request, wanted, NOW)
    host.write(answer, signed, 0o644, os.getuid(), os.getgid())
    assert back() == (signed, "")
    assert "not made yet" in back(asked=b"")[1]
    assert "expired" in back(NOW + 100 * DAY)[1]
    assert "expires" in back(NOW + 70 * DAY)[1]


def test_an_outside_bundle(host):
    authority = make(host)
    private = certificates.make_key("ecdsa-p256")
    request = certificates.make_request(private, leaf())
    host.write("/leaf.pem", authority.sign(request, leaf(), NOW), 0o644, os.getuid(), os.getgid())
    found = certificates.outside(host, "/authority/servers/ca.pem", "v")
    assert found == [authority.signer]
    for path in ("/leaf.pem", "/none.pem", "/authority/servers/ca-key.pem"):
        with pytest.raises(Refused, match="dockerd_tls_external_server_authority.*" + path):
            certificates.outside(host, path, "dockerd_tls_external_server_authority")


# -- real TLS


def context(host, directory, wanted, server):
    protocol = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    made = ssl.SSLContext(protocol)
    root = str(directory)
    made.load_cert_chain(root + wanted.certificate, root + wanted.key)
    made.load_verify_locations(root + wanted.trust)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def shake(server, client, name="web1"):
    """A handshake in memory; raises ssl.SSLError where one side refuses."""
    pipes = [ssl.MemoryBIO() for _pipe in range(4)]
    one = server.wrap_bio(pipes[0], pipes[1], server_side=True)
    two = client.wrap_bio(pipes[2], pipes[3], server_hostname=name)
    done = set()
    for _round in range(10):
        for side, out, to in ((two, pipes[3], pipes[0]), (one, pipes[1], pipes[2])):
            if side not in done:
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
            to.write(out.read())
    two.write(b"x")
    pipes[0].write(pipes[3].read())
    return one.read(1)


def world(tmp_path, kind="ecdsa-p256", lifetime=90 * DAY, now=None):
    """A server, a client and a foreign pair, signed by authorities of today."""
    now = now or datetime.now(timezone.utc).replace(microsecond=0)
    made = {}
    authority = Host(str(tmp_path / "authority"))
    signers = {one: make(authority, one, now=now - 400 * DAY) for one in ("servers", "clients")}
    for usage, signer, other in (
        ("server", "servers", "clients"),
        ("client", "clients", "servers"),
    ):
        directory = tmp_path / usage
        wanted = leaf(usage, key_type=kind, lifetime=lifetime, renew_before=SECOND)
        converge(
            Host(str(directory)),
            wanted,
            signers[signer],
            now,
            certificates.pem(*signers[other].bundle),
        )
        made[usage] = (Host(str(directory)), directory, wanted)
    return made


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
@pytest.mark.parametrize("name", ["web1", "192.0.2.10", "::1"])
def test_mutual_tls(tmp_path, kind, name):
    made = world(tmp_path, kind)
    server, client = context(*made["server"], True), context(*made["client"], False)
    assert shake(server, client, name) == b"x"


def test_a_name_that_is_not_in_the_leaf(tmp_path):
    made = world(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname"):
        shake(context(*made["server"], True), context(*made["client"], False), "web2")


def test_a_server_leaf_is_no_client(tmp_path):
    """Refused for its authority, and for its usage even where the authority were trusted."""
    made = world(tmp_path)
    _host, directory, wanted = made["server"]
    thief = context(*made["client"], False)
    thief.load_cert_chain(str(directory) + wanted.certificate, str(directory) + wanted.key)
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        shake(context(*made["server"], True), thief)
    trusting = context(*made["server"], True)
    trusting.load_verify_locations(str(made["client"][1]) + made["client"][2].trust)
    with pytest.raises(ssl.SSLError, match=r"(?i)purpose|unsuitable|certificate"):
        shake(trusting, thief)


def trusting_client(made, pair=None):
    """A client that trusts a world's servers, with the certificate of another or none."""
    client = context(*pair, False) if pair else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(str(made["client"][1]) + made["client"][2].trust)
    return client


def test_a_foreign_client_and_one_without_a_certificate(tmp_path):
    made, foreign = world(tmp_path / "a"), world(tmp_path / "b")
    server = context(*made["server"], True)
    assert shake(server, trusting_client(made, made["client"])) == b"x"
    for pair in (foreign["client"], None):
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
            shake(server, trusting_client(made, pair))


def test_an_expired_client(tmp_path):
    now = datetime.now(timezone.utc).replace(microsecond=0)
    old = world(tmp_path, lifetime=10 * DAY, now=now - 20 * DAY)
    client = context(*old["client"], False)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # the server's leaf has expired as well
    with pytest.raises(ssl.SSLError, match=r"(?i)expired"):
        shake(context(*old["server"], True), client)


def test_serialization_is_pkcs8(host):
    data = certificates.key_pem(certificates.make_key("rsa-2048"))
    assert data.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert serialization.load_pem_private_key(data, None)


def test_authorities_are_made_once_by_many(tmp_path):
    """The bundle is written after the key: whoever sees a bundle can load the authority."""
    host = Host(str(tmp_path))
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            if not certificates.missing(host, "/authority"):
                seen.append(Authority.load(host, "/authority", "servers", None, NOW))
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    ask(host)
    watcher.join(10)
    stop.set()
    assert seen
    assert seen[0] is not None
