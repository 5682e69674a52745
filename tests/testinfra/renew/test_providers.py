# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that somebody else signs: as files on the host, or from an outside authority."""

from __future__ import annotations

from pathlib import Path

import play
import pytest
from cryptography import x509

testinfra_hosts = ["ansible://docker_hosts"]

PKI = "/etc/pki/docker"
DIGESTS = "find /etc /root -type f -exec sha256sum {} + | sort"


class Outside:
    """An authority of somebody else, which signs with openssl."""

    def __init__(self, directory: Path, name: str) -> None:
        self.certificate, self.key = directory / (name + ".pem"), directory / (name + "-key.pem")
        self.name = name
        play.output(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "365", "-subj", "/CN=Outside " + name),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self.key), "-out", str(self.certificate)),
        )

    def sign(self, request: Path, leaf: Path, usage: str) -> None:
        """Answer a request, with the names that it asks for."""
        wish = leaf.parent / "wish.cnf"
        leaf.parent.mkdir(parents=True, exist_ok=True)
        csr = x509.load_pem_x509_csr(request.read_bytes())
        try:
            names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = []
        kinds = [
            ("DNS:" if isinstance(one, x509.DNSName) else "IP:") + str(one.value) for one in names
        ]
        lines = ["extendedKeyUsage=" + usage, "basicConstraints=critical,CA:FALSE"]
        wish.write_text("\n".join(lines + ["subjectAltName=" + ",".join(kinds)] * bool(kinds)))
        play.output(
            *("openssl", "x509", "-req", "-days", "60", "-CA", str(self.certificate)),
            *("-CAkey", str(self.key), "-CAcreateserial", "-extfile", str(wish)),
            *("-in", str(request), "-out", str(leaf)),
        )


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> dict:
    """Two authorities, as ours are two."""
    place = tmp_path_factory.mktemp("outside")
    return {name: Outside(place, name) for name in ("servers", "clients")}


def look(fleet) -> list:
    return [
        (fleet.daemon(name), fleet.served(name), host.check_output(DIGESTS))
        for name, host in fleet.hosts.items()
    ]


@pytest.fixture(scope="module")
def files(fleet, outside, tmp_path_factory):
    """Hosts that have a certificate of their own and are told where it is."""
    place = tmp_path_factory.mktemp("files")
    for name, host in fleet.hosts.items():
        host.check_output("mkdir -p %s", PKI)
        host.check_output(
            "openssl req -newkey rsa:2048 -nodes -subj /CN=%s -addext subjectAltName=IP:%s,DNS:%s"
            " -keyout %s/key.pem -out %s/request.csr 2>&1",
            *(name, fleet.address[name], name, PKI, PKI),
        )
        host.check_output("chmod 0400 %s/key.pem", PKI)
        request = place / (name + ".csr")
        request.write_text(host.check_output("cat %s/request.csr", PKI) + "\n")
        outside["servers"].sign(request, place / (name + ".pem"), "serverAuth")
        put(host, PKI + "/cert.pem", (place / (name + ".pem")).read_text())
        put(host, PKI + "/clients.pem", outside["clients"].certificate.read_text())
        give_client(host, name, outside, place)
    run = fleet.harden(
        {
            "dockerd_tls_provider": "files",
            "dockerd_tls_server_certificate": PKI + "/cert.pem",
            "dockerd_tls_server_key": PKI + "/key.pem",
            "dockerd_tls_server_trust": PKI + "/clients.pem",
            "dockerd_tls_clients": [],
        }
    )
    return run, {name: fleet.served(name) for name in fleet.hosts}


def put(host, path: str, text: str) -> None:
    host.check_output("printf %%s %s > %s", text, path)


def give_client(host, name: str, outside: dict, place: Path) -> None:
    """A client on this host, of the outside authority of clients."""
    host.check_output("mkdir -p /var/tmp/outsider")
    host.check_output(
        "cd /var/tmp/outsider && openssl req -newkey rsa:2048 -nodes -subj /CN=outsider"
        " -keyout key.pem -out request.csr 2>&1"
    )
    request = place / (name + "-client.csr")
    request.write_text(host.check_output("cat /var/tmp/outsider/request.csr") + "\n")
    outside["clients"].sign(request, place / (name + "-client.pem"), "clientAuth")
    put(host, "/var/tmp/outsider/cert.pem", (place / (name + "-client.pem")).read_text())
    put(host, "/var/tmp/outsider/ca.pem", outside["servers"].certificate.read_text())


@pytest.fixture(scope="module")
def external(fleet, outside, files, tmp_path_factory):
    """Hosts that wait for an outside authority, until it has signed."""
    place = tmp_path_factory.mktemp("external")
    told = {
        "dockerd_tls_provider": "external",
        "dockerd_tls_authority_directory": str(place),
        "dockerd_tls_external_server_authority": str(outside["servers"].certificate),
        "dockerd_tls_external_client_authority": str(outside["clients"].certificate),
        # The leaf that the daemon serves now is in another place, and goes on serving.
        "dockerd_tls_directory": "/etc/docker/outside",
        "dockerd_tls_clients": [],
    }
    before = look(fleet)
    waiting = fleet.attempt(told)
    between = look(fleet)
    for name in fleet.hosts:
        request = place / "requests" / (name + ".csr")
        outside["servers"].sign(request, place / "leaves" / (name + ".pem"), "serverAuth")
    done = fleet.attempt(told)
    served = {name: fleet.served(name) for name in fleet.hosts}
    return place, before, waiting, between, done, served, fleet.attempt(told)


def test_files_of_the_host_are_served_and_taken(files, fleet, name):
    run, served = files
    assert served[name].issuer.rfc4514_string() == "CN=Outside servers"
    assert run.of(name, "Keep the daemon's key, certificate and trust")["changed"] is False
    answer = fleet.version(name, "/var/tmp/outsider")
    assert answer.rc == 0, answer.stderr
    # Nobody of our own authority is trusted any more.
    assert fleet.version(name, "/root/.docker/operator").rc != 0


def test_external_fails_and_names_what_to_sign(external, name):
    place, _, waiting, *_ = external
    request, leaf = place / "requests" / (name + ".csr"), place / "leaves" / (name + ".pem")
    said = [entry["result"].get("msg", "") for entry in waiting.results if entry["host"] == name]
    assert waiting.rc != 0
    assert "Sign %s and put the leaf into %s" % (request, leaf) in said[-1]


def test_external_leaves_the_daemon_alone_meanwhile(external):
    _, before, _, between, *_ = external
    for (daemon, served, files), (daemon2, served2, files2) in zip(before, between):
        assert (daemon, served) == (daemon2, served2)
        new = set(files2.splitlines()) ^ set(files.splitlines())
        # The key that waits for its leaf, and nothing else.
        assert all(" /etc/docker/outside/" in line for line in new), new


def test_external_leaf_is_served_and_taken(external, fleet, name):
    place, *_, done, served, again = external
    assert done.rc == 0, done.output
    leaf = x509.load_pem_x509_certificate((place / "leaves" / (name + ".pem")).read_bytes())
    assert served[name] == leaf
    answer = fleet.version(name, "/var/tmp/outsider")
    assert answer.rc == 0, answer.stderr
    assert again.rc == 0
    assert again.changed(name) == []
