# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities: ours, which live on the controller, and those of others.

``servers`` signs daemons, ``clients`` signs those who may drive them.
"""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .certificates import (
    certificates,
    extension_of,
    is_authority,
    key,
    key_type,
    moment,
    names,
    not_after,
    not_before,
    pem,
    public_bytes,
    request,
    subjects,
)
from .errors import DockerdError, Refused
from .host import Host
from .leaves import (
    Leaf,
    judge,
    key_pem,
    key_usage,
    leaf_extensions,
    make_key,
    read,
    signature_hash,
    span,
    subject_named,
    variable,
)

with suppress(ImportError):  # certificates.MISSING says so
    from cryptography import x509

PURPOSES = ("servers", "clients")


@dataclass(frozen=True)
class Authority:
    """An authority of ours: its trust bundle, and the key of the bundle's first certificate.

    The first certificate signs, all of them are trusted: an authority is rotated by putting
    a new certificate in front of the old one, and later taking the old one away.
    """

    purpose: str  # servers or clients
    path: str  # of the bundle
    bundle: tuple
    private: object = field(repr=False)

    @classmethod
    def paths(cls, directory: str, purpose: str) -> tuple:
        """The paths of an authority's bundle and key."""
        own = posixpath.join(directory, purpose)
        return posixpath.join(own, "ca.pem"), posixpath.join(own, "ca-key.pem")

    @classmethod
    def load(
        cls, host: Host, directory: str, purpose: str, passphrase: str | None, now: datetime
    ) -> Authority | None:
        """The authority in a directory, None where there is none.

        Raises Refused for half an authority, one that is open to others, expired, or no
        authority at all, and DockerdError for what cannot be read.
        """
        bundle_path, key_path = cls.paths(directory, purpose)
        bundle, private = read(host, bundle_path), read(host, key_path)
        if bundle is None and private is None:
            return None
        if bundle is None or private is None:
            there, gone = (key_path, bundle_path) if bundle is None else (bundle_path, key_path)
            raise Refused(
                "%s is there and %s is not: half an authority signs nothing. Restore the missing "
                "file from your backup; if no host trusts this authority yet, remove %s and a new "
                "one is made." % (there, gone, there)
            )
        mode = host.stat(key_path).mode
        if mode & 0o077:
            raise Refused(
                "%s has mode %04o: others on this machine could sign as the %s authority. If it "
                "was read by nobody, chmod 0600 it; else remove both files and start anew."
                % (key_path, mode, purpose)
            )
        chain = certificates(bundle, bundle_path)
        try:
            secret = key(private, key_path, passphrase)
        except DockerdError as error:
            raise Refused("%s. See dockerd_tls_authority_passphrase." % error) from None
        for one in chain:
            if not is_authority(one):
                raise Refused(
                    "%s: %s is no authority (CA) certificate, but stands in the bundle that is "
                    "trusted." % (bundle_path, subjects([one]))
                )
        signer = chain[0]
        if public_bytes(signer.public_key()) != public_bytes(secret.public_key()):
            raise Refused(
                "%s is not the key of the first certificate in %s. The first one signs; put "
                "its key there." % (key_path, bundle_path)
            )
        if not not_before(signer) <= now <= not_after(signer):
            raise Refused(
                "%s is valid from %s to %s, and it is %s on the controller. Correct the clock or "
                "put a new authority in front of it."
                % (bundle_path, moment(not_before(signer)), moment(not_after(signer)), moment(now))
            )
        return cls(purpose, bundle_path, tuple(chain), secret)

    @classmethod
    def make(
        cls,
        host: Host,
        directory: str,
        purpose: str,
        passphrase: str | None,
        lifetime: timedelta,
        skew: timedelta,
        now: datetime,
    ) -> Authority:
        """Make an authority and keep it in a directory; the caller sees that nobody else does."""
        private = make_key("ecdsa-p256")
        public = private.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        subject = subject_named("Docker %s authority %s" % (purpose, identifier.digest.hex()[:8]))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - skew)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(key_usage(key_cert_sign=True, crl_sign=True), True)
            .add_extension(identifier, False)
        )
        certificate = builder.sign(private, signature_hash(private))
        bundle_path, key_path = cls.paths(directory, purpose)
        owner = (os.geteuid(), os.getegid())
        host.make_directory(posixpath.dirname(bundle_path), 0o700)
        # Key before certificate: where a certificate is, its key is.
        host.write(key_path, key_pem(private, passphrase), 0o600, *owner)
        host.write(bundle_path, pem(certificate), 0o644, *owner)
        return cls(purpose, bundle_path, (certificate,), private)

    @property
    def signer(self):
        """The certificate whose key signs."""
        return self.bundle[0]

    def refusal(self, usage: str, lifetime: timedelta, now: datetime) -> str:
        """Why no leaf of this lifetime can be signed; empty where it can."""
        ends = not_after(self.signer)
        if now + lifetime <= ends:
            return ""
        return (
            "%s ends %s, in %s, before a leaf of %s (%s) would. Put a new authority in front "
            "of it, or shorten the leaf's life."
            % (
                self.path,
                moment(ends),
                span(ends - now),
                variable(usage, "lifetime"),
                span(lifetime),
            )
        )

    def sign(self, request_pem: bytes, leaf: Leaf, now: datetime) -> bytes:
        """The leaf for a request, in PEM form.

        Of the request only the key and the names are taken; the names must be
        ``leaf.sans`` and the key of ``leaf.key_type``. Raises Refused.
        """
        public = asked_for(request_pem, leaf).public_key()
        refusal = self.refusal(leaf.usage, leaf.lifetime, now)
        if refusal:
            raise Refused(refusal)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject_named(leaf.common_name))
            .issuer_name(self.signer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - leaf.skew, not_before(self.signer)))
            .not_valid_after(now + leaf.lifetime)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(_authority_identifier(self.signer), False)
        )
        for extension, critical in leaf_extensions(public, leaf.usage, leaf.sans):
            builder = builder.add_extension(extension, critical)
        return pem(builder.sign(self.private, signature_hash(self.private)))


def asked_for(request_pem: bytes, leaf: Leaf):
    """A request, held against what the controller wants. Raises Refused where it is another."""
    asked = request(request_pem, "the request of %s" % leaf.name)
    if key_type(asked.public_key()) != leaf.key_type or set(names(asked)) != set(leaf.sans):
        raise Refused(
            "The request of %s is for a key of %s and the names %s; asked for were %s and %s."
            % (
                leaf.name,
                key_type(asked.public_key()),
                ", ".join(names(asked)) or "none",
                leaf.key_type,
                ", ".join(leaf.sans) or "none",
            )
        )
    return asked


EXTENSION_REQUEST = "1.2.840.113549.1.9.14"  # RFC 2985, section 5.4.2


def handed_out(request_pem: bytes, leaf: Leaf) -> bytes:
    """A request as it goes to an outside authority, which may copy whatever it finds in there.

    It is written anew: what the host wrote may hold a second request, and which of the two a
    reader finds is its own affair. Raises Refused where it holds anything but what is wanted.
    """
    asked = asked_for(request_pem, leaf)
    wanted = [one for one, _critical in leaf_extensions(asked.public_key(), leaf.usage, leaf.sans)]
    found = [one.value for one in asked.extensions]
    # Of two lists of extensions each reader takes another.
    single = [one.oid.dotted_string for one in asked.attributes] == [EXTENSION_REQUEST]
    surplus = [one for one in found if one not in wanted and not _holds_names(one)]
    if surplus or not single or asked.subject != subject_named(leaf.common_name):
        raise Refused(
            "The request of %s has the subject %s and the extensions %s, which nobody asked for."
            % (
                leaf.name,
                asked.subject.rfc4514_string(),
                ", ".join(one.oid._name for one in surplus) or "that were wanted",
            )
        )
    return pem(asked)


def _holds_names(extension) -> bool:
    # Those are compared already, and their order is free.
    return isinstance(extension, x509.SubjectAlternativeName)


def _authority_identifier(signer):
    identifier = extension_of(signer, "SubjectKeyIdentifier")
    if identifier is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def missing(host: Host, directory: str) -> list:
    """Which authorities of a directory have no bundle yet."""
    return [one for one in PURPOSES if host.stat(Authority.paths(directory, one)[0]) is None]


def make_missing(
    host: Host,
    directory: str,
    passphrase: str | None,
    lifetime: timedelta,
    skew: timedelta,
    now: datetime,
    check: bool,
) -> list:
    """Make the authorities that a directory lacks; the files that were, or would be, written.

    Raises Refused, before anything is made, for half an authority.
    """
    lacking = [
        one
        for one in missing(host, directory)
        if Authority.load(host, directory, one, passphrase, now) is None
    ]
    files = [path for one in lacking for path in Authority.paths(directory, one)]
    ignore = posixpath.join(directory, ".gitignore")
    # Somebody else's directory keeps its own rules for git, and its mode.
    fresh = not set(host.list(directory)) - {".lock"}
    if fresh:
        files.append(ignore)
    if not check:
        if fresh:
            host.make_directory(directory, 0o700)
            host.write(ignore, b"*\n", 0o644, os.geteuid(), os.getegid())
        for one in lacking:
            Authority.make(host, directory, one, passphrase, lifetime, skew, now)
    return sorted(files)


# -- of others


def outside(host: Host, path: str, variable: str) -> list:
    """The bundle of an outside authority. Raises Refused naming ``variable``."""
    try:
        bundle = certificates(host.read(path), path)
    except FileNotFoundError:
        raise Refused("%s: %s is not there." % (variable, path)) from None
    except DockerdError as error:
        raise Refused("%s: %s." % (variable, error)) from None
    for one in bundle:
        if not is_authority(one):
            raise Refused("%s: %s: %s is no authority." % (variable, path, subjects([one])))
    return bundle


def hand_out(host: Host, path: str, request_pem: bytes, check: bool) -> bool:
    """Write a request for an outside authority, unless the same is there; whether it changed.

    Two requests are the same where key, subject and names are, because a signature with
    ECDSA is new each time. An empty request is one whose key is not made yet.
    """

    def content(found) -> tuple:
        return public_bytes(found.public_key()), found.subject, names(found)

    try:
        data = host.read(path)
        there = request(data, path)
        same = content(there) == content(request(request_pem, "the new request"))
        if same and data == pem(there):
            return False
    except (FileNotFoundError, DockerdError):
        pass
    if not check:
        host.write(path, request_pem, 0o644, os.geteuid(), os.getegid())
    return True


def read_back(
    host: Host, path: str, request_pem: bytes, leaf: Leaf, issuers: list, now: datetime
) -> tuple:
    """The leaf an outside authority left for a request, or None and why there is none."""
    try:
        data = host.read(path)
        if not request_pem:
            return None, "%s is there, but the key for it is not made yet" % path
        public = request(request_pem, "the new request").public_key()
        verdict = judge(certificates(data, path), public, leaf, issuers, now)
    except FileNotFoundError:
        return None, "%s is not there yet" % path
    except DockerdError as error:
        return None, str(error)
    if verdict.reasons:
        return None, "%s does not answer it: %s" % (path, "; ".join(verdict.reasons))
    return data, ""
