#!/usr/bin/env python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares our judge's ``starts`` with dockerd itself. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY / "plugins/module_utils"), str(HERE.parent / "lab")]

import cases  # noqa: E402
import engines  # noqa: E402
import explained  # noqa: E402
import machine  # noqa: E402
import material  # noqa: E402
import rootfs  # noqa: E402
from _dockerd import judgement  # noqa: E402
from _dockerd.errors import DockerdError  # noqa: E402
from _dockerd.host import Host  # noqa: E402

STATE = REPOSITORY / ".ansible/differential"
THRESHOLD = 0.995
WORKER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
WORKER += ("--mount-proc", "--net", "--ipc", "--uts", "--cgroup")


def judge(root: Path, version: str) -> tuple:
    """Our answer to whether the dockerd of a directory starts, and what decided it."""
    try:
        judged = judgement.judge(Host(str(root)), version, names=["system"])
    except DockerdError as error:
        return None, [str(error)]
    decided = [
        "%s: %s" % (one.control.id, one.evidence)
        for one in judged.findings
        if one.control.starts and one.status in ("failed", "unknown")
    ]
    return judged.starts, decided


# -- in a worker


def work(roots: dict, seed: int, number: int) -> None:
    """Answer questions from standard input, one JSON line each."""
    oracle = engines.Engines(roots, STATE / ("scratch%d" % number))
    keys = material.load(STATE / "tls")
    versions = {}
    for line in sys.stdin:
        question = json.loads(line)
        kind, index = question["name"].split(":")
        case = cases.make(kind, seed, int(index))
        files = {
            path: keys[data[4:]] if isinstance(data, str) else data
            for path, data in case.files.items()
        }
        if case.engine not in versions:
            command = ["chroot", roots[case.engine], "/usr/sbin/dockerd", "--version"]
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            versions[case.engine] = words.split()[2].rstrip(",")
        version = versions[case.engine]
        known = question["known"].get("%s %s" % (case.digest, version), {})
        said = {}
        with oracle.host(case.engine, files) as root:
            ours, evidence = judge(root, version)
            said[kind] = known.get(kind) or getattr(oracle, kind)(case, root).__dict__
        if kind == "validate" and said[kind]["starts"] and ours is False:
            # It may know what --validate does not see.
            with oracle.host(case.engine, files) as root:
                said["start"] = known.get("start") or oracle.start(case, root).__dict__
        answer = {
            "name": case.name,
            "engine": "%s (%s)" % (version, case.engine),
            "key": "%s %s" % (case.digest, version),
            "ours": ours,
            "evidence": evidence,
            "said": said,
        }
        print(json.dumps(answer), flush=True)


# -- in the runner


class Worker:
    """A process with namespaces of its own that answers one question at a time."""

    def __init__(self, roots: dict, seed: int, number: int) -> None:
        told = json.dumps([{release: str(path) for release, path in roots.items()}, seed, number])
        self.process = subprocess.Popen(
            [*WORKER, sys.executable, __file__, "--worker", told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, known: dict) -> dict:
        """The answers of both sides. Raises RuntimeError where the worker died."""
        self.process.stdin.write(json.dumps({"name": name, "known": known}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the worker died at %s; its words are above" % name)
        return json.loads(line)


class Memory:
    """What engines said, in a file, so that a killed run goes on where it was.

    An engine's answer holds for as long as the case does; our own is asked for anew each time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict = {}  # case -> digest and version
        self.answers: dict = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the line at which a run was killed
                self.names[entry["name"]] = entry["key"]
                self.answers.setdefault(entry["key"], {}).update(entry["said"])
        self.file = open(path, "a")
        self.file.write("\n")  # behind the line at which a run was killed

    def of(self, name: str) -> dict:
        """What is known of a case."""
        key = self.names.get(name)
        return {key: self.answers[key]} if key else {}

    def keep(self, answer: dict) -> None:
        """Note what was said; a question without an answer is asked again next time."""
        said = {kind: one for kind, one in answer["said"].items() if one["starts"] is not None}
        entry = {"name": answer["name"], "key": answer["key"], "said": said}
        if self.answers.get(answer["key"]) != said:
            print(json.dumps(entry), file=self.file, flush=True)


def verdict(answer: dict) -> str:
    """agreed, settled (by a start), unknown (for the right reason), excluded or different."""
    ours, said = answer["ours"], answer["said"]
    last = said.get("start") or said["validate"]
    if last["starts"] is None:
        return "different"
    if last["starts"] is ours:
        return "settled" if len(said) == 2 else "agreed"
    if explained.machine(last):
        return "excluded"
    right = ours is None and explained.unknowable(answer["evidence"], last)
    return "unknown" if right else "different"


def run(options: argparse.Namespace) -> int:
    """Ask for all cases; return the exit status."""
    machine.require()
    releases = set(cases.ENGINES["start"])
    rootfs.build_all(releases)
    roots = {release: rootfs.path(release) for release in releases}
    STATE.mkdir(parents=True, exist_ok=True)
    material.make(STATE / "tls")
    memory = Memory(STATE / ("seed-%d.jsonl" % options.seed))
    names = options.case or [
        *("validate:%d" % number for number in range(options.cases)),
        *("start:%d" % number for number in range(options.starts)),
    ]
    todo: queue.SimpleQueue = queue.SimpleQueue()
    for name in names:
        todo.put(name)
    answers, lock, started = [], threading.Lock(), time.monotonic()
    failures: list = []

    def serve(number: int) -> None:
        try:
            worker = Worker(roots, options.seed, number)
            while not todo.empty() and not failures:
                name = todo.get_nowait()
                answer = worker.ask(name, {} if options.case else memory.of(name))
                with lock:
                    memory.keep(answer)
                    answers.append(answer)
                    if not len(answers) % 500:
                        spent = time.monotonic() - started
                        print("%6.0f s  %d of %d" % (spent, len(answers), len(names)), flush=True)
            worker.process.stdin.close()
            worker.process.wait()
        except queue.Empty:
            pass
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    if options.case:
        for answer in answers:
            show(cases.make(*_which(answer["name"], options.seed)), answer)
        return 0 if all(verdict(one) != "different" for one in answers) else 1
    return summary(answers, time.monotonic() - started, len(names))


def _which(name: str, seed: int) -> tuple:
    kind, number = name.split(":")
    return kind, seed, int(number)


def show(case: cases.Case, answer: dict) -> None:
    """One case in full."""
    print("%s on %s" % (case.name, answer["engine"]))
    print("  dockerd %s" % " ".join(case.argv))
    for name, value in case.environment.items():
        print("  %s=%s" % (name, value))
    for path, data in case.files.items():
        print("  %s: %s" % (path, data if isinstance(data, str) else data.decode(errors="replace")))
    print("  ours: %s %s" % (answer["ours"], answer["evidence"]))
    for kind, one in answer["said"].items():
        print("  %s: %s %s" % (kind, one["starts"], one["words"]))


def summary(answers: list, seconds: float, wanted: int) -> int:
    """Print the numbers, write the differences; return the exit status."""
    lines, counts = [], Counter()
    groups: dict = {}
    for answer in sorted(answers, key=lambda one: _order(one["name"])):
        kind = answer["name"].partition(":")[0]
        group = groups.setdefault((kind, answer["engine"]), Counter())
        result = verdict(answer)
        last = answer["said"].get("start") or answer["said"]["validate"]
        for counter in (group, counts):
            counter[result] += 1
            counter["seconds"] += sum(one["seconds"] for one in answer["said"].values())
            counter["refused"] += last["starts"] is False
        if result not in ("agreed", "settled"):
            why = explained.why(answer["evidence"], last) or "NOT EXPLAINED"
            counts["unexplained"] += why == "NOT EXPLAINED"
            lines.append(
                "%s  %s  %s\n  %s\n  ours: %s %s\n  dockerd: %s %s\n"
                % (answer["name"], answer["engine"], result, why, answer["ours"],
                   "; ".join(answer["evidence"])[:600], last["starts"], last["words"])
            )  # fmt: skip
    path = STATE / "differences.txt"
    path.write_text("\n".join(lines))
    form = "%-10s%-32s%7s%8s%9s%9s%9s%10s%11s%9s"
    print(form % ("oracle", "engine", "cases", "refused", "agreed", "by start", "unknown",
                  "excluded", "different", "seconds"))  # fmt: skip
    for (kind, engine), group in sorted(groups.items()):
        print(form % _row(kind, engine, group))
    print(form % _row("all", "", counts))
    judged = sum(counts[name] for name in ("agreed", "settled", "different"))
    agreed = counts["agreed"] + counts["settled"]
    rate = agreed / judged if judged else 0
    print(
        "%d of %d agree: %.2f %% (more than %.1f %% is wanted), in %.0f s; %d without explanation,"
        " see %s" % (agreed, judged, 100 * rate, 100 * THRESHOLD, seconds, counts["unexplained"],
                     path.relative_to(REPOSITORY))
    )  # fmt: skip
    return 0 if rate > THRESHOLD and len(answers) == wanted else 1


def _order(name: str) -> tuple:
    kind, number = name.split(":")
    return kind != "validate", int(number)


def _row(kind: str, engine: str, group: Counter) -> tuple:
    results = ("agreed", "settled", "unknown", "excluded", "different")
    total = sum(group[name] for name in results)
    return (kind, engine, total, group["refused"], *(group[name] for name in results),
            "%.0f" % group["seconds"])  # fmt: skip


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="differential.py", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=5000, help="for --validate (default: 5000)")
    parser.add_argument("--starts", type=int, default=300, help="real starts (default: 300)")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument("--case", action="append", metavar="KIND:NUMBER", help="only this, in full")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*json.loads(options.worker))
        return 0
    try:
        return run(options)
    except (machine.LabError, RuntimeError, OSError) as error:
        print("differential: %s" % error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("differential: interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
