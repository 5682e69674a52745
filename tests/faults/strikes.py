# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A strike at one event of a run, and the judgement of what became of the host."""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict, astuple, dataclass, field

from machine import LabError
from replay import Replay, Run, Step, play
from situations import SITUATIONS, VIRGIN, Situation
from target import BOOT_SECONDS, Target

NONE = "none"
KINDS = (NONE, "kill", "twice", "midway", "cut", "enospc", "enospc-once", "erofs", "erofs-once")
WAITS = (0.01, 0.06, 0.2)  # seconds into a command
SPACE = ("open", "mkdir", "rename", "link", "symlink")
CAUSES = {"enospc": os.strerror(28), "erofs": os.strerror(30)}
# What a transaction puts in place as a whole. Certificates are another module's.
WHOLE = re.compile(
    r"(?!.*[.]hardened-[0-9a-f]{12}$)"  # what lies ready, unused
    r"(etc/docker/daemon\.json|etc/systemd/system/docker[^/]*(/.*)?"
    r"|home/[^/]+/\.config/(docker/daemon\.json|systemd/.*))"
)
DIRECTORY = "04"  # how its fingerprint begins
LEFT = re.compile(r"new$|/\.[^/]*\.hardened-|^run/|\.draft|/transaction|/\.[^/]*\.[a-z0-9_]{8}$")


@dataclass(frozen=True)
class Strike:
    """What is done: at which event, how, and what happens before the next run."""

    situation: str
    kind: str
    at: int
    wait: float = 0.0
    after: str = "nothing"  # or restart, or boot
    again: int = 0  # the event of the next run at which that is killed, too

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return " ".join(map(str, astuple(self)))


@dataclass
class Outcome:
    """What came of it. ``worse`` is empty where the host is none the worse for it."""

    release: str
    host: str
    strike: Strike
    event: str = ""
    said: str = ""
    worse: list = field(default_factory=list)
    refused: str = ""
    seconds: float = 0.0
    back: float = 0.0  # from the power's return to a host that is old or new

    def as_dict(self) -> dict:
        return asdict(self)


def strikes(situation: Situation, events: list[str]) -> dict[str, list[Strike]]:
    """Every strike at the events of an undisturbed run, by kind."""
    found: dict[str, list[Strike]] = {kind: [] for kind in KINDS}
    found[NONE].append(Strike(situation.name, NONE, 0))

    def add(kind: str, at: int, wait: float = 0.0, after: str = "restart", again: int = 0) -> None:
        found[kind].append(Strike(situation.name, kind, at, wait, after, again))

    for at, event in enumerate(events, 1):
        # A restart by anybody stops containers where live-restore was off; so both are seen.
        quiet = "restart" if situation.keeps or at % 2 else "nothing"
        add("kill", at, after="boot" if at % 5 == 0 else quiet)
        add("cut", at)
        # Anywhere in the next run, which has about as many events: a stride that meets all.
        add("twice", at, after=quiet, again=1 + at * 37 % len(events))
        verb = event.split()[0]
        if verb == "run":
            for wait in WAITS:
                add("midway", at, wait, quiet)
        for kind in KINDS[5:]:
            if verb in SPACE or (kind.startswith("erofs") and verb != "run"):
                add(kind, at, after=quiet)
    return found


@dataclass(frozen=True)
class Record:
    """A situation's run as the real playbook did it: its steps, and how the host was after it."""

    steps: list
    files: dict
    serves: dict


class Ground:
    """A host prepared for one situation: its disk, the recorded run, and how that ends."""

    def __init__(self, target: Target, situation: Situation, recorded: dict) -> None:
        self.target, self.situation = target, situation
        target.users = ()
        self._recorded = recorded  # what became of situations on this host, by name
        self._ready = False
        self._struck = 0
        self._prepare(situation.base)
        target.users = SITUATIONS[situation.base].users if situation.base != VIRGIN else ()
        self.start()
        self.before, self.served = target.files(), target.serves()
        if situation.name not in recorded:
            self._record()
            self.start()
        record = recorded[situation.name]
        self.after = record.files
        self.serves = record.serves if situation.holds else self.served
        self.replay = Replay(target, record.steps)
        self.former = Replay(target, recorded[situation.base].steps)
        run = self.replay.run()
        if (run.failed is None) != situation.holds:
            raise LabError("%s: the replay of %s: %s" % (target.name, situation.name, run.failed))
        self.events = run.events
        target.settle()
        differs = different(self.after, target.files())
        if differs:
            raise LabError("%s: a replay ends otherwise: %s" % (target.name, differs))
        if not situation.holds:
            self.after = self.before

    def _prepare(self, base: str) -> None:
        """Make the disk to start from, where it is not there yet."""
        target = self.target
        if base in self._recorded:
            return
        if base == VIRGIN:
            _furnish(target)
            target.cut()
            target.save(base)
            self._recorded[base] = Record([], {}, {})
        else:
            Ground(target, SITUATIONS[base], self._recorded)

    def _record(self) -> None:
        """Run the real playbook, and keep what it did."""
        target, name = self.target, self.situation.name
        status, printed, steps = play(target, self.situation, True)
        if (status == 0) != self.situation.holds:
            raise LabError("%s: %s\n%s" % (target.name, name, printed))
        target.settle()
        if self.situation.holds:
            for user in self.situation.users:
                _furnish_user(target, user)
        self._recorded[name] = Record(steps, target.files(), target.serves())
        if self.situation.holds:
            target.cut()
            target.save(name)

    def start(self) -> None:
        """Bring the host to the start of the situation, its containers running."""
        target = self.target
        target.load(self.situation.base)
        target.boot()
        if not target.alive(30):
            raise LabError(
                "%s: no daemon after a boot from %s" % (target.name, self.situation.base)
            )
        target.start_containers()
        target.come_back(30)
        target.settle()
        self._struck = 0

    def _return(self, outcome: Outcome) -> bool:
        """Go back to the start by a run; false where the disk has to be put in for that.

        Only from a host that is whole. A long row of such ways back could hide something.
        """
        if outcome.worse or not self.situation.keeps or self._struck > 12:
            return False
        if self.situation.holds and self.former.run().failed is not None:
            return False
        self.target.start_containers()
        self.target.settle()
        self._struck += 1
        same = not different(self.before, self.target.files())
        return same and self.target.serves() == self.served

    def strike(self, strike: Strike) -> Outcome:
        """Strike once and judge."""
        begun = time.monotonic()
        outcome = Outcome(self.target.release, self.target.name, strike)
        if not self._ready:
            self.start()
        self._ready = False
        differs = different(self.before, self.target.files())
        if differs:
            raise LabError("%s does not start as it should: %s" % (self.target.name, differs))
        Judge(self, outcome).judge()
        self._ready = self._return(outcome)
        outcome.seconds = round(time.monotonic() - begun, 1)
        return outcome


class Judge:
    """Strikes, and looks at the host until the run after the next is over."""

    def __init__(self, ground: Ground, outcome: Outcome) -> None:
        self.ground, self.target, self.outcome = ground, ground.target, outcome
        self.strike = outcome.strike
        self.containers = self.target.containers()

    def worse(self, what: str) -> None:
        self.outcome.worse.append(what)

    def judge(self) -> None:
        strike, target = self.strike, self.target
        kind = "kill" if strike.kind == "twice" else strike.kind
        run = self.ground.replay.run(kind, strike.at, strike.wait)
        self.outcome.event = run.struck
        if not run.struck and kind != NONE:
            self.worse("no event %d: the run had %d" % (strike.at, len(run.events)))
        self._said(run)
        if strike.kind == "cut":
            self._boots("after the power loss")
        else:
            target.settle()
            self._stands("before the next run")
        if strike.kind == "twice":
            self._again()
        if strike.after == "restart":
            self._restarts()
        elif strike.after == "boot":
            target.cut()
            self._boots("after a boot")
        self._next_runs(run)

    def _again(self) -> None:
        """Kill the run that mends what the first left; every other time dockerd before it, too."""
        target, strike = self.target, self.strike
        if strike.at % 2 and self.ground.situation.keeps:
            main = ("--signal=KILL", "--kill-who=main", "docker.service")
            target.run("systemctl", "kill", *main)
            target.settle()
        run = self.ground.replay.run("kill", strike.again)
        self.outcome.event += ", then %s" % (run.struck or "nothing")
        target.settle()
        self._stands("after the second strike")

    def _said(self, run: Run) -> None:
        """A run that did not die must say what came in its way."""
        if run.died:
            return
        self.outcome.said = run.failed or ""
        if run.failed is None:
            return
        self._honest(run, "the struck run")
        cause = CAUSES.get(self.strike.kind.partition("-")[0])
        if cause and self.ground.situation.holds and cause.lower() not in run.failed.lower():
            self.worse("the struck run does not name its cause: %s" % run.failed[:300])

    def _honest(self, run: Run, which: str) -> None:
        said = (run.failed or "").strip()
        if run.crash or not said or "Traceback" in said:
            self.worse("%s failed without an honest word: %s" % (which, run.crash or said[-400:]))

    def _stands(self, when: str) -> None:
        """The daemon is alive and unexposed, TCP is served and containers are as before."""
        target, ground = self.target, self.ground
        if not target.alive():
            self.worse("dead %s" % when)
            return
        for what in target.exposed():
            self.worse("exposed %s: %s" % (when, what))
        for port, now in target.serves().items():
            stays = ground.served[port] and ground.serves[port] and not ground.situation.moves
            if stays and not now:
                self.worse("port %d lost %s" % (port, when))
        if not target.come_back():
            self.worse("a container with a restart policy does not run %s" % when)
        now = target.containers()
        lost = [name for name, pid in self.containers.items() if pid and now[name] != pid]
        if lost:
            self.worse("containers lost %s: %s" % (when, ", ".join(lost)))
            self.containers = now

    def _served(self, when: str) -> None:
        """Every port is served that is after a run which nobody strikes."""
        now = self.target.serves()
        for port, served in self.ground.serves.items():
            if served and not now[port]:
                self.worse("port %d is not served %s" % (port, when))

    def _boots(self, when: str) -> None:
        """With nothing but a boot: alive, unexposed, old or new, within a minute."""
        target = self.target
        begun = time.monotonic()
        target.boot()
        wrong = [""]
        while wrong and time.monotonic() < begun + BOOT_SECONDS:
            wrong = self._between()
            if not target.alive(0):
                wrong.append("dead")
            elif not target.come_back(0):
                wrong.append("the container with a restart policy does not run")
            if wrong and target.idle():
                break  # nothing is coming any more
            time.sleep(0.2)
        self.outcome.back = round(time.monotonic() - begun, 1)
        for what in wrong:
            self.worse("%s %s" % (what, when))
        self.containers = target.containers()
        self._stands(when)

    def _between(self) -> list[str]:
        now, ground = self.target.files(), self.ground
        mine = {
            path
            for path, about in {**ground.before, **ground.after, **now}.items()
            if WHOLE.fullmatch(path) and not about.startswith(DIRECTORY)
        }
        states = [
            [path for path in sorted(mine) if now.get(path) != state.get(path)]
            for state in (ground.before, ground.after)
        ]
        return (
            [] if not all(states) else ["neither old (%s) nor new (%s)" % tuple(map(_few, states))]
        )

    def _restarts(self) -> None:
        """As a package's upgrade or an administrator would."""
        target = self.target
        for user in ("", *target.users):
            target.run(*target.systemctl(user), "restart", "docker.service")
        target.settle()
        if not self.ground.situation.keeps and target.alive():
            # As it was before the run: they end with the daemon, and come back by their policy.
            target.come_back()
            self.containers = target.containers()
        self._stands("after a restart")

    def _next_runs(self, struck: Run) -> None:
        ground, target = self.ground, self.target
        run = ground.replay.run()
        if ground.situation.holds:
            if struck.failed is None and not struck.died and run.changed:
                self.worse("the struck run ended well, and the next changed the host")
            if run.failed is not None:
                self._honest(run, "the next run")
                self.outcome.refused = run.failed
                run = ground.replay.run()
            if run.failed is not None:
                self.worse("the run after a refusal failed: %s" % run.failed[:400])
            goal, again = ground.after, ground.replay
        else:
            if run.failed is None:
                self.worse("the next run ended well, which it cannot")
            else:
                self._honest(run, "the next run")
            goal, again = ground.after, ground.former
            self._stands("after the next run")
            self._served("after the next run")
            run = again.run()
            if run.failed is not None:
                self.worse("the run to the former state failed: %s" % run.failed[:400])
        target.settle()
        self._stands("in the end")
        self._served("in the end")
        differs = different(goal, target.files())
        if differs:
            left = [path for path in differs if LEFT.search(path)]
            self.worse("left behind: %s" % _few(left) if left else "not whole: %s" % _few(differs))
        run = again.run()
        if run.failed is not None or run.changed:
            words = run.failed or [
                result.get("files") or result.get("reasons") or result.get("steps")
                for result in run.results
                if result.get("changed")
            ]
            self.worse("the run after the next is not unchanged: %s" % str(words)[:300])


def different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Paths whose fingerprints differ."""
    return sorted(path for path in {**one, **other} if one.get(path) != other.get(path))


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:4]) + (" and %d more" % (len(paths) - 4) if len(paths) > 4 else "")


def _furnish(target: Target) -> None:
    """A host as after its first boot, with an image and two containers."""
    target.run("docker", "import", "/opt/busybox.tar", "busybox", check=True)
    serve = ["busybox", "httpd", "-f", "-p", "8080"]
    start = ["docker", "run", "--detach", "--name"]
    target.run(*start, "survivor", "--publish", "8080:8080", *serve, check=True)
    target.run(*start, "keeper", "--restart=unless-stopped", *serve, check=True)
    target.settle()


def _furnish_user(target: Target, user: str) -> None:
    """A container of a user's, whose restart policy brings it back."""
    runtime = target.systemctl(user)[:-2]
    if not target.process("keeper", user):
        docker = [
            *runtime,
            "docker",
            "--host",
            "unix:///run/user/%d/docker.sock" % target.uid(user),
        ]
        target.run(*docker, "import", "/opt/busybox.tar", "busybox", check=True)
        serve = ["busybox", "httpd", "-f", "-p", "8080"]
        target.run(
            *docker, "run", "--detach", "--name=keeper", "--restart=always", *serve, check=True
        )


__all__ = ["Ground", "Outcome", "Step", "Strike", "strikes"]
