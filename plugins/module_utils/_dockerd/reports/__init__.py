# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file a format, all made from one result."""

from __future__ import annotations

import json

from . import text

FORMATS = {
    "text": text.render,
    "json": lambda result, colour: json.dumps(result, indent=2) + "\n",
}


def render(name: str, result: dict, colour: bool = False) -> str:
    """The result, as judgement.Judgement.as_dict gives it, in one of FORMATS."""
    return FORMATS[name](result, colour)
