# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook as an operator would, and know afterwards what each task did on each host."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HARDEN = PROJECT / "playbooks" / "harden.yml"
CALLBACKS = PROJECT / "tests" / "testinfra" / "callbacks"
ON_HOST = PROJECT / "tests" / "testinfra" / "on_host"


@dataclass(frozen=True)
class Run:
    """A run that ended: exit status, what it printed, what each task did."""

    rc: int
    output: str
    results: list

    def of(self, host: str, task: str) -> dict:
        """The result of the one task on a host whose name ends like this."""
        found = [
            entry["result"]
            for entry in self.results
            if entry["host"] == host
            and entry["task"].endswith(task)
            and entry["status"] != "skipped"
        ]
        assert len(found) == 1, "%s on %s: %d results\n%s" % (task, host, len(found), self.output)
        return found[0]

    def changed(self, host: str) -> list:
        """The names of the tasks that changed a host, or would."""
        return [
            entry["task"]
            for entry in self.results
            if entry["host"] == host and entry["result"].get("changed")
        ]

    def failure(self) -> str:
        """What the only task that failed said."""
        failed = [entry for entry in self.results if entry["status"] == "failed"]
        assert self.rc != 0
        assert len(failed) == 1, self.output
        return failed[0]["result"]["msg"]


def environment(config: Path, record: str) -> dict:
    """The operator's: nothing of Molecule's, nothing of Ansible's but what is named here."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_"))
    }
    return {
        **clean,
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "RECORD": record,
    }


def play(playbook: Path, inventory: str, *options: str, log: str = "", project=PROJECT) -> Run:
    """Run a playbook of a project; options that are dictionaries become extra variables."""
    words = ["ansible-playbook", "--inventory", inventory, str(playbook)]
    for option in options:
        words += [option] if isinstance(option, str) else ["--extra-vars", json.dumps(option)]
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as record:
        env = environment(project / "ansible.cfg", record.name)
        if log:
            env["ANSIBLE_LOG_PATH"] = log
        done = subprocess.run(
            words,
            cwd=project,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, [json.loads(line) for line in record])


def output(*words: str) -> str:
    """What a command of the controller prints."""
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
