# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of each of our modules: nothing of a host's comes in but by one gate.

Private to the collection; it may change without notice.
"""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from pathlib import Path

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

from ..module_utils._dockerd import answers
from ..module_utils._dockerd.errors import DockerdError, Refused

COLLECTION = "hardened.docker"
# What no fact may be called: the variables of our roles, and those of Ansible's own by which a host
# and the place of the inventory are known. Facts are stronger than they (VariableManager.get_vars).
NO_FACT = re.compile("dockerd_|inventory_|group_names$")


class Gated(ActionBase):
    """Runs the module of the subclass's name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    MODULE: str

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        try:
            check_facts(task_vars)
            result.update(self.answer(task_vars))
        except DockerdError as error:
            # The words may be about what the host said.
            result.update(failed=True, msg=answers.one_line(error))
        finally:
            # Within the task's timeout, which what Ansible does after it is not.
            self.cleanup()
        return result

    def answer(self, task_vars: dict) -> dict:
        """The task's result. Raises DockerdError."""
        return self.ask(self._task.args, task_vars)

    def ask(self, arguments: dict, task_vars: dict, module: str = "") -> dict:
        """Run the module on the host; what passes the gate.

        Of another ``module`` that is whether it failed and changed anything, and its message.
        """
        self._expected = {} if module else self.declared()
        try:
            return self._execute_module(
                module_name=module or "%s.%s" % (COLLECTION, self.MODULE),
                module_args=arguments,
                task_vars=task_vars,
            )
        except AnsibleConnectionFailure as error:
            # With exit status 255 a host has its own words in here, and without pipelining others.
            raise AnsibleConnectionFailure(answers.one_line(error)) from None
        except AnsibleError as error:
            raise AnsibleActionFail(answers.one_line(error)) from None

    def _parse_returned_data(self, res, *profile):
        """Before Ansible's own, which shows what it cannot parse and obeys markers."""
        output, said = (res.get(name) or "" for name in ("stdout", "stderr"))
        try:
            found = answers.accept(output, said, self.MODULE, self._expected)
        except DockerdError as error:
            found = {"failed": True, "msg": str(error), **error.facts}
        # What that makes of an answer is another thing in each version of ansible-core.
        clean = {**res, "stdout": json.dumps(found), "stdout_lines": [], "stderr": "", "rc": 0}
        return super()._parse_returned_data(clean, *profile)

    def _remove_tmp_path(self, tmp_path, force=False):
        """In the place of Ansible's own, which shows what the host says of it, and asks again."""
        shell = self._connection._shell
        path = tmp_path or shell.tmpdir
        if force or self._should_remove_tmp_path(path):
            shell.tmpdir = None
            with suppress(AnsibleError):  # in the host's words, and what went wrong before counts
                self._low_level_execute_command(shell.remove(path, recurse=True), sudoable=False)

    def declared(self) -> dict:
        """What the host may answer, in the form of RETURN."""
        return returned(self.MODULE)


def returned(module: str) -> dict:
    """A module's RETURN, read from its source: to import a module costs a hundred times more."""
    path = Path(__file__).parents[1] / "modules" / (module + ".py")
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "RETURN":
            return yaml_load(node.value.value)
    raise LookupError(path)


def claimed(about: dict) -> list:
    """The names among a host's facts that are none."""
    return [str(name) for name in about.get("ansible_facts") or {} if NO_FACT.match(str(name))]


def check_facts(task_vars: dict) -> None:
    """Raises Refused where a variable comes from the host that is not for it to set.

    Facts are stronger than inventory and defaults of roles (Ansible's order of precedence), and
    any module that ran before may have brought them.
    """
    found = sorted(map(answers.one_line, claimed(task_vars)))
    if found:
        raise Refused(
            "This host's facts hold %s: variables that no host may set. Look at who "
            "answers there. If a play of yours made it with set_fact, leave cacheable out; a cache "
            "of facts is emptied with ansible-playbook --flush-cache." % ", ".join(found[:5])
        )
