# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of dockerd_rootless: the gate for the host's answer."""

from __future__ import annotations

from ..plugin_utils.gated import Gated


class ActionModule(Gated):
    """Runs the module behind the gate."""

    MODULE = "dockerd_rootless"
