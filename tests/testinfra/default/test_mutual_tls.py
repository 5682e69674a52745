# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in over TCP, seen from another machine."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

testinfra_hosts = ["ansible://docker_hosts"]

CLIENT = "/root/.docker/operator"
PORT = 2376


@pytest.fixture
def outside(host) -> str:
    """An address in the lab's network that dockerd_listen_allow leaves out."""
    lower, upper = ipaddress.ip_network(host.ansible.get_variables()["lab_network"]).subnets()
    assert [str(lower)] == host.ansible.get_variables()["dockerd_listen_allow"]
    return "%s/%d" % (upper[1], lower.prefixlen - 1)


def ping(other, address: str, *options: str):
    """Ask for /_ping from the other machine; rc 0 means that the daemon answered."""
    words = ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", *options]
    return other.run(" ".join([*words, "https://%s:%d/_ping" % (address, PORT)]))


def credentials(directory: str, name: str = "cert.pem", key: str = "key.pem") -> list:
    """How curl is given a client's certificate."""
    return [
        "--cacert %s/ca.pem" % CLIENT,
        "--cert %s/%s" % (directory, name),
        "--key %s/%s" % (directory, key),
    ]


def issue(issuer: x509.Name, signer, days: int, common_name: str = "intruder") -> tuple:
    """A client leaf and its key as PEM; one that ended long ago where ``days`` is negative."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    begin = now - datetime.timedelta(days=abs(days) + 1)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(signer or key, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def place(other, directory: str, certificate: bytes, key: bytes) -> str:
    """Put a certificate and its key on the other machine."""
    other.check_output("mkdir -p %s" % directory)
    for name, data in (("cert.pem", certificate), ("key.pem", key)):
        other.check_output("printf %%s '%s' > %s/%s" % (data.decode(), directory, name))
    return directory


def key_of(inventory: str, purpose: str) -> tuple:
    directory = Path(inventory).parent / "dockerd-authority" / purpose
    certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((directory / "ca-key.pem").read_bytes(), None)
    return certificate.subject, key


@pytest.fixture
def authority(inventory) -> tuple:
    """The true client authority: its name and its key."""
    return key_of(inventory, "clients")


def test_client_leaf_works(other, address):
    docker = "DOCKER_CERT_PATH=%s docker --tlsverify -H tcp://%s:%d " % (CLIENT, address, PORT)
    assert other.check_output(docker + "version --format '{{.Server.Version}}'")
    assert ping(other, address, *credentials(CLIENT)).stdout == "OK"


def test_no_certificate_is_refused(other, address):
    answer = ping(other, address, "--cacert %s/ca.pem" % CLIENT)
    assert answer.rc != 0
    assert "certificate required" in answer.stderr or "bad certificate" in answer.stderr


def test_foreign_leaf_is_refused(other, address, authority):
    # The foreign authority bears the true one's name, so that only its key gives it away.
    subject, _ = authority
    stranger = ec.generate_private_key(ec.SECP256R1())
    directory = place(other, "/var/tmp/foreign", *issue(subject, stranger, 1))
    answer = ping(other, address, *credentials(directory))
    assert answer.rc != 0
    assert "alert" in answer.stderr


def test_server_leaf_as_client_is_refused(other, address):
    mine = credentials("/etc/docker/tls", "server-cert.pem", "server-key.pem")
    answer = ping(other, address, *mine)
    assert answer.rc != 0
    assert "alert" in answer.stderr


def test_client_of_the_server_authority_is_refused(other, address, inventory):
    """Whoever holds the authority that signs daemons drives none."""
    directory = place(other, "/var/tmp/stolen", *issue(*key_of(inventory, "servers"), 1))
    answer = ping(other, address, *credentials(directory))
    assert answer.rc != 0
    assert "alert" in answer.stderr


def test_expired_leaf_is_refused(other, address, authority):
    directory = place(other, "/var/tmp/expired", *issue(*authority, -2, "operator"))
    answer = ping(other, address, *credentials(directory))
    assert answer.rc != 0
    assert "alert" in answer.stderr  # 20.10 says bad certificate, later engines say expired


def test_true_leaf_made_the_same_way_works(other, address, authority):
    """The refusals above are for what they say, and not for how these leaves are made."""
    directory = place(other, "/var/tmp/true", *issue(*authority, 1, "operator"))
    assert ping(other, address, *credentials(directory)).stdout == "OK"


def test_plaintext_is_refused(other, address):
    answer = other.run("curl --silent --max-time 5 http://%s:%d/_ping" % (address, PORT))
    assert "Client sent an HTTP request to an HTTPS server" in answer.stdout


def test_address_outside_the_filter_is_refused(other, address, outside):
    source = outside.partition("/")[0]
    other.check_output("ip address add %s dev host0" % outside)
    try:
        answer = ping(other, address, "--interface", source, *credentials(CLIENT))
        assert answer.rc in (7, 28), answer.stderr  # refused or timed out, nothing of TLS
        # The same address reaches a published port, so it is the filter and not the network.
        plain = "curl --silent --interface %s --max-time 5 http://%s:8080/" % (source, address)
        assert other.run(plain).rc == 0
    finally:
        other.check_output("ip address del %s dev host0" % outside)


def test_client_does_not_trust_a_server_of_the_client_authority(other, address):
    """Two authorities: whoever holds a client's key cannot play the server."""
    answer = ping(other, address, *credentials(CLIENT)[1:], "--cacert /etc/docker/tls/ca.pem")
    assert answer.rc == 60
