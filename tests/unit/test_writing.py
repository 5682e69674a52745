# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever was written when power fails or somebody restarts dockerd: it starts, unexposed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from typing import ClassVar

import pytest
from _dockerd import guard, journal, recovery, writing
from _dockerd.errors import HostError, Overtaken
from _dockerd.host import Candidate
from _dockerd.instance import Instance
from _dockerd.journal import Entry, Journal
from _dockerd.told import read_told
from _dockerd.writing import Change
from conftest import CONFIG, DEBIAN, Directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")
INSTANCE = Instance()
OPTIONS = "/etc/default/docker"
PLAIN = {"icc": False, "live-restore": True}
TLS = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
LISTEN = "[Socket]\nListenStream=0.0.0.0:2376\nService=docker.service\n"
SOCKET = "[Socket]\nSocketGroup=docker\n"
NO_TCP = {"directives": PLAIN, "socket_dropin": SOCKET}
TCP = {"directives": {**PLAIN, **TLS}, "socket_dropin": SOCKET, "tls_socket": LISTEN}
# What the operator may want, by name.
WANTED = {
    "no tcp": NO_TCP,
    "tcp": TCP,
    "tcp elsewhere": {
        **TCP,
        "tls_socket": LISTEN.replace("2376", "2377"),
        "service_dropin": "[Service]\nNice=1\n",
    },
    "nothing": {"directives": {}},
}
BARE = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd\n"
VERIFIED = " ".join("--%s=%s" % (name, str(value).lower()) for name, value in TLS.items())


def _options(text):
    return lambda host: host.put(OPTIONS, "DOCKER_OPTS='%s'\n" % text)


def _hosts(*hosts, **more):
    def prepare(host):
        host.put("/etc/systemd/system/docker.service.d/bare.conf", BARE)
        host.put(CONFIG, {"hosts": list(hosts), **more})

    return prepare


def _hardened(name):
    return lambda host: host.apply(host.plan(**WANTED[name]))


# How a host may be found, by name; none of them gives a directive twice.
FOUND = {
    "virgin": lambda host: None,
    "hardened": _hardened("no tcp"),
    "hardened with tcp": _hardened("tcp"),
    "with flags": _options("--icc=true --live-restore --log-level=warn"),
    "exposed by a flag": _options("-H tcp://0.0.0.0:2375"),
    "verified by flags": _options("-H tcp://0.0.0.0:2376 " + VERIFIED),
    "with hosts in the file": _hosts("fd://", "unix:///run/ci.sock"),
    "verified by the file": _hosts("fd://", "tcp://0.0.0.0:2376", **TLS),
    "exposed by docker.socket": lambda host: host.put(
        "/etc/systemd/system/docker.socket.d/tcp.conf", "[Socket]\nListenStream=2375\n"
    ),
}
EVERY = list(itertools.product(FOUND, WANTED))


class Watched(Directory):
    """A host whose every prefix of writes is looked at, as a boot and as a restart find it."""

    look = staticmethod(lambda: None)

    def write(self, path, *rest):
        super().write(path, *rest)
        self.look()

    def promote(self, path, *rest):
        super().promote(path, *rest)
        self.look()

    def remove(self, path, *rest):
        super().remove(path, *rest)
        self.look()


class Systemd:
    """The units as they were last loaded, and whether the TCP listener is up.

    ``leaned`` tells whether the order alone was not enough, and the guard had to be there.
    """

    leaned = False
    good: ClassVar[set] = set()  # moments that were looked at already; most are met again and again

    def __init__(self, host):
        self.host = host
        self.reload()
        self.up = self.told().tls_socket is not None
        self.former = self.exposed(self.told())

    def reload(self):
        self.loaded = {path: self.host.optional(path) for path in self._units()}

    def _units(self):
        paths = {INSTANCE.tls_socket_path, *INSTANCE.written, *getattr(self, "loaded", ())}
        for directory in ("docker.service.d", "docker.socket.d"):
            place = "/etc/systemd/system/" + directory
            paths.update("%s/%s" % (place, name) for name in self.host.list(place))
        return paths

    def told(self):
        """What dockerd is told if somebody restarts it now: daemon.json is read anew, no unit."""
        units = dict.fromkeys(self._units())
        return read_told(INSTANCE, Candidate(self.host, {**units, **self.loaded}), "26.1.5")

    def stop_tls(self):
        self.up = False

    @staticmethod
    def exposed(told):
        return bool(told.tcp) and not told.verifies

    def guarded(self):
        """Whether the guard closes TCP: as loaded, and with what it looks at on disk."""
        there = self.loaded.get(INSTANCE.guard_dropin) and self.host.stat(INSTANCE.program_path)
        return bool(there) and not guard.verifies(self.host.real(CONFIG))

    def check(self):
        """Raises AssertionError where this moment is no good one for a boot or a restart."""
        files = [(path[len(self.host.root) :], made[0]) for path, made in self.host.tree().items()]
        disk = frozenset(one for one in files if "/transaction" not in one[0])
        moment = (disk, frozenset(self.loaded.items()), self.up, self.former)
        if moment not in self.good:
            self._check()
            self.good.add(moment)

    def _check(self):
        for loaded in (False, True):
            told = self.told() if loaded else read_told(INSTANCE, self.host, "26.1.5")
            twice = {flag.directive for flag in told.flags} & set(told.data)
            assert not twice, "given twice: %s" % twice
            assert told.document is not None, told.error
            assert told.service and told.words and not told.wrapper
            if (told.tls_socket or (loaded and self.up)) and not told.verifies:
                assert loaded and self.guarded(), "docker-tls.socket without verification"
                self.leaned = True
            elif not self.former:
                assert not self.exposed(told), "exposed"
            for name in (one.value for one in told.service.settings("Unit", "Requires")):
                assert name == "docker.socket"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is synchronised here outlives no loss of power anyway."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def prepared(tmp_path, found, wanted):
    """A host, its systemd, a plan, and the journal that the transaction keeps of it."""
    host = Watched(str(tmp_path / "host"))
    for path, text in DEBIAN.items():
        host.put(path, text)
    FOUND[found](host)
    systemd = Systemd(host)
    systemd.check()
    made = host.plan(**WANTED[wanted])
    told = made.snapshot.told
    flags = sorted({flag.directive for flag in told.flags})
    kept = Journal(flags=flags, config_path=told.config_path)
    journal.keep(INSTANCE, host, kept, [change.path for change in made.files])
    return host, systemd, made, kept


def another(systemd, place):
    """The same host once more, at the same moment."""
    shutil.copytree(systemd.host.root, place, symlinks=True)
    same = object.__new__(Systemd)
    same.__dict__.update(systemd.__dict__, host=Watched(str(place)), loaded=dict(systemd.loaded))
    return same.host, same


def forward(made):
    """The changes of a plan and the flags that it ends with."""
    changes = [Change(Entry(one.path, one.after, one.mode), one.before) for one in made.files]
    return changes, [flag.directive for flag in made.candidate.told.flags]


def lay(host, systemd, kept, changes, flags, how=writing.lay, **rest):
    def reload_units():
        systemd.reload()
        systemd.check()

    def stop_tls():
        systemd.stop_tls()
        systemd.check()

    host.look = systemd.check
    return how(INSTANCE, host, kept, changes, flags, reload_units, stop_tls, **rest)


def state(host):
    return {
        path: entry
        for path, entry in host.tree().items()
        if "/hardened-docker/system/transaction/" not in path and ".hardened-" not in path
    }


def back(systemd):
    """Roll back what the journal of a host holds."""
    kept = journal.read(INSTANCE, systemd.host)
    changes, foreign = recovery.put_back(systemd.host, kept)
    assert foreign == []
    return lay(systemd.host, systemd, kept, changes, kept.flags, go_on=True)


def activate(systemd):
    """What a restart of the daemon does with the listener."""
    systemd.up = systemd.told().tls_socket is not None


@pytest.mark.parametrize(("found", "wanted"), EVERY)
def test_every_prefix_of_a_change_and_of_its_roll_back_is_safe(tmp_path, found, wanted):
    host, systemd, made, kept = prepared(tmp_path, found, wanted)
    before = state(host)
    assert lay(host, systemd, kept, *forward(made)) == []
    for change in made.files:
        assert (host.optional(change.path), change.path) == (change.after, change.path)
    assert systemd.loaded == {path: host.optional(path) for path in systemd._units()}
    assert not systemd.leaned
    activate(systemd)
    assert back(systemd) == []
    assert state(host) == before
    assert systemd.loaded == {path: host.optional(path) for path in systemd._units()}
    assert systemd.leaned <= (found == "verified by flags")


@pytest.mark.parametrize(("found", "wanted"), EVERY)
def test_a_change_is_rolled_back_safely_from_wherever_it_was_cut_off(tmp_path, found, wanted):
    """By the next run, and by a boot, which has loaded what was written."""
    host, systemd, made, kept = prepared(tmp_path, found, wanted)
    before, moments = state(host), [another(systemd, tmp_path / "0")[1]]
    check = systemd.check
    systemd.check = lambda: moments.append(another(systemd, tmp_path / str(len(moments)))[1])
    lay(host, systemd, kept, *forward(made))
    systemd.check = check
    assert len(moments) > len(made.files)
    for number, moment in enumerate(moments):
        moment.__dict__.pop("check", None)
        booted = another(moment, tmp_path / ("boot%d" % number))[1]
        booted.reload()
        activate(booted)
        for one in (moment, booted):
            assert back(one) == []
            assert {path[len(one.host.root) :]: made for path, made in state(one.host).items()} == {
                path[len(host.root) :]: made for path, made in before.items()
            }


@pytest.mark.parametrize(("found", "wanted"), EVERY)
def test_a_file_that_cannot_be_written_makes_no_prefix_unsafe(tmp_path, found, wanted):
    """With each file in turn: the change stops there, the roll-back does what is safe without."""
    _host, systemd, made, _kept = prepared(tmp_path, found, wanted)
    stuck = [change.path for change in made.files]
    moments = [another(systemd, tmp_path / str(number)) for number in range(len(stuck))]
    for path, (host, moment) in zip(stuck, moments):
        refuse(host, path)
        with pytest.raises(HostError, match="Read-only"):
            lay(host, moment, journal.read(INSTANCE, host), *forward(made))


@pytest.mark.parametrize(("found", "wanted"), EVERY)
def test_a_file_that_cannot_be_put_back_makes_no_prefix_unsafe(tmp_path, found, wanted):
    host, systemd, made, kept = prepared(tmp_path, found, wanted)
    before = {entry.path: entry.data for entry in kept.files}
    lay(host, systemd, kept, *forward(made))
    activate(systemd)
    alone = {*INSTANCE.safety, INSTANCE.command_dropin, INSTANCE.tls_socket_path, CONFIG}
    for number, path in enumerate(before):
        host, one = another(systemd, tmp_path / str(number))
        refuse(host, path)
        assert {str(failure) for failure in back(one)} == {path + ": Read-only"}
        one.check()
        if path not in alone:
            # Those that others depend on may hold them up, any other may not.
            after = {each: host.optional(each) for each in before if each != path}
            assert after == {each: data for each, data in before.items() if each != path}


def refuse(host, stuck):
    """Let one file of the host be read-only, such as by chattr."""
    for name in ("write", "remove", "promote"):
        setattr(host, name, _refusing(getattr(host, name), stuck))


def _refusing(do, stuck):
    def refused(path, *rest):
        if stuck in (path, *rest):
            raise HostError("%s: Read-only" % stuck)
        do(path, *rest)

    return refused


@pytest.mark.parametrize("data", [{}, {**TLS, "tlsverify": False}, {"tls": True}])
def test_the_guard_is_there_where_somebody_else_s_file_stays(tmp_path, data):
    """The listener comes back, and daemon.json is no longer ours to bring back."""
    host, systemd, made, kept = prepared(tmp_path, "hardened with tcp", "no tcp")
    lay(host, systemd, kept, *forward(made))
    host.put(CONFIG, data)
    changes, foreign = recovery.put_back(host, kept)
    assert foreign == [CONFIG]
    systemd.check = lambda: None
    assert lay(host, systemd, kept, changes, kept.flags, go_on=True) == []
    assert host.told().tls_socket
    assert Systemd.exposed(host.told())
    assert systemd.guarded()
    assert json.loads(host.text(CONFIG)) == data


# -- one file


def change(path, data, expected=writing.ANYTHING, mode=0o644):
    return Change(Entry(path, data, mode), expected)


def one_file(host, **rest):
    return writing._Writer(INSTANCE, host, Journal(config_path=CONFIG), rest.get("go_on", False))


def test_what_is_as_it_shall_be_is_neither_written_nor_announced(host):
    """On a full disk nothing can be written, and nothing need be."""
    host.put(CONFIG, "{}")
    assert not one_file(host).put(change(CONFIG, b"{}"))
    assert not one_file(host).put(change("/etc/none", None))
    assert host.stat(INSTANCE.journal_directory) is None


def test_an_owner_or_a_mode_alone_is_a_difference(host):
    host.make_directory(INSTANCE.journal_directory, 0o700)
    host.put(CONFIG, "{}", mode=0o666)
    assert one_file(host).put(change(CONFIG, b"{}"))
    assert host.stat(CONFIG).mode == 0o644
    os.chown(host.real(CONFIG), 1000, 1000)
    assert one_file(host).put(change(CONFIG, b"{}"))
    assert (host.stat(CONFIG).uid, host.stat(CONFIG).gid) == (0, 0)


@pytest.mark.parametrize("data", [b"ours", None])
def test_a_write_is_announced_before_it_is_made(host, data, monkeypatch):
    host.make_directory(INSTANCE.journal_directory, 0o700)
    host.put(CONFIG, "theirs")
    writer = one_file(host)

    def refused(*rest):
        raise HostError("no")

    for name in ("write", "remove"):
        monkeypatch.setattr(host, name, refused)
    with pytest.raises(HostError):
        writer.put(change(CONFIG, data))
    assert writer._journal.ours(CONFIG, data)
    assert b"daemon.json" in host.read(INSTANCE.journal_directory + "/written")


@pytest.mark.parametrize("data", [b"ours", None])
def test_what_somebody_else_wrote_meanwhile_is_not_written_over(host, data):
    host.make_directory(INSTANCE.journal_directory, 0o700)
    host.put(CONFIG, "theirs")
    with pytest.raises(Overtaken, match="changed by somebody else meanwhile"):
        one_file(host).put(change(CONFIG, data, b"as it was read"))
    assert host.text(CONFIG) == "theirs"
    writer = one_file(host, go_on=True)
    assert not writer.put(change(CONFIG, data, b"as it was read"))
    assert isinstance(writer.failures[0], Overtaken)


def test_the_second_write_of_a_file_expects_the_first(host):
    host.make_directory(INSTANCE.journal_directory, 0o700)
    writer, one = one_file(host), change(CONFIG, b"first", None)
    assert writer.put(one)
    one.wanted.data = b"second"
    assert writer.put(one)
    assert host.text(CONFIG) == "second"


@pytest.mark.parametrize("raw", [None, b"", b"{", b"[]", b"5", b"[" * 99999])
def test_junk_needs_no_way_made(host, raw):
    """dockerd does not start with it anyway."""
    if raw is not None:
        host.put(CONFIG, raw)
    assert one_file(host).make_way(change(CONFIG, b"{}"), ["icc"])
    assert host.optional(CONFIG) == raw


# -- that the tests above can fail


def reverse(instance, host, kept, changes, flags, reload_units, stop_tls):
    """The order of a plan's files turned round, which knows nothing of safety."""
    for change in reversed(changes):
        if change.wanted.data is None:
            host.remove(change.wanted.path)
        else:
            host.write(change.wanted.path, change.wanted.data, change.wanted.mode)
    reload_units()
    stop_tls()


def straight(instance, host, kept, changes, *rest):
    reverse(instance, host, kept, changes[::-1], *rest)


@pytest.mark.parametrize(
    ("found", "wanted", "how", "undo", "why"),
    [
        ("virgin", "tcp", straight, False, "without verification"),
        ("virgin", "tcp", reverse, True, "without verification"),
        ("hardened", "tcp", straight, False, "without verification"),
        ("hardened", "tcp", reverse, True, "without verification"),
        ("hardened with tcp", "no tcp", reverse, False, "without verification"),
        ("hardened with tcp", "no tcp", straight, True, "without verification"),
        ("with flags", "no tcp", straight, False, "given twice: .*icc"),
        ("with flags", "no tcp", reverse, False, "given twice: .*icc"),
        ("with flags", "no tcp", straight, True, "given twice: .*icc"),
        ("with hosts in the file", "no tcp", straight, False, "given twice: .*hosts"),
        ("with hosts in the file", "no tcp", reverse, True, "given twice: .*hosts"),
    ],
)
def test_another_order_is_found_out(tmp_path, found, wanted, how, undo, why):
    host, systemd, made, kept = prepared(tmp_path, found, wanted)
    changes, flags = forward(made)
    if undo:
        lay(host, systemd, kept, changes, flags)
        activate(systemd)
        changes, flags = recovery.put_back(host, kept)[0], kept.flags
    with pytest.raises(AssertionError, match=why):
        lay(host, systemd, kept, changes, flags, how=how)


def test_units_that_are_not_loaded_are_found_out(tmp_path):
    """On disk all is well, and a restart would still find the former command line."""
    host, systemd, made, kept = prepared(tmp_path, "with flags", "no tcp")
    systemd.reload = lambda: None
    with pytest.raises(AssertionError, match="given twice"):
        lay(host, systemd, kept, *forward(made))
