# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of dockerd_rootless: the gate for the host's answer."""

from __future__ import annotations

from ..module_utils._dockerd import answers
from ..module_utils._dockerd.errors import Refused
from ..plugin_utils.gated import Gated


class ActionModule(Gated):
    """Runs the module behind the gate."""

    MODULE = "dockerd_rootless"

    def answer(self, task_vars):
        found = super().answer(task_vars)
        wanted = [str(one["name"]) for one in self._task.args.get("users") or []]
        named = [one["name"] for one in found.get("users", [])]
        others = set(found.get("failures", ())) - set(wanted)
        if others or ("users" in found and named != wanted):
            said = answers.one_line(", ".join([*named, *sorted(others)]))
            raise Refused(
                "This host answers for the users %s; asked for were %s. Look at who answers there."
                % (said or "none", ", ".join(wanted) or "none")
            )
        return found
