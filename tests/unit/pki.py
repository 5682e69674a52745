# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities and leaves for tests, on plain directories and with a clock of our own."""

from __future__ import annotations

import base64
import os
from datetime import datetime, timedelta, timezone

from _dockerd import leaves
from _dockerd.authorities import Authority
from _dockerd.leaves import Leaf
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import NameOID

NOW = datetime(2027, 1, 1, 12, 0, 0, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
SKEW = timedelta(minutes=5)
SANS = ("localhost", "web1", "web1.example.org", "127.0.0.1", "192.0.2.10", "::1")
TRUST = b"-----trust-----\n"


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


def converge(host, wanted, authority, now=NOW, trust=TRUST):
    """What a whole task does; the plan that was carried out."""
    issuers = [authority.signer]
    plan = leaves.plan(host, wanted, trust, issuers, now)
    request = leaves.advance(host, plan, None, issuers, now)
    if request:
        answer = authority.sign(request, wanted, now)
        plan = leaves.plan(host, wanted, trust, issuers, now)
        assert leaves.advance(host, plan, answer, issuers, now) is None
    return plan


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


def der(pem_bytes):
    lines = pem_bytes.strip().splitlines()
    return lines[0], base64.b64decode(b"".join(lines[1:-1])), lines[-1]
