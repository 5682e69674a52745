# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real TLS, between a server and a client with leaves of ours."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone

import pytest
from _dockerd import certificates
from _dockerd.host import Host
from pki import DAY, SECOND, converge, leaf, make


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
