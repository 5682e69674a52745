# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ed25519 and RSA, for daemons and their clients, on each engine."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

testinfra_hosts = ["ansible://docker_hosts"]

KINDS = {"ed25519": ed25519.Ed25519PublicKey, "rsa-3072": rsa.RSAPublicKey}


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request, fleet) -> str:
    """The kind of key that all hosts were hardened with."""
    fleet.harden({"dockerd_tls_key_type": request.param})
    return request.param


def test_kind_is_served_and_taken(kind, fleet, name):
    served = fleet.served(name).public_key()
    assert isinstance(served, KINDS[kind])
    assert kind != "rsa-3072" or served.key_size == 3072
    other = fleet.other(name)
    head = other.check_output("openssl pkey -in /root/.docker/operator/key.pem -noout -text")
    assert ("ED25519" if kind == "ed25519" else "3072 bit") in head
    answer = fleet.version(name)
    assert answer.rc == 0, answer.stderr
    assert "Server:" in answer.stdout
