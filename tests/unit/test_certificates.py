# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, keys and requests: what may be anything is read, and who signed whom."""

from __future__ import annotations

import base64
import tempfile

import cryptography
import pytest
from _dockerd import certificates, leaves
from _dockerd.errors import DockerdError, HostError
from _dockerd.host import Host
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pki import DAY, NOW, SUBJECT, der, leaf, make, self_signed

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
    with pytest.raises(DockerdError, match="/f"):
        load(wrap(kind, base64.b64encode(body)))


@pytest.fixture(scope="module")
def real():
    with tempfile.TemporaryDirectory() as directory:
        authority = make(Host(directory))
    private = leaves.make_key("ecdsa-p256")
    request = leaves.make_request(private, leaf())
    signed = authority.sign(request, leaf(), NOW)
    return {"certificate": signed, "key": leaves.key_pem(private), "request": request}


@pytest.mark.parametrize("kind", ["certificate", "key", "request"])
@given(st.data())
def test_a_flipped_byte_is_read_or_reported(real, kind, data):
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
        leaves.judge(found, public, leaf(), found, NOW)


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
        lambda: leaves.make_key("ed25519"),
        lambda: LOADERS[0](b""),
    ):
        with pytest.raises(HostError, match="python3-cryptography"):
            call()


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


def test_a_chain_through_intermediates():
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
