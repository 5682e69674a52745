# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules, a file a chapter. A control is a pure function of a snapshot."""

from __future__ import annotations

from ..findings import Control
from . import (
    applied,
    authorization,
    containers,
    daemon,
    files,
    images,
    isolation,
    limits,
    listeners,
    logs,
    rootless,
    startup,
    tls,
    versions,
)

CONTROLS: list[Control] = [
    *startup.CONTROLS,
    *applied.CONTROLS,
    *listeners.CONTROLS,
    *tls.CONTROLS,
    *files.CONTROLS,
    *daemon.CONTROLS,
    *isolation.CONTROLS,
    *limits.CONTROLS,
    *logs.CONTROLS,
    *images.CONTROLS,
    *authorization.CONTROLS,
    *containers.CONTROLS,
    *versions.CONTROLS,
    *rootless.CONTROLS,
]
