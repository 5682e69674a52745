#!/usr/bin/env python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strike at every change that a run makes to real hosts. See README.md beside this file."""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

import lab
import machine
from situations import SITUATIONS
from strikes import KINDS, Ground, Strike, strikes
from target import Target

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("plugins", "roles", "playbooks", "tests/faults")


def chosen(
    everything: dict[tuple, list[Strike]], limit: int, seed: int
) -> dict[tuple, list[Strike]]:
    """As many strikes as are wanted, spread evenly over groups and within each."""
    mixed = {}
    for group, those in everything.items():
        mixed[group] = list(those)
        random.Random("%d %s" % (seed, group)).shuffle(mixed[group])
    taken: dict[tuple, list[Strike]] = {group: [] for group in mixed}
    left = limit or sum(map(len, mixed.values()))
    while left > 0 and any(mixed.values()):
        for group, those in mixed.items():
            if those and left > 0:
                taken[group].append(those.pop())
                left -= 1
    return taken


class Campaign:
    """The strikes of one run of this program, and their outcomes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.record = options.record or _record(options.seed)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.outcomes: list[dict] = []
        self.done: set[str] = set()
        if self.record.exists():
            for line in self.record.read_text(encoding="utf-8").splitlines():
                self._count(json.loads(line))
        if self.done:
            machine.say("%d strikes are in %s already" % (len(self.done), self.record))
        self.lock = threading.Lock()
        self.broken: list[str] = []
        self.begun = time.monotonic()

    def _count(self, outcome: dict) -> None:
        self.outcomes.append(outcome)
        self.done.add("%s %s" % (outcome["release"], Strike(**outcome["strike"]).key))

    def carry_out(self, names: list[str]) -> None:
        """Strike on all hosts at once, one situation after the other."""
        targets = [Target(name) for name in names]
        self.recorded: dict[str, dict] = {target.name: {} for target in targets}
        releases = sorted({target.release for target in targets})
        groups = max(1, len(self.options.situations) * len(releases))
        share = -(-self.options.limit // groups) if self.options.limit else 0
        self.queues: dict[str, collections.deque] = {}
        for name in self.options.situations:
            self.queues = {}
            threads = [
                threading.Thread(target=self._serve, args=(target, name, share))
                for target in targets
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _serve(self, target: Target, name: str, share: int) -> None:
        """Strike on one host in one situation until none is left."""
        try:
            ground = Ground(target, SITUATIONS[name], self.recorded[target.name])
            queue = self._queue(target.release, ground, share)
            while True:
                try:
                    strike = queue.popleft()
                except IndexError:
                    return
                self._take(ground.strike(strike).as_dict())
        except Exception as error:  # another host may go on
            self.broken.append("%s, %s: %s: %s" % (target.name, name, type(error).__name__, error))
            machine.say("BROKEN %s" % self.broken[-1])
            if not isinstance(error, machine.LabError):
                raise

    def _queue(self, release: str, ground: Ground, share: int) -> collections.deque:
        with self.lock:
            if release not in self.queues:
                all_of_them = strikes(ground.situation, ground.events)
                wanted = {
                    kind: [one for one in all_of_them[kind] if self._meant(one, ground.events)]
                    for kind in self.options.strikes
                }
                taken = chosen(wanted, share, self.options.seed)
                flat = [
                    one
                    for those in taken.values()
                    for one in those
                    if "%s %s" % (release, one.key) not in self.done
                ]
                flat.sort(key=lambda one: (one.at, one.kind, one.wait))
                self.queues[release] = collections.deque(flat)
                machine.say(
                    "%s on %s: %d events, %d strikes"
                    % (ground.situation.name, release, len(ground.events), len(flat))
                )
            return self.queues[release]

    def _meant(self, strike: Strike, events: list[str]) -> bool:
        event = events[strike.at - 1] if strike.at else ""
        return bool(re.search(self.options.events, event)) or not strike.at

    def _take(self, outcome: dict) -> None:
        with self.lock:
            self._count(outcome)
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome) + "\n")
            strike = outcome["strike"]
            words = "%-10s %-16s %-12s %4d  %s" % (
                *(outcome["host"], strike["situation"], strike["kind"], strike["at"]),
                outcome["event"],
            )
            if outcome["worse"] or self.options.verbose:
                machine.say(
                    "%s%s" % (words, "".join("\n      WORSE %s" % w for w in outcome["worse"]))
                )

    def summary(self) -> str:
        """The table: situations and strikes."""
        kinds = [kind for kind in KINDS if kind in self.options.strikes]
        rows = [["strikes / worse", *kinds, "all"]]
        for release in sorted({one["release"] for one in self.outcomes}):
            for name in self.options.situations:
                row = ["%s, %s" % (name, release)]
                for kind in [*kinds, None]:
                    row.append(_cell(self._of(release, name, kind)))
                rows.append(row)
        rows.append(["all", *[_cell(self._of(None, None, kind)) for kind in [*kinds, None]]])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        form = "  ".join(["%%-%ds" % widths[0], *("%%%ds" % width for width in widths[1:])])
        return "\n".join(form % tuple(row) for row in rows)

    def _of(self, release, name, kind) -> list[dict]:
        return [
            one
            for one in self.outcomes
            if release in (None, one["release"])
            and name in (None, one["strike"]["situation"])
            and kind in (None, one["strike"]["kind"])
        ]


def _cell(outcomes: list[dict]) -> str:
    return (
        "%d / %d" % (len(outcomes), sum(bool(one["worse"]) for one in outcomes))
        if outcomes
        else "-"
    )


def _record(seed: int) -> Path:
    """Where outcomes are kept: for this very code, so that a killed run goes on where it was."""
    digest = hashlib.sha256()
    for source in SOURCES:
        for path in sorted((PROJECT / source).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.read_bytes())
    return PROJECT / ".ansible" / "faults" / ("%s-seed-%d.jsonl" % (digest.hexdigest()[:10], seed))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    env = os.environ.get
    words = argparse.ArgumentParser(prog="faults.py", description=__doc__)
    words.add_argument(
        "--situations", default=env("FAULTS_SITUATIONS") or " ".join(SITUATIONS), metavar="NAMES"
    )
    words.add_argument(
        "--strikes", default=env("FAULTS_STRIKES") or " ".join(KINDS), metavar="KINDS"
    )
    words.add_argument("--events", default=env("FAULTS_EVENTS") or "", metavar="REGEX")
    words.add_argument("--limit", type=int, default=int(env("FAULTS_LIMIT") or 1000), metavar="N")
    words.add_argument("--seed", type=int, default=int(env("SEED") or 1))
    words.add_argument("--hosts", default=env("LAB_HOSTS") or lab.DEFAULT_HOSTS, metavar="LIST")
    words.add_argument("--record", type=Path, help="default: .ansible/faults/CODE-seed-N.jsonl")
    words.add_argument("--verbose", action="store_true", help="a line for each strike")
    return words


def main() -> int:
    """Strike; return 1 where a host is worse for it, 2 where it could not be told."""
    options = parser().parse_args()
    options.situations, options.strikes = options.situations.split(), options.strikes.split()
    for given, known in ((options.situations, SITUATIONS), (options.strikes, KINDS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            print(
                "faults: %s: not among %s" % (", ".join(unknown), ", ".join(known)), file=sys.stderr
            )
            return 2
    command = [sys.executable, PROJECT / "tests" / "lab" / "lab.py"]
    names = [host.name for host in lab.wanted(options.hosts)]
    subprocess.run([*command, "up", "--hosts", options.hosts], check=True)
    subprocess.run([*command, "reset", *names], check=True)
    machine.remove(machine.STATE / "faults" / "modules")  # of other code, perhaps
    campaign = Campaign(options)
    campaign.carry_out(names)
    print(campaign.summary())
    print("Details: %s" % campaign.record)
    if campaign.broken:
        print("%d times it could not be told, see BROKEN above" % len(campaign.broken))
    worse = sum(bool(one["worse"]) for one in campaign.outcomes)
    print("%d strikes, %d hosts worse" % (len(campaign.outcomes), worse))
    return 1 if worse else 2 if campaign.broken or not campaign.outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
