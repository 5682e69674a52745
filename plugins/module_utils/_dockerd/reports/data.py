# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result itself as JSON: docs/report.md, docs/report.schema.json."""

from __future__ import annotations

import json


def render(result: dict) -> str:
    """The document in ASCII, so that no terminal obeys what evidence holds."""
    return json.dumps(result, indent=2) + "\n"
