# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from _dockerd import journal, recovery
from _dockerd.errors import HostError
from _dockerd.host import digest
from _dockerd.instance import Instance
from _dockerd.journal import Entry, Journal
from conftest import CONFIG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()
DIRECTORY = INSTANCE.journal_directory
DROPIN = INSTANCE.socket_dropin


@pytest.fixture
def kept(host):
    """A journal on disk, of a file that is there and of one that is not."""
    host.put(CONFIG, '{"mtu": 1400}', mode=0o640)
    os.chown(host.real(CONFIG), 0, 998)
    told = Journal(
        inode=("root", "docker", 0o660),
        members=("docker", ["ci"], ["ci", "me"]),
        identity=["boot", 1, 1],
        active=True,
        containers={"id": ["web", 42]},
        given_up={"other": ["db", 43]},
        live_restore=True,
        flags=["containerd", "hosts"],
        config_path=CONFIG,
    )
    return journal.keep(INSTANCE, host, told, [CONFIG, DROPIN])


def read(host):
    return journal.read(INSTANCE, host)


def test_the_former_state_is_kept_whole_and_for_root_only(host, kept):
    assert read(host) == kept
    assert kept.former(CONFIG) == Entry(CONFIG, b'{"mtu": 1400}', 0o640, 0, 998)
    assert kept.former(DROPIN) == Entry(DROPIN)
    assert kept.former("/etc/passwd") is None
    assert host.stat(DIRECTORY).mode == 0o700
    assert host.list(DIRECTORY) == ["0", "journal.json", "tries-3"]
    for name in host.list(DIRECTORY):
        assert host.stat("%s/%s" % (DIRECTORY, name)).mode == 0o600


def test_it_says_of_which_boot_and_which_transaction_it_is(host, kept):
    host.put("/proc/sys/kernel/random/boot_id", "the next boot\n")
    journal.forget(INSTANCE, host, Journal())
    other = journal.keep(INSTANCE, host, Journal(), [])
    assert (kept.boot, other.boot) == ("", "the next boot")
    assert len(kept.token) == 32
    assert kept.token != other.token
    assert read(host) == other


def test_a_host_without_one_has_none(host):
    assert read(host) is None
    host.make_directory(DIRECTORY, 0o700)
    assert read(host) is None


# -- what is whose


def test_what_was_there_and_what_was_announced_is_ours_and_nothing_else(host, kept):
    journal.announce(INSTANCE, host, kept, CONFIG, b"{}")
    journal.announce(INSTANCE, host, kept, CONFIG, None)
    journal.announce(INSTANCE, host, kept, DROPIN, b"[Socket]\n")
    for found in (kept, read(host)):
        assert found.ours(CONFIG, b'{"mtu": 1400}')
        assert found.ours(CONFIG, b"{}")
        assert found.ours(CONFIG, None)
        assert found.ours(DROPIN, None)
        assert found.ours(DROPIN, b"[Socket]\n")
        assert not found.ours(DROPIN, b"{}")
        assert not found.ours(CONFIG, b'{"mtu": 1401}')
        assert not found.ours("/etc/passwd", None)


def test_a_write_is_announced_once_however_often_it_is_made(host, kept):
    for _time in range(3):
        journal.announce(INSTANCE, host, kept, CONFIG, b"{}")
    again = read(host)
    journal.announce(INSTANCE, host, again, CONFIG, b"{}")
    assert host.read(DIRECTORY + "/written").count(digest(b"{}").encode()) == 1


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_half_written_line_is_no_write_and_spoils_none_after_it(host, kept, cut):
    """The write that it announced was not made yet; the next run goes on in the same file."""
    journal.announce(INSTANCE, host, kept, CONFIG, b"first")
    whole = host.read(DIRECTORY + "/written")
    journal.announce(INSTANCE, host, kept, CONFIG, b"second")
    half = host.read(DIRECTORY + "/written")[: len(whole) + cut]
    host.put(DIRECTORY + "/written", half)
    found = read(host)
    assert found.ours(CONFIG, b"first")
    assert not found.ours(CONFIG, b"second")
    journal.announce(INSTANCE, host, found, CONFIG, b"third")
    assert read(host).ours(CONFIG, b"third")


@pytest.mark.parametrize("raw", [b"\n", b"\xff\0\n", b"5\n", b"[]\n", b'["a"]\n', b"[" * 99999])
def test_junk_among_the_announcements_is_passed_over(host, kept, raw):
    journal.announce(INSTANCE, host, kept, CONFIG, b"{}")
    host.append(DIRECTORY + "/written", raw, 0o600)
    assert read(host).ours(CONFIG, b"{}")


# -- cut off


def test_a_draft_is_no_journal(host, kept, monkeypatch):
    """Killed while it kept the former state: nothing was changed, nothing is put back."""
    journal.forget(INSTANCE, host, Journal())

    def killed(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(host, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            journal.keep(INSTANCE, host, Journal(), [CONFIG])
    assert host.list(DIRECTORY + ".draft") == ["0", "journal.json", "tries-3"]
    assert read(host) is None
    assert journal.keep(INSTANCE, host, Journal(), [CONFIG]) == read(host)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: open(path, "wb").close()])
def test_whatever_is_in_the_place_of_the_draft_gives_way(host, make):
    os.makedirs(host.real(INSTANCE.state_directory))
    make(host.real(DIRECTORY + ".draft"))
    assert journal.keep(INSTANCE, host, Journal(), []) == read(host)
    make(host.real(DIRECTORY + ".draft"))
    journal.forget(INSTANCE, host, Journal())
    assert host.list(INSTANCE.state_directory) == []


def test_it_is_forgotten_in_one_step(host, kept, monkeypatch):
    """Killed in the middle of the removal, the next run neither restores nor stumbles."""
    trees = []
    with monkeypatch.context() as patch:
        patch.setattr(host, "remove_tree", trees.append)
        journal.forget(INSTANCE, host, Journal())
    assert trees == [DIRECTORY + ".draft"] * 2
    assert read(host) is None
    journal.keep(INSTANCE, host, Journal(), [])
    journal.forget(INSTANCE, host, Journal())
    assert host.list(INSTANCE.state_directory) == []


# -- damaged


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", "5", "null", "[" * 99999, '{"files": [{}]}', '{"unknown": 1}', b"\xff"]
)
def test_a_damaged_journal_is_an_error_with_a_way_out(host, raw):
    host.put(DIRECTORY + "/journal.json", raw)
    with pytest.raises(HostError, match=r"is damaged .* put back by hand"):
        read(host)


JUNK = [None, 5, -1, 1.5, True, "text", "", [], [None], [5], {}, {"a": None}, {"a": [1, 2]}]


def _fields():
    told = {**Journal().__dict__, "files": []}
    del told["written"]
    entry = {**Entry("/a").__dict__, "blob": None}
    return [(name,) for name in told] + [("files", 0, name) for name in entry]


@pytest.mark.parametrize("value", JUNK, ids=repr)
@pytest.mark.parametrize("place", _fields(), ids=lambda place: ".".join(map(str, place)))
def test_a_field_with_anything_in_it_is_an_error_or_can_be_put_back(host, kept, place, value):
    """What is read without an error must not be a traceback later on."""
    told = json.loads(host.read(DIRECTORY + "/journal.json"))
    where = told
    for step in place[:-1]:
        where = where[step]
    where[place[-1]] = value
    host.put(DIRECTORY + "/journal.json", told)
    try:
        found = read(host)
    except HostError as error:
        assert DIRECTORY in str(error)
        assert "put back by hand" in str(error)
        return
    changes, foreign = recovery.put_back(host, found)
    assert len(changes) + len(foreign) == len(found.files)
    assert all(isinstance(change.wanted.data, (bytes, type(None))) for change in changes)
    assert [str(name) for name in found.flags] == found.flags
    assert host.stat(found.config_path) is None or found.config_path in ("", CONFIG)
    assert all(isinstance(label, str) for label, _pid in found.containers.values())
    assert found.members is None or ",".join(found.members[1]) is not None
    assert not found.identity or found.identity[0] is not found


@pytest.mark.parametrize("name", sorted(_fields(), key=str), ids=str)
def test_a_field_that_is_missing_is_an_error_or_has_its_default(host, kept, name):
    told = json.loads(host.read(DIRECTORY + "/journal.json"))
    where = told
    for step in name[:-1]:
        where = where[step]
    del where[name[-1]]
    host.put(DIRECTORY + "/journal.json", told)
    if name[-1] in ("files", "path", "blob", "digest", "mode", "uid", "gid"):
        with pytest.raises(HostError, match="is damaged"):
            read(host)
    else:
        assert read(host).files[0] == kept.files[0]


@pytest.mark.parametrize("damage", ["gone", "", "cut"])
def test_a_kept_file_that_is_damaged_is_read_from_beside_its_place_or_not_at_all(
    host, kept, damage
):
    (beside,) = [one for one in host.list("/etc/docker") if ".hardened-" in one]
    for path in (DIRECTORY + "/0", "/etc/docker/" + beside):
        assert read(host) == kept
        if damage == "gone":
            host.remove(path)
        else:
            host.put(path, damage and '{"mtu"')
    with pytest.raises(HostError, match=r"transaction/0 does not hold what .*; put back by hand"):
        read(host)


def test_files_without_their_journal_are_no_absent_journal(host, kept):
    host.remove(DIRECTORY + "/journal.json")
    with pytest.raises(HostError, match=r"has no journal[.]json; put back by hand"):
        read(host)


@pytest.mark.parametrize("name", ["journal.json", "0", "written"])
def test_a_fifo_in_place_of_a_file_keeps_nobody_waiting(host, kept, name):
    host.remove("%s/%s" % (DIRECTORY, name))
    os.mkfifo(host.real("%s/%s" % (DIRECTORY, name)))
    if name == "written":
        found = read(host)
        assert found.written == {}
        with pytest.raises(HostError, match="/written"):
            journal.announce(INSTANCE, host, found, CONFIG, b"{}")
    elif name == "0":
        assert read(host) == kept  # from beside its place
    else:
        with pytest.raises(HostError, match=r"no regular file .* put back by hand"):
            read(host)
