# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate and its key are replaced as one, wherever that is cut off."""

from __future__ import annotations

import json
import os
import ssl
import time

import pytest
from _dockerd import certificates, guard, leaves, pair
from _dockerd.errors import HostError
from _dockerd.host import Host
from test_leaves import NOW, TRUST, converge, leaf, load_leaf, make, reasons

OTHER = {"key_type": "ecdsa-p384"}


@pytest.fixture
def host(tmp_path):
    """A host with a leaf of another key type than is wanted next."""
    host = Host(str(tmp_path))
    host.authority = make(host)
    converge(host, leaf(), host.authority)
    return host


def fits(host):
    """Whether a daemon could start with what is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(host.real(leaf().certificate), host.real(leaf().key))
    except ssl.SSLError:
        return False
    return True


def left(host):
    directory = leaf().directory[0]
    return [
        name for name in host.list(directory) if name not in map(os.path.basename, leaf().modes)
    ]


class Killed(BaseException):
    pass


def exchange(host, monkeypatch, kill=None):
    """The exchange, killed before the n-th of its renames."""
    count, real = [], os.rename

    def rename(*paths):
        count.append(paths)
        if len(count) - 1 == kill:
            raise Killed
        real(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(pair.os, "rename", rename)
        try:
            converge(host, leaf(**OTHER), host.authority)
        except Killed:
            return True
    return False


def cut_off(host, monkeypatch):
    """A run that is dead since it decided on the exchange."""
    for kill in range(20):
        exchange(host, monkeypatch, kill)
        if pair.waits(host.real(leaf().certificate)):
            break


def look(host, tmp_path):
    """What the guard does before the daemon starts."""
    config = tmp_path / "daemon.json"
    told = {"tlscert": host.real(leaf().certificate), "tlskey": host.real(leaf().key)}
    config.write_text(json.dumps(told))
    guard.complete(str(config))


def test_wherever_it_is_killed_the_guard_lets_no_daemon_see_half_of_it(
    tmp_path_factory, monkeypatch
):
    seen = set()
    for number in range(20):
        place = tmp_path_factory.mktemp("host")
        host = Host(str(place))
        host.authority = make(host)
        converge(host, leaf(), host.authority)
        if not exchange(host, monkeypatch, number):
            break
        seen.add(fits(host))
        look(host, place)
        assert fits(host)
        present, _files = leaves.complete(host, leaf(**OTHER))
        assert present is host
        assert fits(host)
        converge(host, leaf(**OTHER), host.authority)
        assert not reasons(host, leaf(**OTHER), host.authority)
        assert left(host) == []
    assert number > 3
    assert seen == {True, False}  # so there was a moment in which it mattered


def test_the_next_run_completes_it_and_check_mode_says_so(host, monkeypatch):
    before = {path: host.read(path) for path in leaf().modes}
    cut_off(host, monkeypatch)
    assert pair.waits(host.real(leaf().certificate))
    seen, files = leaves.complete(host, leaf(**OTHER), check=True)
    assert files == [leaf().certificate, leaf().key]
    plan = leaves.plan(seen, leaf(**OTHER), TRUST, [host.authority.signer], NOW)
    assert (plan.reasons, plan.repairs) == ([], {})
    assert {path: host.read(path) for path in leaf().modes} == before
    assert leaves.complete(host, leaf(**OTHER)) == (host, files)
    assert not reasons(host, leaf(**OTHER), host.authority)
    assert fits(host)
    assert leaves.complete(host, leaf(**OTHER)) == (host, [])


@pytest.mark.parametrize("full", [leaf().key, leaf().certificate])
def test_a_full_disk_leaves_the_pair_that_is_there(host, monkeypatch, full):
    before = {path: host.read(path) for path in leaf().modes}
    real = Host.write

    def write(self, path, *rest, **named):
        if path == host.beside(full, pair.NEXT):
            raise HostError("%s cannot be written: No space left on device" % path)
        real(self, path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Host, "write", write)
        with pytest.raises(HostError, match="No space left"):
            converge(host, leaf(**OTHER), host.authority)
    assert {path: host.read(path) for path in leaf().modes} == before
    assert leaves.complete(host, leaf(**OTHER)) == (host, [])
    converge(host, leaf(**OTHER), host.authority)
    assert fits(host)
    assert left(host) == []


def test_a_pair_that_somebody_put_there_since_stays(host, monkeypatch, tmp_path):
    cut_off(host, monkeypatch)
    time.sleep(0.02)  # times of files are those of the kernel's tick
    theirs = leaf(key_type="ed25519")
    other = Host(str(tmp_path / "other"))
    converge(other, theirs, make(other))
    for path in (leaf().key, leaf().certificate):
        host.write(path, other.read(path), 0o400, *os.stat(host.real(path))[4:6])
    assert leaves.complete(host, theirs) == (host, [])
    assert host.read(leaf().key) == other.read(leaf().key)
    assert fits(host)
    assert [name for name in left(host) if "next" in name] == []


def test_one_that_is_put_there_during_the_run_is_told(host, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pair, "_overtaken", lambda *paths: True)
        with pytest.raises(HostError, match="somebody else put another pair in place"):
            converge(host, leaf(**OTHER), host.authority)
    assert fits(host)
    converge(host, leaf(**OTHER), host.authority)
    assert not reasons(host, leaf(**OTHER), host.authority)


def test_one_of_a_day_to_come_gives_way(host, monkeypatch):
    """A clock that was ahead, and was put right, keeps no leaf from being renewed."""
    cut_off(host, monkeypatch)
    time.sleep(0.02)
    os.utime(host.real(leaf().certificate))  # its ctime is now
    with monkeypatch.context() as patch:
        patch.setattr(
            pair.time, "time", lambda: os.stat(host.real(leaf().certificate)).st_ctime - 60
        )
        assert pair.decided(host.real(leaf().certificate), host.real(leaf().key))
    assert not pair.decided(host.real(leaf().certificate), host.real(leaf().key))


def test_one_that_does_not_fit_gives_way(host, monkeypatch):
    cut_off(host, monkeypatch)
    time.sleep(0.02)
    host.write(leaf().certificate, b"junk", 0o444, *os.stat(host.real(leaf().key))[4:6])
    assert leaves.complete(host, leaf(**OTHER))[1]
    assert fits(host)


@pytest.mark.parametrize("what", ["certificate", "key", "no key", "another key", "pipe"])
def test_what_lies_ready_and_is_no_pair_takes_no_place(host, monkeypatch, what, tmp_path):
    before = {path: host.read(path) for path in leaf().modes}
    cut_off(host, monkeypatch)
    assert pair.decided(host.real(leaf().certificate), host.real(leaf().key))
    damaged = host.beside(leaf().certificate if what == "certificate" else leaf().key, pair.NEXT)
    host.remove(damaged)
    if what == "pipe":
        os.mkfifo(host.real(damaged))
    elif what != "no key":
        host.write(damaged, host.read(leaf().key) if what == "another key" else b"", 0o400)
    assert leaves.complete(host, leaf(), check=True) == (host, [])
    look(host, tmp_path)
    assert {path: host.read(path) for path in leaf().modes} == before
    assert [name for name in left(host) if "next" in name] == []


def test_a_draft_of_a_key_does_not_stay(host):
    draft = "%s/.server-key.pem.hardened-next.hardened-new" % leaf().directory[0]
    host.write(draft.replace(".hardened-new", ""), b"key", 0o400)
    os.rename(host.real(draft.replace(".hardened-new", "")), host.real(draft))
    assert leaves.complete(host, leaf()) == (host, [])
    assert left(host) == []


def test_links_lead_to_where_the_files_are(host, monkeypatch):
    elsewhere = "/srv/tls"
    host.make_directory(elsewhere, 0o755)
    for path in (leaf().certificate, leaf().key):
        real = host.real(path)
        os.rename(real, host.real(elsewhere + "/" + os.path.basename(path)))
        os.symlink(host.real(elsewhere + "/" + os.path.basename(path)), real)
    exchange(host, monkeypatch)
    assert fits(host)
    assert os.path.islink(host.root + leaf().key)
    assert certificates.key_type(load_leaf(host, leaf()).public_key()) == OTHER["key_type"]


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"tlscert": 5, "tlskey": null}', "\0"])
def test_the_guard_minds_only_what_it_understands(tmp_path, config):
    (tmp_path / "daemon.json").write_text(config)
    guard.complete(str(tmp_path / "daemon.json"))
    guard.complete(str(tmp_path / "none"))
