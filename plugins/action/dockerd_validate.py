# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of dockerd_validate: the gate for the host's answer."""

from __future__ import annotations

from ..module_utils._dockerd import reports
from ..module_utils._dockerd.errors import Refused
from ..plugin_utils.gated import Gated


class ActionModule(Gated):
    """Runs the module behind the gate."""

    MODULE = "dockerd_validate"

    def declared(self):
        found = super().declared()
        del found["reports"]
        return found

    def answer(self, task_vars):
        found = super().answer(task_vars)
        if "findings" not in found:
            return found
        formats = self._task.args.get("formats") or []
        formats = formats.split(",") if isinstance(formats, str) else formats
        # Written here: a report of the host's own may be a program for whoever opens it.
        try:
            told = {key: found[key] for key in self.declared() if key in found}
            told.setdefault("starts", None)  # left out where it cannot be known
            found["reports"] = {one: reports.render(one, told) for one in map(str.strip, formats)}
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("No report can be written of this host's answer: %r." % error) from None
        return found
