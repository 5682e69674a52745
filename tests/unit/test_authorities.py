# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities and what they sign, on plain directories and with a clock of our own."""

from __future__ import annotations

import base64
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from _dockerd import authorities, certificates, leaves
from _dockerd.authorities import Authority
from _dockerd.errors import DockerdError, Refused
from _dockerd.host import Host
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import DAY, NOW, SANS, SECOND, SKEW, der, leaf, make


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("purpose", ["servers", "clients"])
def test_an_authority_is_one(host, purpose):
    certificate = make(host, purpose).signer
    basic, usage = (extension(certificate, kind) for kind in (x509.BasicConstraints, x509.KeyUsage))
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    assert extension(certificate, x509.SubjectKeyIdentifier)
    assert certificate.serial_number.bit_length() > 64
    assert purpose in certificate.subject.rfc4514_string()
    assert certificates.not_before(certificate) == NOW - SKEW
    assert certificates.not_after(certificate) == NOW + 3650 * DAY
    assert certificates.signed_by(certificate, certificate)


def test_two_authorities_have_nothing_in_common(host):
    one, two = make(host, "servers").signer, make(host, "clients").signer
    assert one.subject != two.subject
    assert one.serial_number != two.serial_number
    assert not certificates.signed_by(one, two)


@pytest.mark.parametrize("passphrase", [None, "", "correct horse", "ünï"])
def test_an_authority_is_read_back(host, passphrase):
    made = make(host, passphrase=passphrase)
    loaded = Authority.load(host, "/authority", "servers", passphrase, NOW)
    assert loaded.signer == made.signer
    assert host.stat("/authority/servers").mode == 0o700
    assert host.stat("/authority/servers/ca-key.pem").mode == 0o600
    assert (b"ENCRYPTED" in host.read("/authority/servers/ca-key.pem")) == bool(passphrase)
    assert "PRIVATE" not in repr(loaded)


def refused(host, match, passphrase=None, now=NOW):
    with pytest.raises(Refused, match=match):
        Authority.load(host, "/authority", "servers", passphrase, now)


def test_no_authority(host):
    assert Authority.load(host, "/authority", "servers", None, NOW) is None


@pytest.mark.parametrize("gone", ["ca.pem", "ca-key.pem"])
def test_half_an_authority(host, gone):
    make(host)
    host.remove("/authority/servers/" + gone)
    refused(host, "half an authority")
    with pytest.raises(Refused, match="half an authority"):
        Authority.load(host, "/authority", "servers", None, NOW)


def test_passphrases_that_do_not_fit(host):
    make(host)
    refused(host, "not encrypted.*dockerd_tls_authority_passphrase", "secret")
    make(host, passphrase="right")
    refused(host, "no passphrase was given.*dockerd_tls_authority_passphrase")
    refused(host, "does not open.*dockerd_tls_authority_passphrase", "wrong")


def test_a_foreign_key(host):
    make(host)
    other = leaves.key_pem(leaves.make_key("ecdsa-p256"))
    host.write("/authority/servers/ca-key.pem", other, 0o600, os.getuid(), os.getgid())
    refused(host, "not the key of the first certificate")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_an_open_key(host, mode):
    make(host)
    host.own("/authority/servers/ca-key.pem", mode, os.getuid(), os.getgid())
    refused(host, "mode %04o" % mode)


def test_a_leaf_is_no_authority(host):
    authority = make(host)
    private = leaves.make_key("ecdsa-p256")
    signed = authority.sign(leaves.make_request(private, leaf()), leaf(), NOW)
    owner = (os.getuid(), os.getgid())
    host.write("/authority/servers/ca.pem", signed, 0o644, *owner)
    host.write("/authority/servers/ca-key.pem", leaves.key_pem(private), 0o600, *owner)
    refused(host, "no authority")


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_an_unreadable_authority(host, name):
    make(host)
    host.write("/authority/servers/" + name, b"\x00nonsense", 0o600, os.getuid(), os.getgid())
    with pytest.raises(DockerdError, match=name):
        Authority.load(host, "/authority", "servers", None, NOW)


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (NOW - SKEW, True),
        (NOW - SKEW - SECOND, False),
        (NOW + 10 * DAY, True),
        (NOW + 10 * DAY + SECOND, False),
    ],
)
def test_an_authority_outside_its_time(host, now, good):
    make(host, lifetime=10 * DAY)
    if good:
        assert Authority.load(host, "/authority", "servers", None, now)
    else:
        refused(host, "valid from", now=now)


@pytest.mark.parametrize(("extra", "good"), [(timedelta(0), True), (-SECOND, False)])
def test_a_leaf_never_outlives_its_authority(host, extra, good):
    authority = make(host, lifetime=90 * DAY + extra)
    request = leaves.make_request(leaves.make_key("ecdsa-p256"), leaf())
    if good:
        authority.sign(request, leaf(), NOW)
        return
    assert "dockerd_tls_server_lifetime" in authority.refusal("server", 90 * DAY, NOW)
    with pytest.raises(Refused, match="dockerd_tls_server_lifetime"):
        authority.sign(request, leaf(), NOW)


def ask(host, check=False):
    return authorities.make_missing(host, "/authority", None, 3650 * DAY, SKEW, NOW, check)


ALL = [
    "/authority/.gitignore",
    "/authority/clients/ca-key.pem",
    "/authority/clients/ca.pem",
    "/authority/servers/ca-key.pem",
    "/authority/servers/ca.pem",
]


def tree(root):
    return sorted(
        "/" + str(one.relative_to(root)) for one in Path(root).rglob("*") if one.is_file()
    )


def test_make_missing_predicts_and_makes_the_same(host, tmp_path):
    assert ask(host, check=True) == ALL
    assert tree(tmp_path) == []
    assert ask(host) == ALL
    assert tree(tmp_path) == ALL
    assert host.stat("/authority").mode == 0o700
    assert host.read("/authority/.gitignore") == b"*\n"
    assert ask(host) == []


def test_make_missing_leaves_somebody_elses_directory_its_mode_and_rules(host, tmp_path):
    (tmp_path / "authority").mkdir(mode=0o755)
    (tmp_path / "authority/site.yml").write_text("")
    assert "/authority/.gitignore" not in ask(host)
    assert host.stat("/authority").mode == 0o755
    assert host.stat("/authority/clients").mode == 0o700


def test_make_missing_makes_nothing_beside_half_an_authority(host, tmp_path):
    make(host, "clients")
    host.remove("/authority/clients/ca.pem")
    before = tree(tmp_path)
    with pytest.raises(Refused, match="half"):
        ask(host)
    assert tree(tmp_path) == before


def test_authorities_are_made_once_by_many(tmp_path):
    """The bundle is written after the key: whoever sees a bundle can load the authority."""
    host = Host(str(tmp_path))
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            if not authorities.missing(host, "/authority"):
                seen.append(Authority.load(host, "/authority", "servers", None, NOW))
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    ask(host)
    watcher.join(10)
    stop.set()
    assert seen
    assert seen[0] is not None


def test_a_bundle_hands_out_certificates_only(host):
    authority = make(host)
    text = b"# note\n" + certificates.pem(authority.signer) + leaves.key_pem(authority.private)
    host.write("/authority/servers/ca.pem", text, 0o644, os.getuid(), os.getgid())
    loaded = Authority.load(host, "/authority", "servers", None, NOW)
    assert certificates.pem(*loaded.bundle) == certificates.pem(authority.signer)


# -- signing


@pytest.mark.parametrize("usage", ["server", "client"])
@pytest.mark.parametrize("kind", certificates.KEY_TYPES)
def test_a_leaf_is_what_was_asked_for(host, kind, usage):
    if kind == "rsa-4096" and usage == "client":
        pytest.skip("as for the server, and slow")
    wanted = leaf(usage, key_type=kind)
    authority = make(host)
    private = leaves.make_key(kind)
    signed = authority.sign(leaves.make_request(private, wanted), wanted, NOW)
    found = certificates.certificates(signed, "/f")
    certificate = found[0]
    assert not leaves.judge(found, private.public_key(), wanted, [authority.signer], NOW).reasons
    purposes = {
        "server": ExtendedKeyUsageOID.SERVER_AUTH,
        "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [purposes[usage]]
    used = extension(certificate, x509.KeyUsage).value
    assert used.digital_signature
    assert used.key_encipherment == kind.startswith("rsa")
    assert not extension(certificate, x509.BasicConstraints).value.ca
    identifier = extension(authority.signer, x509.SubjectKeyIdentifier).value.digest
    assert extension(certificate, x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    assert extension(certificate, x509.SubjectKeyIdentifier)
    assert certificates.names(certificate) == wanted.sans
    assert certificates.not_before(certificate) == NOW - SKEW
    assert certificates.not_after(certificate) == NOW + wanted.lifetime
    assert certificates.key_type(certificate.public_key()) == kind
    assert certificate.serial_number.bit_length() > 64


def test_a_leaf_does_not_begin_before_its_authority(host):
    authority = make(host)
    wanted = leaf(skew=DAY)
    request = leaves.make_request(leaves.make_key("ecdsa-p256"), wanted)
    found = certificates.certificates(authority.sign(request, wanted, NOW), "/f")[0]
    assert certificates.not_before(found) == NOW - SKEW


@pytest.mark.parametrize(
    "asked",
    [
        leaf(sans=(*SANS, "victim")),
        leaf(sans=SANS[1:]),
        leaf(key_type="rsa-2048"),
        leaf(sans=()),
    ],
)
def test_a_request_for_something_else_is_refused(host, asked):
    request = leaves.make_request(leaves.make_key(asked.key_type), asked)
    with pytest.raises(Refused, match="asked for"):
        make(host).sign(request, leaf(), NOW)


def test_subject_and_usages_of_a_request_are_not_believed(host):
    asked = replace(leaf("client"), common_name="root", sans=SANS)
    request = leaves.make_request(leaves.make_key("ecdsa-p256"), asked)
    found = certificates.certificates(make(host).sign(request, leaf(), NOW), "/f")[0]
    assert found.subject.rfc4514_string() == "CN=web1"
    assert certificates.describe(found)["usages"] == ["serverAuth"]


def test_a_request_signed_by_another_key_is_refused(host):
    first, body, last = der(leaves.make_request(leaves.make_key("ecdsa-p256"), leaf()))
    broken = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(DockerdError):
        make(host).sign(b"\n".join([first, base64.b64encode(broken), last]), leaf(), NOW)


# -- of others


def test_handing_out_and_reading_back(host):
    outside = make(host)
    wanted = replace(leaf(), ours=False)
    private = leaves.make_key("ecdsa-p256")
    request = leaves.make_request(private, wanted)
    path, answer = "/a/requests/web1.csr", "/a/leaves/web1.pem"
    assert authorities.hand_out(host, path, request, True)
    assert host.stat(path) is None
    assert authorities.hand_out(host, path, request, False)
    assert not authorities.hand_out(host, path, leaves.make_request(private, wanted), False)
    changed = leaves.make_request(private, replace(wanted, sans=("other",)))
    assert authorities.hand_out(host, path, changed, False)

    def back(now=NOW, asked=request):
        return authorities.read_back(host, answer, asked, wanted, [outside.signer], now)

    assert "not there yet" in back()[1]
    host.write(answer, b"junk", 0o644, os.getuid(), os.getgid())
    assert "no certificate" in back()[1]
    signed = outside.sign(request, wanted, NOW)
    host.write(answer, signed, 0o644, os.getuid(), os.getgid())
    assert back() == (signed, "")
    assert "not made yet" in back(asked=b"")[1]
    assert "expired" in back(NOW + 100 * DAY)[1]
    assert "expires" in back(NOW + 70 * DAY)[1]


def test_an_outside_bundle(host):
    authority = make(host)
    private = leaves.make_key("ecdsa-p256")
    request = leaves.make_request(private, leaf())
    host.write("/leaf.pem", authority.sign(request, leaf(), NOW), 0o644, os.getuid(), os.getgid())
    found = authorities.outside(host, "/authority/servers/ca.pem", "v")
    assert found == [authority.signer]
    for path in ("/leaf.pem", "/none.pem", "/authority/servers/ca-key.pem"):
        with pytest.raises(Refused, match="dockerd_tls_external_server_authority.*" + path):
            authorities.outside(host, path, "dockerd_tls_external_server_authority")


# -- requests from a stranger


def crafted(subject="web1", names=SANS, kind="ecdsa-p256", more=(), usage="server"):
    private = leaves.make_key(kind)
    builder = x509.CertificateSigningRequestBuilder(leaves.subject_named(subject))
    wanted = leaves.leaf_extensions(private.public_key(), usage, tuple(names))
    for one, critical in [*wanted, *more]:
        builder = builder.add_extension(one, critical)
    return builder.sign(private, leaves.signature_hash(private)).public_bytes(
        certificates.serialization.Encoding.PEM
    )


AUTHORITY = (x509.NameConstraints([x509.DNSName("example")], None), False)
LIES = {
    "another key": {"kind": "rsa-2048"},
    "one name more": {"names": [*SANS, "vault.prod.example"]},
    "a wildcard": {"names": [*SANS, "*.prod.example"]},
    "one name less": {"names": SANS[1:]},
    "no names": {"names": []},
}
SURPLUS = {
    "another subject": {"subject": "web2"},
    "constraints": {"more": [AUTHORITY]},
    "another usage": {"usage": "client"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_request_for_another_leaf_is_refused(host, lie):
    request = crafted(**lie)
    with pytest.raises(Refused, match="asked for were"):
        make(host).sign(request, leaf(), NOW)
    with pytest.raises(Refused, match="asked for were"):
        authorities.handed_out(request, leaf())


@pytest.mark.parametrize("lie", SURPLUS.values(), ids=SURPLUS)
def test_what_a_request_holds_besides_is_not_signed(host, lie):
    request = crafted(**lie)
    signed = certificates.certificates(make(host).sign(request, leaf(), NOW), "x")[0]
    assert signed.subject == leaves.subject_named("web1")
    assert certificates.usages(signed) == ("serverAuth",)
    assert certificates.extension_of(signed, "NameConstraints") is None
    # Somebody else's authority may copy it.
    with pytest.raises(Refused, match="nobody asked for"):
        authorities.handed_out(request, leaf())


@pytest.mark.parametrize("kind", certificates.KEY_TYPES)
def test_our_own_requests_hold_nothing_more(kind):
    wanted = leaf(key_type=kind)
    authorities.handed_out(leaves.make_request(leaves.make_key(kind), wanted), wanted)
    client = leaf("client", key_type=kind)
    authorities.handed_out(leaves.make_request(leaves.make_key(kind), client), client)


def test_what_is_handed_out_is_what_was_looked_at():
    """Readers of PEM differ in which of two requests they find, and where one begins."""
    good, evil = (crafted(names=names) for names in (SANS, ["db1.prod.example"]))
    for text in (b" x " + good + evil, good + evil, good.replace(b"\n", b"\r\n") + evil):
        try:
            assert authorities.handed_out(text, leaf()) == good
        except Refused as refused:
            assert "asked for were" in str(refused)


def test_a_request_that_cannot_be_read_is_an_error_of_ours():
    doubled = x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])
    for request in (b"", b"\x00", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", crafted()[:200]):
        with pytest.raises(DockerdError, match="certificate request"):
            authorities.asked_for(request, leaf())
    with pytest.raises(Refused, match="RegisteredID"):
        authorities.asked_for(crafted(names=(), more=[(doubled, False)]), leaf())
