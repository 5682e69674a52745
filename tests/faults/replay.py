# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the real playbook, recorded once and then carried out again without Ansible's cost.

What is recorded is each payload that Ansible sends to the host's Python. A replay sends the same
payloads; the controller's half of a task, which signs certificates, is the real action plugin with
nothing but its connection replaced.
"""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import os
import re
import subprocess
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from machine import STATE, LabError
from situations import Situation
from target import Ran, Target

PROJECT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.hardened.docker.plugins"
PAYLOAD = ("ansible_module", "profile", "params", "zip_data")
OURS = "hardened.docker."
AUTHORITY = STATE / "faults" / "authority"
RECORDER = """\
#!/bin/sh
file=/run/recorded/$(ls /run/recorded | wc -l).payload
cat > "$file"
exec /usr/bin/python3 "$file" "$@"
"""
DEADLY = ("kill", "cut", "midway")
_loading = threading.Lock()
init_plugin_loader()


class Struck(Exception):
    """The run died of the strike."""


@dataclass
class Step:
    """One task of the playbook on the host: its module and arguments, and what is sent along."""

    module: str
    profile: str
    arguments: dict
    files: bytes  # a zip

    @property
    def name(self) -> str:
        """The module as Python calls it."""
        return "%s.modules.%s" % (COLLECTION, self.module)

    @property
    def place(self) -> str:
        return self.name.replace(".", "/") + ".py"


@dataclass
class Run:
    """A run that ended, or died: its events, and the results of its tasks."""

    events: list = field(default_factory=list)
    struck: str = ""  # the event that was struck
    died: bool = False
    changed: bool = False
    failed: str | None = None  # the message of the task that failed
    crash: str = ""  # the words of a module that ended without an answer
    results: list = field(default_factory=list)


def play(target: Target, situation: Situation, record: bool) -> tuple[int, str, list[Step]]:
    """Run the real playbook; return its status, what it printed, and the steps it consisted of."""
    inventory = STATE / "faults" / ("%s.yml" % target.name)
    inventory.parent.mkdir(parents=True, exist_ok=True)
    about = {"ansible_python_interpreter": "/run/recorded/python3"} if record else {}
    inventory.write_text(json.dumps({"docker_hosts": {"hosts": {target.name: about}}}))
    variables = {
        "dockerd_tls_clients": [],
        "dockerd_tls_authority_directory": str(AUTHORITY),
        "dockerd_report": str(STATE / "faults" / ("%s-report.json" % target.name)),
        **situation.variables,
    }
    if record:
        target.run("mkdir", "-p", "/run/recorded", check=True)
        script = target.root / "run/recorded/python3"
        script.write_text(RECORDER)
        script.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MOLECULE_")
    }
    done = subprocess.run(
        [
            *("ansible-playbook", "--inventory", STATE / "inventory.yml", "--inventory", inventory),
            *(("--tags", situation.tags) if situation.tags else ()),
            *("--limit", target.name, "--extra-vars", json.dumps(variables)),
            str(PROJECT / "playbooks" / "harden.yml"),
        ],
        cwd=PROJECT,
        env={**environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    steps: list[Step] = []
    if record:
        place = target.root / "run/recorded"
        files = sorted(place.glob("*.payload"), key=lambda path: int(path.stem))
        steps = [step for step in map(_step, files) if step is not None]
        target.run("rm", "-rf", "/run/recorded")
        if not steps:
            raise LabError("%s: the playbook ran no module\n%s" % (target.name, done.stdout))
    return done.returncode, done.stdout, steps


def _step(path: Path) -> Step | None:
    """A recorded payload of a module of ours; None for another trip of a task."""
    text = path.read_text(encoding="utf-8")
    given = dict(re.findall(r"^(ansible_module|profile|params|zip_data)=('.*'),$", text, re.M))
    if "ansible_module" not in given:
        return None
    module, profile, params, data = map(ast.literal_eval, (given[name] for name in PAYLOAD))
    arguments = json.loads(params)["ANSIBLE_MODULE_ARGS"]
    exchange = arguments.get("exchange") or {}
    if not module.startswith(OURS) or exchange.get("certificates") or exchange.get("look"):
        return None
    return Step(module[len(OURS) :], profile, arguments, base64.b64decode(data))


class Replay:
    """The recorded steps of one host, ready to be carried out."""

    def __init__(self, target: Target, steps: list[Step]) -> None:
        self.target, self.steps = target, steps
        for step in steps:
            if not (target.modules / step.place).exists():
                zipfile.ZipFile(io.BytesIO(step.files)).extractall(target.modules)

    def run(self, kind: str = "", at: int = 0, wait: float = 0) -> Run:
        """Carry all steps out, with a strike at one event of them."""
        run = Run()

        def module(step: Step, arguments: dict) -> Ran:
            order = {"kind": kind, "wait": wait, "at": max(0, at - len(run.events))}
            own = {key: value for key, value in step.arguments.items() if key.startswith("_")}
            # A dictionary's None is a value, an argument's is not.
            given = {key: value for key, value in arguments.items() if value is not None}
            params = json.dumps({"ANSIBLE_MODULE_ARGS": {**own, **given}})
            ran = self.target.module(step.name, step.profile, params, order)
            if ran.struck:
                run.struck = ran.events[ran.struck - 1]
            run.events += ran.events
            if not ran.out and run.struck and kind in DEADLY:
                raise Struck
            if ran.crashed:
                run.crash = ran.crashed
            return ran

        try:
            for step in self.steps:
                result = self._carry_out(step, module)
                run.results.append(result)
                run.changed |= bool(result.get("changed"))
                if result.get("failed"):
                    run.failed = str(result.get("msg", ""))
                    break
        except Struck:
            run.died = True
        return run

    def _carry_out(self, step: Step, module) -> dict:
        arguments = {k: v for k, v in step.arguments.items() if not k.startswith("_")}
        if not (PROJECT / "plugins" / "action" / ("%s.py" % step.module)).exists():
            return module(step, arguments).result
        arguments.pop("exchange", None)
        if step.module == "dockerd_tls":
            arguments["authority"] = str(AUTHORITY)
        action = self._action(step, arguments)

        def execute(module_args: dict, **dummy: object) -> dict:
            ran = module(step, module_args)
            said = {"rc": ran.rc, "stdout": ran.out, "stderr": ran.err}
            return action._parse_returned_data(said, step.profile)

        action._execute_module = execute
        name = self.target.name
        facts = {"inventory_hostname": name, "ansible_host": self.target.address}
        return action.run(task_vars={**facts, "hostvars": {name: facts}, "groups": {"all": [name]}})

    def _action(self, step: Step, arguments: dict):
        """The real action plugin of a module, on nothing but its task."""
        with _loading:
            plugin = importlib.import_module("%s.action.%s" % (COLLECTION, step.module))
        task = SimpleNamespace(
            args=arguments, action=OURS + step.module, check_mode=False, async_val=0
        )
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nonexistent"))
        templar = SimpleNamespace(template=lambda value, **dummy: value)
        return plugin.ActionModule(task, connection, None, DataLoader(), templar)
