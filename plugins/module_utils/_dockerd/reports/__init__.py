# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports: one file a format, each from the same result (docs/report.md)."""

from __future__ import annotations

from . import data, junit, page, prometheus, sarif, text
from .words import well_formed

FORMATS = {
    "text": text.render,
    "json": data.render,
    "junit": junit.render,
    "sarif": sarif.render,
    "html": page.render,
    "prometheus": prometheus.render,
}


def render(name: str, result: dict, colour: bool = False) -> str:
    """The result in one of FORMATS; only text knows colour.

    Whatever the strings of the result hold, the report can be encoded as UTF-8. Raises KeyError
    for a name that is not in FORMATS.
    """
    write = FORMATS[name]
    clean = well_formed(result)
    return text.render(clean, colour) if write is text.render else write(clean)
