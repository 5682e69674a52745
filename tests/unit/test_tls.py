# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import pytest
from _dockerd import certificates, findings, judgement, snapshot, tls
from _dockerd.controls import CONTROLS
from _dockerd.does import Does
from _dockerd.host import Candidate, Host
from _dockerd.instance import Instance
from conftest import CONFIG
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
BY_ID = {control.id: control for control in CONTROLS}
CA, CERT, KEY = "/tls/ca.pem", "/tls/cert.pem", "/tls/key.pem"
DATA = {
    "hosts": ["tcp://0.0.0.0:2376"],
    "tlsverify": True,
    "tlscacert": CA,
    "tlscert": CERT,
    "tlskey": KEY,
}
CONFIGURATION = json.dumps(DATA).encode()
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p256 other": ec.generate_private_key(ec.SECP256R1()),
    "p256 third": ec.generate_private_key(ec.SECP256R1()),
    "p224": ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
    "rsa 1024": rsa.generate_private_key(65537, 1024),
    "rsa 2048": rsa.generate_private_key(65537, 2048),
    "dsa": dsa.generate_private_key(2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
    "x25519": x25519.X25519PrivateKey.generate(),
}


class Made(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    private: object

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key(self, style=serialization.PrivateFormat.PKCS8, password=None):
        lock = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        return self.private.private_bytes(serialization.Encoding.PEM, style, lock)


def make(
    name,
    by=None,
    kind="p256",
    authority=False,
    usages=(SERVER,),
    sans=("web1",),
    start=NOW - 30 * DAY,
    end=NOW + 60 * DAY,
    serial=7,
):
    """A certificate, by default a server's that is its own issuer."""
    private = KEYS[kind]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (by.certificate.subject, by.private) if by else (subject, private)
    builder = (
        x509.CertificateBuilder(issuer, subject, private.public_key(), serial)
        .not_valid_before(start.replace(tzinfo=None))
        .not_valid_after(end.replace(tzinfo=None))
        .add_extension(x509.BasicConstraints(authority, None), True)
    )
    if usages and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    if sans and not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_name, sans))), False)
    plain = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    return Made(builder.sign(signer, None if plain else hashes.SHA256()), private)


def _name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


SERVERS = make("servers", kind="p256 other", authority=True)
CLIENTS = make("clients", kind="p256 third", authority=True)
LEAF = make("web1", SERVERS)


def lay(where, leaf=LEAF, trust=CLIENTS.pem, chain=b"", key=None, **changes):
    """Put TLS files on a host, sound ones unless told; None for a file that is not there."""
    where.put("/etc/hostname", "web1\n")
    where.put(CONFIG, {**DATA, **changes})
    where.put(CERT, leaf.pem + chain)
    where.put(KEY, leaf.key() if key is None else key, mode=0o400)
    where.put(CA, trust)
    return where


def see(where, now=NOW):
    return snapshot.read(Instance(), where, "26.1.5", now=now)


def verdict(where, name, now=NOW):
    return findings.judge(see(where, now), [BY_ID[name]])[0]


def test_the_facts_of_sound_files(host):
    seen = see(lay(host)).tls
    leaf, authority = seen.server[0], seen.authorities[0]
    assert (leaf.path, leaf.subject, leaf.issuer) == (CERT, "CN=web1", "CN=servers")
    assert (leaf.not_before, leaf.not_after) == (NOW - 30 * DAY, NOW + 60 * DAY)
    assert (leaf.names, leaf.usages, leaf.authority) == (("web1",), ("serverAuth",), False)
    assert (leaf.key_type, leaf.strong, leaf.hash) == ("ecdsa-p256", True, "sha256")
    assert leaf.fingerprint == LEAF.certificate.fingerprint(hashes.SHA256()).hex()
    assert seen.leaf == LEAF.certificate.public_bytes(serialization.Encoding.DER)
    assert (authority.path, authority.subject, authority.authority) == (CA, "CN=clients", True)
    assert (seen.problem, seen.unread, seen.breaks, seen.trusted) == ("", [], [], False)
    assert (seen.authority_keys, seen.locked_keys, seen.unsearched) == ({}, [], [])
    assert seen.names == ("web1",)


def test_every_control_passes_on_sound_files(host):
    found = findings.judge(see(lay(host)), [one for one in CONTROLS if "certificate-" in one.id])
    assert {one.status for one in found if one.control.id[-5:] not in ("erved", "owner")} == {
        "passed"
    }


def test_the_report_lists_them(host):
    entries = judgement.certificates(see(lay(host, chain=SERVERS.pem)))
    assert [(one["role"], one["path"], one["subject"]) for one in entries] == [
        ("server", CERT, "CN=web1"),
        ("authority", CERT, "CN=servers"),
        ("authority", CA, "CN=clients"),
    ]
    assert entries[0]["not_after"] == "2026-07-31T00:00:00Z"
    host.put(CERT, GARBAGE)
    assert [one["role"] for one in judgement.certificates(see(host))] == ["authority"]


# -- what dockerd takes: every row was tried with dockerd --validate of 26.1 and 28.5

TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
GARBAGE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
NO_BASE64 = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"
CRL = b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
RSA = make("rsa", kind="rsa 2048")
OTHER = make("other", kind="p256 other")
WITH_HEADER = CLIENTS.pem.replace(b"-----\n", b"-----\nX: y\n\n", 1)
EXPLICIT = b"""\
-----BEGIN CERTIFICATE-----
MIICYTCCAgegAwIBAgIUWFzEliAQsX6uKnyTOOpttTx3zSowCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBZTAeFw0yNjExMjIwNjAyMjhaFw0yNjEyMjIwNjAyMjhaMAwx
CjAIBgNVBAMMAWUwggFLMIIBAwYHKoZIzj0CATCB9wIBATAsBgcqhkjOPQEBAiEA
/////wAAAAEAAAAAAAAAAAAAAAD///////////////8wWwQg/////wAAAAEAAAAA
AAAAAAAAAAD///////////////wEIFrGNdiqOpPns+u9VXaYhrxlHQawzFOw9jvO
PD4n0mBLAxUAxJ02CIbnBJNqZnjhE50mt4GffpAEQQRrF9Hy4SxCR/i85uVjpEDy
dwN9gS3rM6D0oTlF2JjClk/jQuL+Gn+bjufrSnwPnhYrzjNXazFezsu2QGg3v1H1
AiEA/////wAAAAD//////////7zm+q2nF56E87nKwvxjJVECAQEDQgAEO3iDEvV3
48KdxZlL3djOzCvLd7q0ZyAelipxcD6MC/MhtPQVD9kgV7YRjlE9XmeDWzFXexL4
1CgDwj58Oe96j6NTMFEwHQYDVR0OBBYEFDqMqhqbKWHdymgveyoLrfTVQS8HMB8G
A1UdIwQYMBaAFDqMqhqbKWHdymgveyoLrfTVQS8HMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIgFVpFtBR6byQrZ4jGLa29OtqFN5uQ+7Z3JNv5OlAZ
HdYCIQCmqX0u9dYZkM9zgESRyR9e+9sARDh6SmhZAebI8Zt+mA==
-----END CERTIFICATE-----
"""
INDENTED = CLIENTS.pem.replace(b"\n", b"\n ")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "passed"),
        *(
            ({"leaf": make("x", kind=kind)}, "passed")
            for kind in ("p224", "rsa 1024", "rsa 2048", "ed25519")
        ),
        *(
            ({"leaf": make("x", kind=kind)}, "failed")
            for kind in ("secp256k1", "brainpool", "dsa", "ed448")
        ),
        ({"leaf": RSA, "key": RSA.key(TRADITIONAL)}, "passed"),
        ({"leaf": RSA, "key": RSA.key(TRADITIONAL, b"secret")}, "failed"),
        ({"leaf": RSA, "key": RSA.key().replace(b"PRIVATE", b"EC PRIVATE")}, "passed"),
        ({"key": LEAF.key(password=b"secret")}, "failed"),
        ({"key": PARAMETERS + LEAF.key(TRADITIONAL)}, "passed"),
        ({"key": LEAF.key() + OTHER.key()}, "passed"),
        ({"key": OTHER.key() + LEAF.key()}, "failed"),
        ({"key": LEAF.pem + LEAF.key()}, "passed"),
        ({"key": LEAF.key().replace(b"PRIVATE", b"XPRIVATE")}, "failed"),
        ({"key": Made(None, KEYS["x25519"]).key()}, "failed"),
        ({"key": RSA.key()}, "failed"),
        ({"key": b""}, "failed"),
        ({"key": b"garbage"}, "failed"),
        ({"chain": GARBAGE}, "passed"),
        ({"leaf": make("x", end=NOW - DAY)}, "passed"),
        ({"leaf": make("x", serial=2**158)}, "passed"),
        ({"leaf": make("x", end=datetime(9999, 12, 31))}, "passed"),
        ({"trust": b""}, "failed"),
        ({"trust": b"text\n"}, "failed"),
        ({"trust": GARBAGE}, "failed"),
        ({"trust": GARBAGE + CLIENTS.pem}, "passed"),
        ({"trust": NO_BASE64 + CRL + CLIENTS.pem}, "passed"),
        ({"trust": b"text\n" + CLIENTS.pem.replace(b"\n", b"\r\n")}, "passed"),
        ({"trust": b"text" + CLIENTS.pem}, "failed"),
        ({"trust": CLIENTS.pem.rstrip()}, "passed"),
        ({"trust": WITH_HEADER}, "failed"),
        ({"trust": INDENTED}, "failed"),
        ({"trust": CLIENTS.pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")}, "failed"),
        ({"trust": make("x", kind="ed448").pem}, "passed"),
        ({"trust": make("x", kind="secp256k1").pem}, "failed"),
        ({"trust": b"", "tlsverify": False}, "passed"),
        ({"tlscacert": None}, "passed"),
        ({"tlscert": None}, "failed"),
        ({"tlskey": ""}, "failed"),
        ({"tlskey": "/gone"}, "unknown"),
        ({"tlskey": "/tls"}, "failed"),
        ({"tlsverify": None, "tlscert": None}, "failed"),
    ],
)
def test_what_dockerd_takes(host, changes, expected):
    found = verdict(lay(host, **changes), "certificate-usable")
    assert found.status == expected, found.evidence


def test_a_first_block_that_is_no_base64_is_passed_over(host):
    lay(host)
    host.put(CERT, NO_BASE64 + LEAF.pem)
    assert verdict(host, "certificate-usable").status == "passed"
    host.put(CERT, GARBAGE + LEAF.pem)
    assert verdict(host, "certificate-usable").status == "failed"
    assert see(host).tls.server == []


def test_a_refusal_names_the_directive_and_its_place(host):
    host.put(CONFIG, "{}")
    lay(host, key=b"")
    host.put(CONFIG, '{\n"tlsverify": true, "tlscert": "%s",\n"tlskey": "%s"}' % (CERT, KEY))
    found = verdict(host, "certificate-usable")
    assert found.evidence.startswith("tlskey (%s line 3): " % CONFIG)
    assert found.places[0][:2] == (CONFIG, 3)


def test_explicit_curve_parameters_are_nothing_to_go(host):
    """Made by openssl ecparam -name prime256v1 -genkey -param_enc explicit, and openssl req."""
    lay(host, trust=EXPLICIT)
    assert verdict(host, "certificate-usable").status == "failed"
    assert verdict(host, "certificate-strong").status != "passed"  # unknown to some libraries


# -- the controls, each passing and failing

SHARED = {"trust": SERVERS.pem}
SOON = {"end": NOW + 13 * DAY}


@pytest.mark.parametrize(
    ("name", "changes", "expected", "words"),
    [
        ("certificate-valid", {"leaf": make("x", SERVERS, end=NOW - DAY)}, "failed", "2026-05-31"),
        ("certificate-valid", {"leaf": make("x", start=NOW + DAY)}, "failed", "begins on"),
        ("certificate-valid", {"leaf": make("x", **SOON)}, "passed", ""),
        ("certificate-valid", {"trust": make("x", end=NOW - DAY).pem}, "failed", CA),
        ("certificate-valid", {"chain": make("x", end=NOW - DAY).pem}, "failed", CERT),
        ("certificate-valid", {"chain": GARBAGE}, "unknown", "no certificate"),
        ("certificate-valid", {"key": b""}, "passed", ""),
        ("certificate-valid", {"tlscert": "/gone"}, "unknown", "is not there"),
        ("certificate-expires-soon", {"leaf": make("x", **SOON)}, "failed", "2026-06-14"),
        ("certificate-expires-soon", {"leaf": make("x", end=NOW + 14 * DAY)}, "passed", ""),
        ("certificate-expires-soon", {"leaf": make("x", end=NOW - DAY)}, "passed", ""),
        ("certificate-expires-soon", {"trust": make("x", **SOON).pem}, "failed", CA),
        (
            "certificate-usage",
            {"leaf": make("x", SERVERS, usages=(CLIENT,))},
            "failed",
            "no client",
        ),
        ("certificate-usage", {"leaf": make("x", SERVERS, usages=())}, "passed", ""),
        ("certificate-usage", {"leaf": make("x", SERVERS, usages=(SERVER, CLIENT))}, "passed", ""),
        ("certificate-usage", {**SHARED}, "passed", ""),
        *(
            (
                "certificate-usage",
                {**SHARED, "leaf": make("x", SERVERS, usages=use)},
                "failed",
                how,
            )
            for use, how in (
                ((SERVER, CLIENT), "drives every daemon that trusts CN=servers"),
                ((ANY,), "drives"),
                ((), "not restricted"),
            )
        ),
        (
            "certificate-usage",
            {**SHARED, "leaf": make("x", SERVERS, usages=()), "tlsverify": False},
            "passed",
            "",
        ),
        ("certificate-names", {}, "passed", "names web1"),
        ("certificate-names", {"hosts": ["fd://"]}, "not applicable", "TCP"),
        ("certificate-names", {"leaf": make("x", sans=("db1",))}, "not applicable", "running"),
        ("certificate-names", {"leaf": make("x", sans=())}, "failed", "names nothing"),
        ("certificate-names", {"hosts": ["tcp://192.0.2.1:2376"]}, "failed", "192.0.2.1"),
        ("certificate-names", {"hosts": ["tcp://WEB1:2376"]}, "passed", ""),
        ("certificate-names", {"hosts": ["tcp://127.0.0.1:2376"]}, "failed", "127.0.0.1"),
        (
            "certificate-names",
            {"hosts": ["tcp://127.0.0.1:1"], "leaf": make("x", sans=("localhost",))},
            "passed",
            "",
        ),
        (
            "certificate-names",
            {"hosts": ["tcp://[2001:db8::1]:1"], "leaf": make("x", sans=("2001:db8::1",))},
            "passed",
            "",
        ),
        (
            "certificate-names",
            {"hosts": ["tcp://a.example.org:1"], "leaf": make("x", sans=("*.example.org",))},
            "passed",
            "",
        ),
        ("certificate-chain", {"chain": SERVERS.pem}, "passed", ""),
        ("certificate-chain", {"chain": CLIENTS.pem}, "failed", "CN=clients did not sign"),
        ("certificate-chain", {"chain": SERVERS.pem + LEAF.pem}, "failed", "CN=web1 did not"),
        ("certificate-chain", {"trust": LEAF.pem}, "failed", "no authority"),
        ("certificate-chain", {"chain": GARBAGE}, "unknown", "no certificate"),
        ("certificate-strong", {"leaf": RSA}, "passed", ""),
        ("certificate-strong", {"leaf": make("x", kind="rsa 1024")}, "failed", "rsa-1024"),
        ("certificate-strong", {"leaf": make("x", kind="p224")}, "failed", "ecdsa-p224"),
        ("certificate-strong", {"leaf": make("x", kind="dsa")}, "failed", "dsa"),
        ("certificate-strong", {"trust": make("x", kind="ed448").pem}, "failed", "ed448"),
        ("authorities-apart", {}, "passed", ""),
        ("authorities-apart", SHARED, "failed", "CN=servers"),
        ("authorities-apart", {"trust": LEAF.pem}, "failed", "CN=servers"),
        ("authorities-apart", {**SHARED, "tlsverify": False}, "not applicable", "no authority"),
        ("authority-key-absent", {}, "passed", ""),
    ],
)
def test_controls(host, name, changes, expected, words):
    found = verdict(lay(host, **changes), name)
    assert (found.status, words in found.evidence) == (expected, True), found.evidence


@pytest.mark.parametrize(("issuer", "expected"), [("CN=servers", "failed"), ("CN=web1", "passed")])
def test_a_weak_signature_counts_where_somebody_looks_at_it(host, issuer, expected):
    """The library makes no such certificate any more."""
    seen = see(lay(host))
    seen.tls.server = [replace(seen.tls.server[0], hash="sha1", issuer=issuer)]
    seen.tls.authorities = [replace(seen.tls.authorities[0], hash="md5")]
    assert findings.judge(seen, [BY_ID["certificate-strong"]])[0].status == expected


def test_the_chain_through_an_intermediate(host):
    middle = make("middle", SERVERS, "p224", authority=True)
    lay(host, leaf=make("x", middle), chain=middle.pem, trust=SERVERS.pem)
    assert verdict(host, "certificate-chain").status == "passed"
    assert verdict(host, "authorities-apart").status == "failed"


def test_names_on_a_running_host(host):
    lay(host, leaf=make("x", sans=("db1", "127.0.0.1")))
    seen = see(host)
    seen.does = Does()
    seen.tls.names = ("localhost", "web1", "127.0.0.1", "192.0.2.7")
    found = findings.judge(seen, [BY_ID["certificate-names"]])[0]
    assert (found.status, "web1, 192.0.2.7" in found.evidence) == ("failed", True)
    seen.tls.names += ("db1",)
    assert findings.judge(seen, [BY_ID["certificate-names"]])[0].status == "passed"


ABOUT_FILES = [
    *("certificate-usable", "certificate-valid", "certificate-expires-soon", "certificate-usage"),
    *("certificate-names", "certificate-chain", "certificate-strong", "authority-key-absent"),
    "authorities-apart",
]


@pytest.mark.parametrize("name", ABOUT_FILES)
def test_without_tls_nothing_applies_and_nothing_is_read(host, name, monkeypatch):
    monkeypatch.setattr(tls, "blocks", None)
    lay(host, tlsverify=True)
    host.put(CONFIG, {"tls": False, "tlscert": CERT})
    assert verdict(host, name).status == "not applicable"


@pytest.mark.parametrize("name", ABOUT_FILES)
def test_certificates_to_come_are_not_judged(host, name):
    host.put(CONFIG, DATA)
    wanted = host.plan({"icc": False, **DATA}, predicted=(CA, CERT, KEY))
    assert wanted.candidate.tls.predicted
    found = findings.judge(wanted.candidate, [BY_ID[name]])[0]
    assert found.status == "not applicable"


@pytest.mark.parametrize("name", ABOUT_FILES)
def test_without_the_library_nothing_passes(host, name, monkeypatch):
    monkeypatch.setattr(certificates, "MISSING", "No module named 'cryptography'")
    found = verdict(lay(host, leaf=make("x", kind="rsa 1024")), name)
    assert (found.status, "install python3-cryptography" in found.evidence) == ("unknown", True)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"key": OTHER.key()}, "failed"),
        # OpenSSL and dockerd differ in what they take.
        ({"key": LEAF.key(password=b"secret")}, "unknown"),
        ({"trust": b"garbage"}, "unknown"),
    ],
)
def test_without_the_library_openssl_tells_a_foreign_key(host, monkeypatch, changes, status):
    monkeypatch.setattr(certificates, "MISSING", "No module named 'cryptography'")
    found = verdict(lay(host, **changes), "certificate-usable")
    assert found.status == status


# -- keys that belong elsewhere


@pytest.mark.parametrize(
    ("path", "data", "status", "words"),
    [
        ("/tls/ca-key.pem", CLIENTS.key(), "failed", "/tls/ca-key.pem is the private key of CN=cl"),
        ("/etc/docker/x.key", CLIENTS.key(TRADITIONAL), "failed", "CN=clients"),
        ("/root/.docker/all.pem", LEAF.pem + CLIENTS.key(), "failed", "CN=clients"),
        ("/tls/x.key", SERVERS.key(), "failed", "CN=servers"),  # it signed the leaf
        ("/tls/ca-key.pem", CLIENTS.key(password=b"x"), "unknown", "/tls/ca-key.pem is encrypted"),
        ("/tls/rootCA.key", RSA.key(TRADITIONAL, b"x"), "passed", ""),
        ("/tls/my-ca.key", RSA.key(TRADITIONAL, b"x"), "unknown", "my-ca.key is encrypted"),
        ("/tls/client-key.pem", LEAF.key(password=b"x"), "passed", ""),
        ("/tls/other.key", RSA.key(), "passed", ""),
        (
            "/tls/ca.key",
            GARBAGE.replace(b"CERTIFICATE", b"PRIVATE KEY"),
            "passed",
            "",
        ),
        ("/tls/ca-key.pem", b" " * 70000 + CLIENTS.key(), "passed", ""),
        ("/tls/ca-key.txt", CLIENTS.key(), "passed", ""),
        ("/srv/ca-key.pem", CLIENTS.key(), "passed", ""),
    ],
)
def test_an_authority_key_on_the_host(host, path, data, status, words):
    lay(host).put(path, data)
    found = verdict(host, "authority-key-absent")
    assert (found.status, words in found.evidence) == (status, True), found.evidence
    assert [place.path for place in found.places] == ([path] if status == "failed" else [])


def test_the_authority_is_known_by_its_certificate_beside_the_key(host):
    root = make("old", kind="rsa 2048", authority=True)
    lay(host).put("/etc/docker/ca.key", root.key())
    assert verdict(host, "authority-key-absent").status == "passed"
    host.put("/etc/docker/ca.crt", root.pem)
    assert "CN=old" in verdict(host, "authority-key-absent").evidence


def test_a_server_that_is_its_own_authority(host):
    both = make("both", authority=True)
    assert verdict(lay(host, leaf=both), "authority-key-absent").status == "failed"
    assert verdict(lay(host, leaf=make("self")), "authority-key-absent").status == "passed"


def test_what_cannot_be_searched_is_unknown(host):
    lay(host)
    os.mkfifo(host.real("/tls/fifo.pem"))
    os.mkdir(host.real("/tls/directory.pem"))
    assert verdict(host, "authority-key-absent").status == "passed"
    os.symlink("loop.key", host.real("/tls/loop.key"))
    assert "loop.key" in verdict(host, "authority-key-absent").evidence
    os.unlink(host.root + "/tls/loop.key")
    for number in range(70):
        host.put("/tls/%d.pem" % number, "")
    found = verdict(host, "authority-key-absent")
    assert (found.status, "75 files" in found.evidence) == ("unknown", True)


# -- nothing that is malformed raises, and nothing of it passes

SAMPLES = [
    *(make("x", kind=kind).pem for kind in KEYS if kind != "x25519"),
    *(Made(None, KEYS[kind]).key() for kind in KEYS),
    *(Made(None, KEYS[kind]).key(password=b"x") for kind in ("p256", "rsa 1024")),
    *(RSA.key(TRADITIONAL), RSA.key(TRADITIONAL, b"x"), PARAMETERS, GARBAGE, NO_BASE64, CRL),
    *(WITH_HEADER, INDENTED, CLIENTS.pem, b"text\n", b"\xef\xbb\xbf", b"\0"),
    make("x", sans=(), usages=(), serial=2**158, start=datetime(1950, 1, 1)).pem,
]


@st.composite
def files(draw):
    """PEM files as accidents make them: pieces in any order, cut, and with bytes changed."""
    pieces = draw(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=3))
    if draw(st.booleans()) and pieces[0].startswith(b"-----BEGIN CERTIFICATE-----\nM"):
        pieces[0] = _spoiled(draw, pieces[0])
    data = bytearray(b"".join(pieces))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def _spoiled(draw, pem):
    """A certificate with bytes of its DER form changed."""
    try:
        der = bytearray(ssl.PEM_cert_to_DER_cert(pem.decode()))
    except ValueError:
        return pem
    for place in draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=4)):
        der[place] = draw(st.integers(0, 255))
    return ssl.DER_cert_to_PEM_cert(bytes(der)).encode()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(files(), files(), files())
@example(b"", b"", b"")
def test_no_malformed_file_raises(certificate, key, trust):
    contents = {CERT: certificate, KEY: key, CA: trust, "/tls/ca-key.pem": key}
    where = Candidate(Host("/nonexistent"), {**contents, CONFIG: CONFIGURATION})
    seen = see(where)
    found = findings.judge(seen, [BY_ID[name] for name in ABOUT_FILES])
    assert not [one.evidence for one in found if "this control failed" in one.evidence]
    judgement.certificates(seen)
    usable = found[0].status
    assert usable in ("passed", "failed")
    if usable == "passed":
        assert seen.tls.server
        assert seen.tls.authorities
