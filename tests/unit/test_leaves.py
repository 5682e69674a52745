# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaves: what is asked for, judged, and brought about on plain directories."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from _dockerd import certificates, leaves
from _dockerd.authorities import Authority
from _dockerd.errors import DockerdError, Refused
from _dockerd.host import Host
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import DAY, NOW, SANS, SECOND, SKEW, SUBJECT, TRUST, converge, leaf, make, self_signed


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5400),
        ("12h", 43200),
        ("90d", 90 * 86400),
        ("2w", 14 * 86400),
        ("10y", 3650 * 86400),
        (" 30d ", 30 * 86400),
        ("100y", 36500 * 86400),
    ],
)
def test_duration(text, seconds):
    assert leaves.duration(text, "v") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "0d", "90", "d", "-1d", "1.5d", "90 d", "90D", "1d2h", "90 days", "101y", "9999999999y",
     "٣d", "1d\n1d", None, 90, True],
)  # fmt: skip
def test_what_is_no_duration_names_the_variable(text):
    with pytest.raises(Refused, match="dockerd_tls_server_lifetime"):
        leaves.duration(text, "dockerd_tls_server_lifetime")


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 seconds"),
        (SECOND, "1 second"),
        (timedelta(seconds=59), "59 seconds"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=23, minutes=59), "23 hours"),
        (DAY, "1 day"),
        (-3 * DAY, "3 days"),
    ],
)
def test_span(length, words):
    assert leaves.span(length) == words


def options(**changed):
    told = {
        "usage": "server",
        "provider": "authority",
        "key_type": "ecdsa-p256",
        "lifetime": None,
        "renew_before": None,
        "clock_skew": "5m",
    }
    return {**told, **changed}


@pytest.mark.parametrize(
    ("usage", "lifetime", "renew_before"), [("server", 90, 30), ("client", 30, 10)]
)
def test_defaults(usage, lifetime, renew_before):
    wanted = leaves.wanted(options(usage=usage))
    assert (wanted["lifetime"], wanted["renew_before"]) == (lifetime * DAY, renew_before * DAY)
    assert wanted["ours"]
    assert not leaves.wanted(options(provider="external"))["ours"]


@pytest.mark.parametrize(
    ("usage", "lifetime", "renew_before", "variable"),
    [
        ("server", "30d", "30d", "dockerd_tls_renew_before"),
        ("server", "30d", "31d", "dockerd_tls_renew_before"),
        ("server", "305s", "5s", "dockerd_tls_server_lifetime"),
        ("client", "10d", None, "dockerd_tls_client_renew_before"),
        ("client", None, "30d", "dockerd_tls_client_lifetime"),
    ],
)
def test_a_leaf_that_is_due_when_it_is_made_is_refused(usage, lifetime, renew_before, variable):
    with pytest.raises(Refused, match=variable):
        leaves.wanted(options(usage=usage, lifetime=lifetime, renew_before=renew_before))


def test_a_second_more_is_enough():
    leaves.wanted(options(lifetime="306s", renew_before="5s"))


@pytest.mark.parametrize(
    ("apart", "words"),
    [(-SKEW, None), (SKEW, None), (SKEW + SECOND, "ahead of"), (-SKEW - SECOND, "behind")],
)
def test_clocks_may_differ_by_the_skew(apart, words):
    if words is None:
        leaves.check_clock(NOW + apart, NOW, SKEW)
        return
    with pytest.raises(Refused, match="%s .*dockerd_tls_clock_skew" % words):
        leaves.check_clock(NOW + apart, NOW, SKEW)


@pytest.mark.parametrize("name", ["a", "ci-1", "Alice", "bob@example.org", "x" * 64, "9.9"])
def test_client_name(name):
    assert leaves.client_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "a b", "x" * 65, "é", "a\n", "../a", "~", "@a"]
)
def test_what_is_no_client_name(name):
    with pytest.raises(Refused, match="dockerd_tls_clients"):
        leaves.client_name(name)


def test_common_name():
    assert leaves.common_name(None, "x" * 70) == "x" * 64
    assert leaves.common_name("docker", "web1") == "docker"
    with pytest.raises(Refused, match="dockerd_tls_server_common_name"):
        leaves.common_name("x" * 65, "web1")


def test_environment_is_for_shell_and_systemd():
    text = leaves.environment("/home/a b/.docker/ci", "tcp://web1:2376").decode()
    assert text == (
        "DOCKER_HOST=tcp://web1:2376\nDOCKER_TLS_VERIFY=1\n"
        "DOCKER_CERT_PATH='/home/a b/.docker/ci'\n"
    )
    assert b"DOCKER_HOST" not in leaves.environment("/x", None)


def test_without_the_library_a_virgin_host_can_still_be_planned(host, monkeypatch):
    monkeypatch.setattr(certificates, "MISSING", "No module named 'cryptography'")
    plan = leaves.plan(host, leaf(), TRUST, None, NOW)
    assert plan.changed
    assert leaves.expected(host, plan)


def test_serialization_is_pkcs8(host):
    data = leaves.key_pem(leaves.make_key("rsa-2048"))
    assert data.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert serialization.load_pem_private_key(data, None)


# -- judging


def judged(host, wanted, made=None, issuers=None, now=NOW, public=None):
    authority = make(host)
    private = leaves.make_key((made or wanted).key_type)
    request = leaves.make_request(private, made or wanted)
    chain = certificates.certificates(authority.sign(request, made or wanted, NOW), "/f")
    issuers = [authority.signer] if issuers is None else issuers
    return leaves.judge(chain, public or private.public_key(), wanted, issuers, now)


@pytest.mark.parametrize(
    ("left", "due", "expired"),
    [
        (30 * DAY + SECOND, False, False),
        (30 * DAY, True, False),
        (30 * DAY - SECOND, True, False),
        (SECOND, True, False),
        (timedelta(0), True, False),
        (-SECOND, False, True),
        (-400 * DAY, False, True),
    ],
)
def test_renewal_to_the_second(host, left, due, expired):
    verdict = judged(host, leaf(), now=NOW + 90 * DAY - left)
    assert bool(verdict.due) == due
    assert bool(verdict.faults) == expired
    if due:
        assert "dockerd_tls_renew_before (30 days)" in verdict.due
    if expired:
        assert "expired" in verdict.faults[0]


@pytest.mark.parametrize(("before", "early"), [(SKEW, False), (SKEW + SECOND, True)])
def test_a_leaf_of_the_future(host, before, early):
    verdict = judged(host, leaf(), now=NOW - before)
    assert any("not valid before" in one for one in verdict.faults) == early


@pytest.mark.parametrize(
    ("lifetime", "fault"),
    [(90 * DAY, False), (89 * DAY + 86100 * SECOND, False), (89 * DAY + 86099 * SECOND, True)],
)
def test_a_life_that_is_too_long_to_the_second(host, lifetime, fault):
    verdict = judged(host, leaf(lifetime=lifetime, renew_before=DAY), made=leaf())
    assert any("dockerd_tls_server_lifetime" in one for one in verdict.faults) == fault


@pytest.mark.parametrize(
    ("wanted", "made", "words"),
    [
        (leaf(sans=(*SANS, "new")), leaf(), "does not name new"),
        (leaf(), leaf(sans=(*SANS, "10.9.9.9")), "names 10.9.9.9, not wanted"),
        (leaf(), leaf("client", sans=SANS), "clientAuth, wanted is serverAuth"),
        (leaf("client"), leaf(sans=()), "serverAuth, wanted is clientAuth"),
        (leaf(common_name="web2"), leaf(), "common name"),
        (leaf(key_type="ecdsa-p384"), leaf(), "dockerd_tls_key_type is ecdsa-p384"),
        (leaf(sans=()), leaf(sans=()), "no subject alternative name"),
    ],
)
def test_what_is_wrong_is_said(host, wanted, made, words):
    verdict = judged(host, wanted, made=made)
    assert any(words in one for one in verdict.faults), verdict.faults


def test_order_of_sans_does_not_matter(host):
    assert not judged(host, leaf(), made=leaf(sans=tuple(reversed(SANS)))).reasons


def test_another_key(host):
    public = leaves.make_key("ecdsa-p256").public_key()
    assert "the key does not match the leaf" in judged(host, leaf(), public=public).faults


def test_another_authority(host, tmp_path):
    other = make(Host(str(tmp_path / "other")))
    faults = judged(host, leaf(), issuers=[other.signer]).faults
    assert len(faults) == 1
    assert other.signer.subject.rfc4514_string() in faults[0]
    assert "there is none yet" in judged(host, leaf(), issuers=[]).faults[0]


def test_an_authority_of_the_same_name_does_not_pass(host):
    """The name alone must not do: the signature is what counts."""
    authority = make(host)
    private = leaves.make_key("ecdsa-p256")
    impostor = self_signed(private, authority.signer.subject, ca=True)
    assert not certificates.signed_by(authority.signer, impostor)
    assert judged(host, leaf(), issuers=[impostor]).faults


@pytest.mark.parametrize(
    ("private", "strong"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), False),
        (lambda: rsa.generate_private_key(65537, 2048), True),
        (lambda: ec.generate_private_key(ec.SECP521R1()), True),
        (lambda: ec.generate_private_key(ec.SECP256K1()), False),
        (lambda: dsa.generate_private_key(2048), False),
    ],
)
def test_weak_keys_of_others(private, strong):
    secret = private()
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    name = x509.SubjectAlternativeName([x509.DNSName("web1")])
    certificate = self_signed(secret, SUBJECT, False, usages=[usage, name])
    wanted = leaf(sans=(), ours=False)
    verdict = leaves.judge([certificate], secret.public_key(), wanted, None, NOW)
    assert bool(verdict.faults) != strong, verdict.faults


def test_others_may_say_more_than_was_asked(host):
    made = leaf(sans=(*SANS, "more"), common_name="whatever", lifetime=400 * DAY)
    assert not judged(host, leaf(ours=False), made=made).reasons
    assert judged(host, leaf(ours=False, sans=(*SANS, "missing")), made=made).faults


@pytest.mark.parametrize(
    ("usages", "said"),
    [
        (None, "not set"),
        (
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            "clientAuth and server",
        ),
        ([x509.ObjectIdentifier("2.5.29.37.0")], "2.5.29.37.0"),
    ],
)
def test_extended_key_usage_is_exact(usages, said):
    private = leaves.make_key("ecdsa-p256")
    extensions = [x509.SubjectAlternativeName([x509.DNSName("web1")])]
    extensions += [x509.ExtendedKeyUsage(usages)] if usages else []
    certificate = self_signed(private, SUBJECT, False, usages=extensions)
    wanted = leaf(sans=(), ours=False)
    verdict = leaves.judge([certificate], private.public_key(), wanted, None, NOW)
    assert len(verdict.faults) == 1
    assert said in verdict.faults[0]


# -- one leaf on its host


def snapshot(root):
    return {
        str(one.relative_to(root)): (one.read_bytes(), one.stat().st_mode & 0o7777)
        for one in Path(root).rglob("*")
        if one.is_file()
    }


def reasons(host, wanted, authority, now=NOW, trust=TRUST):
    return leaves.plan(host, wanted, trust, [authority.signer], now).reasons


def load_leaf(host, wanted):
    return certificates.certificates(host.read(wanted.certificate), wanted.certificate)[0]


@pytest.mark.parametrize(
    ("usage", "modes"),
    [
        ("server", {"": 0o755, "server-key.pem": 0o400, "server-cert.pem": 0o444, "ca.pem": 0o444}),
        ("client", {"": 0o700, "key.pem": 0o600, "cert.pem": 0o600, "ca.pem": 0o600}),
    ],
)
def test_from_nothing_to_good_and_stays(host, tmp_path, usage, modes):
    authority = make(host)
    wanted = leaf(usage)
    predicted = leaves.plan(host, wanted, TRUST, [authority.signer], NOW).files
    converge(host, wanted, authority)
    directory = tmp_path / "etc/docker/tls"
    assert {name: (directory / name).stat().st_mode & 0o7777 for name in modes} == modes
    assert sorted(predicted) == sorted("/etc/docker/tls/" + one.name for one in directory.iterdir())
    before = snapshot(tmp_path)
    again = leaves.plan(host, wanted, TRUST, [authority.signer], NOW)
    assert not again.changed
    assert leaves.advance(host, again, None, [authority.signer], NOW) is None
    assert snapshot(tmp_path) == before
    assert leaves.expected(host, again) == again.before


def test_planning_writes_nothing(host, tmp_path):
    authority = make(host)
    before = snapshot(tmp_path)
    plan = leaves.plan(host, leaf(), TRUST, [authority.signer], NOW)
    leaves.request_at_hand(host, plan)
    leaves.expected(host, plan)
    assert snapshot(tmp_path) == before


def test_renewal_keeps_the_key(host):
    authority = make(host)
    converge(host, leaf(), authority)
    key, first = host.read(leaf().key), load_leaf(host, leaf())
    plan = converge(host, leaf(), authority, NOW + 60 * DAY)
    assert plan.files == [leaf().certificate]
    assert host.read(leaf().key) == key
    assert load_leaf(host, leaf()).serial_number != first.serial_number


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519", "ecdsa-p384"])
def test_another_key_type_keeps_the_live_pair_until_the_leaf_comes(host, tmp_path, kind):
    authority = make(host)
    converge(host, leaf(), authority)
    live = {path: host.read(path) for path in leaf().modes}
    wanted = leaf(key_type=kind)
    plan = leaves.plan(host, wanted, TRUST, [authority.signer], NOW)
    request = leaves.advance(host, plan, None, [authority.signer], NOW)
    assert {path: host.read(path) for path in leaf().modes} == live
    assert host.stat(wanted.pending).mode == 0o400
    again = leaves.plan(host, wanted, TRUST, [authority.signer], NOW)
    assert again.key_waits
    same = leaves.advance(host, again, None, [authority.signer], NOW)
    public = [certificates.request(one, "/f").public_key() for one in (request, same)]
    assert certificates.public_bytes(public[0]) == certificates.public_bytes(public[1])
    answer = authority.sign(request, wanted, NOW)
    leaves.advance(host, again, answer, [authority.signer], NOW)
    assert not reasons(host, wanted, authority)
    assert host.stat(wanted.pending) is None


class Dying(Host):
    """A machine that loses power before its n-th change."""

    def __init__(self, root, changes) -> None:
        super().__init__(root)
        self.left = changes

    def _live(self):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def write(self, *arguments, **named):
        self._live()
        super().write(*arguments, **named)

    def own(self, *arguments):
        self._live()
        super().own(*arguments)

    def make_directory(self, *arguments):
        self._live()
        super().make_directory(*arguments)

    def remove(self, *arguments):
        self._live()
        super().remove(*arguments)


@pytest.mark.parametrize("start", ["virgin", "renewal", "another key"])
@pytest.mark.parametrize("changes", range(8))
def test_a_crash_at_any_change_is_healed_by_the_next_run(host, tmp_path, start, changes):
    authority = make(host)
    wanted, now = leaf(), NOW
    if start != "virgin":
        converge(host, leaf(), authority)
        wanted = leaf(key_type="ed25519") if start == "another key" else leaf()
        now = NOW + 70 * DAY
    try:
        converge(Dying(str(tmp_path), changes), wanted, authority, now)
    except KeyboardInterrupt:
        pass
    if start == "renewal":  # a renewal is one rename: the pair fits at any moment
        private = certificates.key(host.read(wanted.key), "/f")
        verdict = leaves.judge(
            [load_leaf(host, wanted)], private.public_key(), wanted, [authority.signer], now
        )
        assert not verdict.faults
    converge(host, wanted, authority, now)
    plan = leaves.plan(host, wanted, TRUST, [authority.signer], now)
    assert not plan.changed
    assert not host.stat(wanted.pending)


def break_key(host, wanted):
    host.write(wanted.key, b"junk", 0o400, wanted.uid, wanted.gid)


def other_key(host, wanted):
    data = leaves.key_pem(leaves.make_key("ecdsa-p256"))
    host.write(wanted.key, data, 0o400, wanted.uid, wanted.gid)


def encrypted_key(host, wanted):
    data = leaves.key_pem(leaves.make_key("ecdsa-p256"), "secret")
    host.write(wanted.key, data, 0o400, wanted.uid, wanted.gid)


def break_certificate(host, wanted):
    host.write(wanted.certificate, b"junk", 0o444, wanted.uid, wanted.gid)


@pytest.mark.parametrize(
    ("spoil", "words", "files"),
    [
        (lambda host, one: host.remove(one.key), "is not there", {"key", "certificate"}),
        (lambda host, one: host.remove(one.certificate), "is not there", {"certificate"}),
        (break_key, "no private key", {"key", "certificate"}),
        (encrypted_key, "is encrypted", {"key", "certificate"}),
        (other_key, "does not match", {"certificate"}),
        (break_certificate, "no certificate", {"certificate"}),
    ],
)
def test_a_spoilt_pair_is_made_anew(host, spoil, words, files):
    authority = make(host)
    converge(host, leaf(), authority)
    spoil(host, leaf())
    plan = leaves.plan(host, leaf(), TRUST, [authority.signer], NOW)
    assert any(words in one for one in plan.reasons), plan.reasons
    assert plan.files == sorted(getattr(leaf(), one) for one in files)
    converge(host, leaf(), authority)
    assert not leaves.plan(host, leaf(), TRUST, [authority.signer], NOW).changed


@pytest.mark.parametrize("path", ["key", "certificate", "trust"])
def test_a_mode_is_mended_without_a_new_leaf(host, path):
    authority = make(host)
    converge(host, leaf(), authority)
    serial = load_leaf(host, leaf()).serial_number
    host.own(getattr(leaf(), path), 0o666, os.getuid(), os.getgid())
    plan = converge(host, leaf(), authority)
    assert plan.files == [getattr(leaf(), path)]
    assert "0666" in plan.before
    assert host.stat(getattr(leaf(), path)).mode == leaf().modes[getattr(leaf(), path)]
    assert load_leaf(host, leaf()).serial_number == serial


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_an_owner_is_mended_without_a_new_leaf(host):
    authority = make(host)
    converge(host, leaf(), authority)
    host.own(leaf().key, 0o400, 65534, 65534)
    assert converge(host, leaf(), authority).files == [leaf().key]
    assert host.stat(leaf().key).uid == 0


def test_a_directory_is_mended(host, tmp_path):
    authority = make(host)
    converge(host, leaf(), authority)
    (tmp_path / "etc/docker/tls").chmod(0o777)
    assert converge(host, leaf(), authority).files == ["/etc/docker/tls"]
    assert host.stat("/etc/docker/tls").mode == 0o755


def test_trust_is_renewed_without_a_new_leaf(host):
    authority = make(host)
    converge(host, leaf(), authority)
    plan = converge(host, leaf(), authority, trust=b"other\n")
    assert (plan.files, plan.reasons) == ([leaf().trust], [])
    assert host.read(leaf().trust) == b"other\n"


def test_extra_files_are_kept(host):
    authority = make(host)
    wanted = leaf("client", extra={"/etc/docker/tls/docker.env": b"A=1\n"})
    assert "/etc/docker/tls/docker.env" in converge(host, wanted, authority).files
    assert host.stat("/etc/docker/tls/docker.env").mode == 0o600
    changed = replace(wanted, extra={"/etc/docker/tls/docker.env": b"A=2\n"})
    assert converge(host, changed, authority).files == ["/etc/docker/tls/docker.env"]


def test_a_leftover_key_is_cleared_away(host):
    authority = make(host)
    converge(host, leaf(), authority)
    host.write(leaf().pending, b"x", 0o400, os.getuid(), os.getgid())
    assert converge(host, leaf(), authority).changed
    assert host.stat(leaf().pending) is None


def test_refusal_is_raised_only_when_something_must_be_signed(host, tmp_path):
    authority = make(host)
    issuers = [authority.signer]
    with pytest.raises(Refused, match=r"ends soon.*is not there"):
        leaves.plan(host, leaf(), TRUST, issuers, NOW, "ends soon.")
    converge(host, leaf(), authority)
    assert not leaves.plan(host, leaf(), TRUST, issuers, NOW, "ends soon.").changed


@pytest.mark.parametrize(
    ("made", "now", "words"),
    [
        (leaf("client", sans=SANS), NOW, "clientAuth"),
        (leaf(sans=(*SANS, "victim")), NOW, "victim"),
        (leaf(), NOW + 91 * DAY, "expired"),
        (leaf(), NOW - DAY, "not valid before"),
    ],
)
def test_a_bad_answer_replaces_nothing(host, tmp_path, made, now, words):
    authority = make(host)
    converge(host, leaf(key_type="ed25519"), authority)
    plan = leaves.plan(host, leaf(), TRUST, [authority.signer], now)
    request = leaves.advance(host, plan, None, [authority.signer], now)
    private = leaves._waiting_key(host, leaf())
    answer = authority.sign(leaves.make_request(private, made), made, NOW)
    before = snapshot(tmp_path)
    with pytest.raises(Refused, match=words):
        leaves.advance(host, plan, answer, [authority.signer], now)
    assert snapshot(tmp_path) == before
    assert request


@pytest.mark.parametrize(
    "answer", [b"junk", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
)
def test_an_answer_that_is_none_replaces_nothing(host, tmp_path, answer):
    authority = make(host)
    plan = leaves.plan(host, leaf(), TRUST, [authority.signer], NOW)
    leaves.advance(host, plan, None, [authority.signer], NOW)
    before = snapshot(tmp_path)
    with pytest.raises(DockerdError, match="web1"):
        leaves.advance(host, plan, answer, [authority.signer], NOW)
    assert snapshot(tmp_path) == before


def test_rotation(host, tmp_path):
    """Trust both, sign anew, drop the old one."""
    old, new = make(host), make(Host(str(tmp_path / "new")))
    converge(host, leaf(), old, trust=certificates.pem(old.signer))
    owner = (os.getuid(), os.getgid())
    host.write("/authority/servers/ca.pem", certificates.pem(new.signer, old.signer), 0o644, *owner)
    secret = leaves.key_pem(new.private)
    host.write("/authority/servers/ca-key.pem", secret, 0o600, *owner)
    both = Authority.load(host, "/authority", "servers", None, NOW)
    assert [one.subject for one in both.bundle] == [new.signer.subject, old.signer.subject]
    assert reasons(host, leaf(), both)[0].startswith("the leaf is signed by")
    converge(host, leaf(), both)
    assert certificates.signed_by(load_leaf(host, leaf()), new.signer)


def test_pictures_never_show_a_key(host):
    authority = make(host)
    plan = converge(host, leaf(), authority)
    shown = plan.before + leaves.expected(host, plan) + repr(plan.contents)
    body = host.read(leaf().key).decode().splitlines()[1]
    assert "PRIVATE" not in shown
    assert body not in shown
    digest = hashlib.sha256(host.read(leaf().key)).hexdigest()
    assert digest[:16] not in shown


# -- certificates that others keep


def own_files(host):
    authority = make(host)
    other = make(host, "clients")
    wanted = leaf()
    converge(host, wanted, authority, trust=certificates.pem(other.signer))
    return replace(wanted, ours=False, sans=("web1",)), authority


def test_good_files_of_others(host, tmp_path):
    wanted, _authority = own_files(host)
    before = snapshot(tmp_path)
    assert leaves.examine(host, wanted, NOW).reasons == []
    assert leaves.examine(host, wanted, NOW + 70 * DAY).due
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("path", ["key", "certificate", "trust"])
def test_missing_files_of_others(host, path):
    wanted, _authority = own_files(host)
    host.remove(getattr(wanted, path))
    with pytest.raises(Refused, match="dockerd_tls_server_trust"):
        leaves.examine(host, wanted, NOW)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    host = Host(str(tmp_path_factory.mktemp("others")))
    return host, own_files(host)[0]


@pytest.mark.parametrize(("path", "wrong"), [("key", 0o077), ("certificate", 0o022)])
def test_all_modes_of_others(others, monkeypatch, path, wrong):
    host, wanted = others
    real, shown = Host.stat, [0]

    def stat(self, name):
        found = real(self, name)
        return replace(found, mode=shown[0]) if name == getattr(wanted, path) else found

    monkeypatch.setattr(Host, "stat", stat)
    for mode in range(0o1000):
        shown[0] = mode
        faults = leaves.examine(host, wanted, NOW).faults
        assert bool(faults) == bool(mode & wrong), oct(mode)


def test_trust_that_is_no_authority(host):
    wanted, _authority = own_files(host)
    host.write(wanted.trust, host.read(wanted.certificate), 0o444, os.getuid(), os.getgid())
    assert any("no authority" in one for one in leaves.examine(host, wanted, NOW).faults)


# -- who lives where

GROUPS = {
    "all": ["trixie2", "trixie22", "web"],
    "ungrouped": [],
    "ci_runners": ["trixie2", "trixie22"],
    "empty": [],
}
PLACES = [
    ("trixie22", ["trixie22"]),
    (["trixie22"], ["trixie22"]),
    ("trixie2,web", ["trixie2", "web"]),
    (["ci_runners"], ["trixie2", "trixie22"]),
    ("all", ["trixie2", "trixie22", "web"]),
    (["ci_runners", "trixie2"], ["trixie2", "trixie22"]),
    (["empty"], []),
    ([], []),
]


@pytest.mark.parametrize(("places", "hosts"), PLACES, ids=[str(one[0]) for one in PLACES])
def test_a_client_lives_where_it_is_said_and_nowhere_else(places, hosts):
    clients = [{"name": "ci", "hosts": places, "user": "ci"}, {"name": "alice"}]
    for host in GROUPS["all"]:
        found = [one["name"] for one in leaves.clients_at(clients, GROUPS, host)]
        assert found == (["ci"] if host in hosts else [])
    assert [one["name"] for one in leaves.clients_at(clients, GROUPS, "")] == ["alice"]


NOWHERE = [
    ("trixie", "Did you mean trixie2"),
    (["ci_runner"], "Did you mean ci_runners"),
    (["trixie*"], "neither a host nor a group"),
    ("", "neither a host nor a group"),
    (["web", None], "neither a host nor a group"),
    (None, "no list"),
    ({"trixie2": 1}, "no list"),
    (["localhost"], "Patterns are not taken"),
]


@pytest.mark.parametrize(("places", "words"), NOWHERE, ids=[str(one[0]) for one in NOWHERE])
@pytest.mark.parametrize("host", ["trixie2", ""])
def test_a_client_at_no_place_is_refused_everywhere(places, words, host):
    clients = [{"name": "alice"}, {"name": "ci", "hosts": places, "user": "ci"}]
    with pytest.raises(Refused, match="dockerd_tls_clients.*" + words):
        leaves.clients_at(clients, GROUPS, host)


# -- another authority at the same place


@pytest.fixture
def two(tmp_path):
    """The authorities of an operator, and those of one who has not got them."""
    found = {}
    for operator in ("first", "second"):
        host = Host(str(tmp_path / operator))
        found[operator] = [make(host, purpose) for purpose in ("servers", "clients")]
    return found


def check(host, wanted, trust, issuers, now=NOW):
    leaves.check_authority(host, wanted, list(trust), list(issuers), now)


@pytest.mark.parametrize("usage", ["server", "client"])
def test_another_authority_is_refused(host, two, usage):
    servers, clients = two["first"]
    signer, other = (servers, clients) if usage == "server" else (clients, servers)
    wanted = leaf(usage)
    check(host, wanted, [], [])  # a virgin place, no authority yet
    converge(host, wanted, signer, trust=certificates.pem(other.signer))
    check(host, wanted, other.bundle, signer.bundle)
    stranger, strangers_other = two["second"] if usage == "server" else two["second"][::-1]
    for trust, issuers in (
        ([], []),
        (strangers_other.bundle, stranger.bundle),
        (strangers_other.bundle, signer.bundle),
        (other.bundle, stranger.bundle),
    ):
        with pytest.raises(Refused, match="dockerd_tls_replace_authority"):
            check(host, wanted, trust, issuers)
    # Half of a rotation is overlap enough, on either side.
    check(
        host,
        wanted,
        [*strangers_other.bundle, *other.bundle],
        [*stranger.bundle, *signer.bundle],
    )


def test_what_lets_nobody_in_belongs_to_no_authority(host, tmp_path, two):
    wanted = leaf()
    servers, clients = two["first"]
    converge(host, wanted, servers, trust=b"no certificate")
    later = NOW + 91 * DAY
    check(host, wanted, clients.bundle, two["second"][0].bundle, later)  # the leaf has expired
    (tmp_path / wanted.certificate[1:]).chmod(0o600)
    (tmp_path / wanted.certificate[1:]).write_bytes(b"damaged")
    check(host, wanted, clients.bundle, two["second"][0].bundle)


def test_a_renewed_certificate_of_an_authority_is_the_same_authority(host, two):
    servers, clients = two["first"]
    converge(host, leaf(), servers, trust=certificates.pem(clients.signer))
    again = (
        x509.CertificateBuilder(
            clients.signer.subject,
            clients.signer.subject,
            clients.signer.public_key(),
            7,
            NOW,
            NOW + 9000 * DAY,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(clients.private, leaves.signature_hash(clients.private))
    )
    check(host, leaf(), [again], servers.bundle)
