# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys of every condition, made once for a machine; names as in cases.MATERIAL."""

from __future__ import annotations

import datetime
from pathlib import Path

from cases import MATERIAL
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_NOW = datetime.datetime(2026, 1, 1)
_OPEN = serialization.NoEncryption()
_PASSPHRASE = serialization.BestAvailableEncryption(b"secret")
_PKCS8 = serialization.PrivateFormat.PKCS8
_TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL


def _certificate(key, days: int = 36500) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "host.test")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - datetime.timedelta(30))
        .not_valid_after(_NOW + datetime.timedelta(days))
    )
    return builder.sign(key, algorithm).public_bytes(_PEM)


def _key(key, form=_PKCS8, encryption=_OPEN) -> bytes:
    return key.private_bytes(_PEM, form, encryption)


def make(directory: Path) -> None:
    """Make what is not there yet; the same keys serve every run, for their bytes never matter."""
    if all((directory / name).exists() for name in MATERIAL):
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in _made().items():
        (directory / name).write_bytes(data)


def load(directory: Path) -> dict:
    """Name -> bytes."""
    return {name: (directory / name).read_bytes() for name in MATERIAL}


def _made() -> dict:
    server, other = (ec.generate_private_key(ec.SECP256R1()) for _index in range(2))
    big = rsa.generate_private_key(65537, 2048)
    small = rsa.generate_private_key(65537, 1024)
    edwards = ed25519.Ed25519PrivateKey.generate()
    pem, key, authority = _certificate(server), _key(server), _certificate(other)
    # What `openssl ecparam -genkey` writes before the key: prime256v1, RFC 5480.
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return {
        "ca.pem": authority,
        "ca-two": b"two of them\n" + authority + pem,
        "ca-cut": authority[: len(authority) // 2],
        "server-cert.pem": pem,
        "server-key.pem": key,
        "cert.pem": pem,
        "key.pem": key,
        "expired": _certificate(server, -1),
        "other-key": _key(other),
        "encrypted": _key(server, encryption=_PASSPHRASE),
        "encrypted-rfc1423": _key(server, _TRADITIONAL, _PASSPHRASE),
        "garbage": b"-----BEGIN CERTIFICATE-----\nnot at all\n-----END CERTIFICATE-----\n",
        "empty": b"",
        "chain": pem + authority,
        "der": x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER),
        "both": key + pem,
        "rsa-cert": _certificate(big),
        "rsa-key": _key(big),
        "rsa-key-pkcs1": _key(big, _TRADITIONAL),
        "small-cert": _certificate(small),
        "small-key": _key(small),
        "ed-cert": _certificate(edwards),
        "ed-key": _key(edwards),
        "crlf-cert": b"subject: host.test\r\n" + pem.replace(b"\n", b"\r\n"),
        "parameters-key": parameters + _key(server, _TRADITIONAL),
    }
