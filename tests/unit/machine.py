# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a systemd and a dockerd of a few rules, which can be cut off at any step.

It has the rules by which containers and listeners are lost, as they were seen on real hosts; the
scenarios in molecule hold the same code against real ones.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from contextlib import contextmanager

from _dockerd import drift, guard, recovery, units
from _dockerd.does import Does, Process
from _dockerd.errors import HostError
from _dockerd.host import Candidate, Host, Result, Stat, digest
from _dockerd.instance import Instance
from _dockerd.told import read_told
from conftest import CONFIG, DEBIAN, SHOWN, Directory

INSTANCE = Instance()
BOOT = "/proc/sys/kernel/random/boot_id"
UNITS = {INSTANCE.tls_socket_path, *INSTANCE.written}
SWARM = "/var/lib/docker/swarm/docker-state.json"
CHANGES = (
    *("write", "remove", "append", "rename", "remove_tree", "own", "make_directory", "run"),
    *("promote", "tidy"),
)


class Cut(BaseException):
    """The run is killed; what it left is what the next one finds."""


class Machine(Directory):
    """A live host below a directory, as a packaged engine leaves it, and running."""

    live = True

    def __init__(self, root):
        super().__init__(root)
        self.asked = []  # commands, and the changes of files, in order
        self.cut = None  # at which of them the run is killed
        self.broken = set()  # files that cannot be written
        self.full = False  # whether the disk has no space for a new file
        self.meddle = {}  # words of systemctl -> what somebody else does right before
        self.process = None
        self.unix, self.tls = True, False
        self.containers, self.killed = {}, []
        self.exposed = False
        self.pids = 1000

    @classmethod
    def made(cls, root, containers=()):
        """A host on which dockerd runs as packaged, with containers of these names."""
        host = cls(str(root))
        for path, text in DEBIAN.items():
            host.put(path, text)
        host.put("/usr/sbin/dockerd", "")
        host.put("/run/docker.sock", "")
        host.put(INSTANCE.state_directory + "/x", "")
        host.remove(INSTANCE.state_directory + "/x")
        host.put(BOOT, "boot-1\n")
        host.load()
        host.start()
        host.containers = {"id-" + name: (name, 40 + i) for i, name in enumerate(containers)}
        host.asked.clear()
        return host

    def copied(self, root):
        """The same host at the same moment, for another course of events."""
        shutil.copytree(self.root, str(root), symlinks=True)
        other = copy.copy(self)
        other.__dict__.update(
            root=str(root),
            asked=[],
            killed=list(self.killed),
            containers=dict(self.containers),
            loaded=dict(self.loaded),
            process=copy.deepcopy(self.process),
        )
        return other

    # -- a directory that passes for the machine

    def real(self, path):
        return Directory(self.root).real(path)

    def resolve(self, path):
        return Directory(self.root).resolve(path)

    def seen_by(self, user, ours=()):
        return self

    def _look_up(self, *words):
        return Directory(self.root)._look_up(*words)

    # -- cut off, and in the way

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return self._counted(name, found) if name in CHANGES else found

    def _counted(self, name, change):
        def counted(what, *rest, **more):
            self.asked.append(" ".join(what) if name == "run" else "%s %s" % (name, what))
            if self.cut and self.cut <= len(self.asked):
                raise Cut  # and again, whatever it does about that: it is dead
            stuck = [
                one for one in (what, *rest[:1]) if isinstance(one, str) and one in self.broken
            ]
            if stuck and name != "tidy":
                raise HostError("%s: Read-only file system" % stuck[0])
            if self.full and name in ("write", "append", "make_directory"):
                raise HostError("%s: No space left on device" % what)
            return change(what, *rest, **more)

        return counted

    # -- systemd

    def load(self):
        names = {*UNITS, *getattr(self, "loaded", ())}
        self.loaded = {path: self.optional(path) for path in names}

    def view(self):
        """Units as they were last loaded, all else as it is on disk."""
        return Candidate(Host(self.root), self.loaded)

    def told(self, version="26.1.5"):
        return read_told(INSTANCE, self.view(), version)

    def run(self, argv, timeout=30, env=None, standard_input=b""):
        words = [word for word in argv if word != "--no-block"]
        if words[0] != "systemctl":
            return Result(0, "Docker version 26.1.5, build x" if "--version" in words else "", "")
        meddler = self.meddle.pop(" ".join(words[1:]), None)
        if meddler:
            meddler()
        return Result(*self._systemctl(*words[1:]))

    def _systemctl(self, verb, *names):
        if verb == "daemon-reload":
            self.load()
        elif verb == "show":
            state = "active" if self.process else "failed"
            return 0, "ActiveState=%s\nExecMainStartTimestampMonotonic=5\n" % state, ""
        elif (verb, names[0]) == ("stop", INSTANCE.tls_socket):
            self.tls = False
        elif (verb, names[0]) == ("start", INSTANCE.tls_socket):
            self.tls = self.told().tls_socket is not None
        elif verb == "reload":
            return (0, "", "") if self.reload() else (1, "", "not active")
        elif verb == "restart":
            self.stop()
            self.unix = True
            return (0, "", "") if self.start() else (1, "", "Job for %s failed" % names[0])
        elif (verb, names[0]) == ("start", INSTANCE.service):
            return (0, "", "") if self.process or self.start() else (1, "", "failed")
        return 0, "", ""

    # -- dockerd

    def stop(self):
        if self.process and not self.process["live_restore"]:
            self._kill()
        self.process = None

    def _kill(self):
        self.killed += self.containers.values()
        self.containers = {}

    def start(self):
        told = self.told()
        self.unix = True
        guarded = bool(self.loaded.get(INSTANCE.guard_dropin))
        if guarded:
            self.tls |= told.tls_socket is not None
            if self._overtaken():
                return False
            self.tls &= guard.verifies(self.real(told.config_path))
        twice = {flag.directive for flag in told.flags} & set(told.data)
        if twice or told.document is None or "no-such-directive" in told.data:
            return False
        live_restore = told.setting("live-restore") is True
        if live_restore and self.stat(SWARM):
            return False  # dockerd refuses it on a swarm node
        if not live_restore:
            self._kill()  # a daemon without it stops those that it finds
        self.exposed |= bool(self.tls and not told.verifies)
        self.pids += 1
        self.process = {
            "pid": self.pids,
            "started": time.time(),
            "words": [word.text for word in told.words],
            "live_restore": live_restore,
            "tls": self.tls,
        }
        return True

    def _overtaken(self):
        """As guard.overtaken, whose paths would be this machine's own."""
        expected = json.loads(self.optional(INSTANCE.expected_path) or b"{}")
        if not self.stat(INSTANCE.lock_path) or not guard._held(self.real(INSTANCE.lock_path)):
            return False
        return any(digest(self.optional(path)) != value for path, value in expected.items())

    def reload(self):
        if not self.process:
            return False
        wanted = self.told().data.get("live-restore")
        if isinstance(wanted, bool):  # an absent one leaves a running daemon as it is
            self.process["live_restore"] = wanted
        return True

    def power_off(self):
        """Without a word to anybody: what is in memory is gone, with all containers."""
        self.process, self.containers = None, {}
        for path in (INSTANCE.lock_path, INSTANCE.expected_path):
            Host.remove(self, path)
        self.put(BOOT, "boot-%d\n" % (int(self.boot.rpartition("-")[2]) + 1))
        self.tls = False

    def boot_up(self):
        """What systemd does: it loads the units, recovers where its unit says so, and starts."""
        self.load()
        if self.loaded.get(INSTANCE.recovery_path) and self.stat(INSTANCE.journal_directory):
            with self.locked(INSTANCE.lock_path):
                recovery._recover(INSTANCE, self)
        return self.start()

    # -- what is seen of it

    def does(self, *_words):
        active = {
            INSTANCE.service: self.process is not None,
            INSTANCE.socket: self.unix,
            INSTANCE.tls_socket: self.tls,
        }
        shown = {
            name: {
                "ActiveState": "active" if up else "inactive",
                "Listen": "/run/docker.sock (Stream)",
                "UnitFileState": "enabled",
            }
            for name, up in active.items()
        }
        bound = {}
        unit = self.told().tls_socket
        if self.tls and unit:
            for value in units.listeners(unit):
                bound.update({place: {2} for place in drift._places(value)})
        found = Does(
            units=shown,
            inode=Stat("socket", 0o660, 0, 998, 0, 0.0, 1) if self.unix else None,
            bound=bound,
            paths={INSTANCE.socket_path: {1}} if self.unix else {},
            manager={1, 2},
        )
        if self.process:
            one = self.process
            identity = [self.boot, one["pid"], 1]
            found.process = Process(one["pid"], one["started"], identity, one["words"])
            found.answers, found.info = True, self._info()
            found.containers = dict(self.containers)
            found.descriptors = {1, 2} if one["tls"] else {1}
        return found

    def _info(self):
        return {**SHOWN, "LiveRestoreEnabled": self.process["live_restore"]}

    def get(self, path, url, timeout=5):
        if not self.process:
            raise HostError("%s: Connection refused" % path)
        if url == "/info":
            return 200, json.dumps(self._info()).encode()
        if url == "/containers/json":
            return 200, json.dumps([{"Id": one} for one in self.containers]).encode()
        number = url.split("/")[2]
        if number in self.containers:
            name, pid = self.containers[number]
            told = {"Name": "/" + name, "State": {"Running": True, "Pid": pid}}
            return 200, json.dumps(told).encode()
        return 200, json.dumps({"State": {"Running": False, "ExitCode": 137}}).encode()

    def systemctl(self):
        """What was asked of systemd, without the queries."""
        words = [one.split(" ", 1)[1] for one in self.asked if one.startswith("systemctl ")]
        return [one for one in words if not one.startswith("show")]


@contextmanager
def killed_at(host, number):
    """The run within is killed at its n-th change; ``as`` says whether it came to that."""
    host.asked.clear()
    host.cut, hit = number, []
    try:
        yield hit
    except Cut:
        hit.append(number)
    finally:
        host.cut = None


def foreign(data):
    """What somebody else writes in place of daemon.json."""
    return lambda host: host.put(CONFIG, data)
