# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certificates, keys and requests hold, and who signed whom.

They are only read here; leaves.py and authorities.py make them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import contextmanager
from datetime import datetime, timezone

from .errors import DockerdError, HostError
from .names import san_order

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID

    MISSING = None
except ImportError as error:
    MISSING = str(error)

# What both sides take: Go's crypto/tls has Ed25519 since 1.13, in TLS 1.2 and 1.3.
KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
_CHAIN_LIMIT = 8  # certificates between a leaf and its authority


# The package managers for which Ansible itself has a module: program -> module.
MANAGERS = {"apt-get": "apt", "dnf5": "dnf5", "dnf": "dnf"}


def need() -> None:
    """Raises HostError where the cryptography library is missing."""
    if MISSING is not None:
        raise HostError(
            "The Python library cryptography is missing: %s. Install the package "
            "python3-cryptography (dockerd_tls_packages does it) for the Python that runs this."
            % MISSING,
            missing="cryptography",
            manager=next((name for name in MANAGERS if shutil.which(name)), ""),
        )


@contextmanager
def _parsing(path: str, what: str):
    need()
    try:
        yield
    except DockerdError:
        raise
    except Exception as error:  # the library has no one class for malformed input
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DockerdError("%s holds no %s that can be read: %s" % (path, what, reason)) from error


def certificates(data: bytes, path: str) -> list:
    """The certificates of a PEM file, in its order; at least one.

    Raises DockerdError naming ``path``.
    """
    with _parsing(path, "certificate"):
        found = [x509.load_pem_x509_certificate(pem) for pem in _CERTIFICATE.findall(data)]
        if not found:
            raise DockerdError("%s holds no certificate in PEM form" % path)
        for certificate in found:
            describe(certificate)
        return found


def key(data: bytes, path: str, passphrase: str | None = None):
    """The private key of a PEM file. Raises DockerdError naming ``path``, never its content."""
    with _parsing(path, "private key"):
        secret = passphrase.encode() if passphrase else None
        try:
            return serialization.load_pem_private_key(data, secret)
        except TypeError:
            if secret:
                why = "is not encrypted, though a passphrase was given"
            else:
                why = "is encrypted, and no passphrase was given"
        except Exception as error:
            if secret and b"ENCRYPTED" in data:
                why = "does not open with the passphrase that was given"
            else:
                # The library's words may quote what it read.
                raise DockerdError(
                    "%s holds no private key that can be read (%s)" % (path, type(error).__name__)
                ) from None
        raise DockerdError("%s %s" % (path, why))


def request(data: bytes, path: str):
    """A certificate request whose signature holds. Raises DockerdError naming ``path``."""
    with _parsing(path, "certificate request"):
        found = x509.load_pem_x509_csr(data)
        # What cannot be read shows itself when it is looked at first.
        names(found), key_type(found.public_key()), found.subject.rfc4514_string()
        list(found.attributes)
        if not found.is_signature_valid:
            raise DockerdError("%s: the request is not signed by its own key" % path)
        return found


def not_after(certificate) -> datetime:
    """The last second of a certificate, with its time zone."""
    if hasattr(certificate, "not_valid_after_utc"):  # since cryptography 42
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def not_before(certificate) -> datetime:
    """The first second of a certificate, with its time zone."""
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=timezone.utc)


def moment(time: datetime) -> str:
    """A point in time in RFC 3339, UTC, to the second."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def fingerprint(certificate) -> str:
    """The SHA-256 of a certificate, in lower-case hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def key_type(public) -> str:
    """The kind of a public key, in the words of KEY_TYPES where it is one of them."""
    if isinstance(public, rsa.RSAPublicKey):
        return "rsa-%d" % public.key_size
    if isinstance(public, ec.EllipticCurvePublicKey):
        curve = public.curve.name
        return "ecdsa-" + (curve.replace("secp", "p")[:-2] if curve.endswith("r1") else curve)
    return type(public).__name__.lstrip("_").replace("PublicKey", "").lower()


def strong(kind: str) -> bool:
    """Whether a kind of key is strong enough, and one that Go's crypto/tls takes."""
    rsa_bits = int(kind[4:]) if kind.startswith("rsa-") else 0
    return rsa_bits >= 2048 or kind in (*KEY_TYPES, "ecdsa-p521")


def names(holder) -> tuple:
    """The subject alternative names of a certificate or a request, as names.sans has them."""
    extension = extension_of(holder, "SubjectAlternativeName")
    found = []
    for name in extension or ():
        kind = type(name).__name__
        value = str(name.value).lower()
        found.append(value if kind in ("DNSName", "IPAddress") else "%s:%s" % (kind, value))
    return tuple(sorted(found, key=san_order))


def extension_of(holder, kind: str):
    """An extension of a certificate or a request, by the name of its class; None if not there."""
    try:
        return holder.extensions.get_extension_for_class(getattr(x509, kind)).value
    except x509.ExtensionNotFound:
        return None


def usages(certificate) -> tuple:
    """The extended key usages, as OpenSSL names them; none where there is no restriction."""
    extension = extension_of(certificate, "ExtendedKeyUsage") or ()
    known = {
        ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    }
    return tuple(sorted(known.get(oid, oid.dotted_string) for oid in extension))


def is_authority(certificate) -> bool:
    """Whether a certificate may sign others, RFC 5280 section 4.2.1.9."""
    basic = extension_of(certificate, "BasicConstraints")
    usage = extension_of(certificate, "KeyUsage")
    return bool(basic and basic.ca and (usage is None or usage.key_cert_sign))


def describe(certificate) -> dict:
    """What people want to know of a certificate, as plain data."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "sans": list(names(certificate)),
        "usages": list(usages(certificate)),
        "key_type": key_type(certificate.public_key()),
        "not_before": moment(not_before(certificate)),
        "not_after": moment(not_after(certificate)),
        "fingerprint": fingerprint(certificate),
    }


def pem(*found) -> bytes:
    """Certificates in PEM form, and nothing else that stood in their file."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)


def public_bytes(public) -> bytes:
    """A public key in its one encoding, to be compared."""
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed_by(certificate, issuer) -> bool:
    """Whether ``issuer`` is an authority and signed the certificate, whatever their dates."""
    if certificate.issuer != issuer.subject or not is_authority(issuer):
        return False
    return signed_with(certificate, issuer.public_key())


def signed_with(certificate, public) -> bool:
    """Whether the private half of a key signed the certificate, whoever holds it."""
    signed = (certificate.signature, certificate.tbs_certificate_bytes)
    try:
        algorithm = certificate.signature_hash_algorithm
        if isinstance(public, rsa.RSAPublicKey):
            # RSASSA-PSS is known to cryptography 41 and later only.
            pad = getattr(certificate, "signature_algorithm_parameters", padding.PKCS1v15())
            public.verify(*signed, pad, algorithm)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(*signed, ec.ECDSA(algorithm))
        elif isinstance(public, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            public.verify(*signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def chains_to(chain: list, anchors: list) -> bool:
    """Whether a leaf, the first of ``chain``, leads to one of the anchors."""
    current = chain[0]
    for _step in range(_CHAIN_LIMIT):
        if any(signed_by(current, anchor) for anchor in anchors):
            return True
        above = [one for one in chain[1:] if one is not current and signed_by(current, one)]
        if not above:
            return False
        current = above[0]
    return False


def subjects(found: list) -> str:
    """Who certificates are of, for messages."""
    return ", ".join(one.subject.rfc4514_string() for one in found) or "(there is none yet)"
