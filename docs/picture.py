# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn what a terminal showed, colours included, into an SVG: standard input to standard output.

docs/harden.svg is the end of a run on two fresh hosts of the lab, from the second host on:
    command='ansible-playbook --inventory .lab/inventory.yml playbooks/harden.yml'
    ANSIBLE_FORCE_COLOR=1 $command | python3 docs/picture.py "$command" > docs/harden.svg
"""

from __future__ import annotations

import re
import sys
from itertools import groupby
from operator import itemgetter
from xml.sax.saxutils import escape

# On a dark ground of its own, so that the page's own colour does not matter.
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "35": "#d2a8ff"}
COLOURS["36"] = "#76e3ea"
GROUND, TEXT, DIM = "#0d1117", "#e6edf3", "#8b949e"
COLUMNS = 100
HIGH, EDGE = 20, 16  # of a line, around the text, in pixels
WIDTH = COLUMNS * 17 // 2 + 2 * EDGE  # a character of 14 pixels is less than 8.5 wide
CODE = re.compile("\x1b\\[([0-9;]*)m")


def rows(line: str) -> list[str]:
    """A line as the rows of SVG text that a terminal makes of it."""
    cells, colour = [], TEXT
    for number, piece in enumerate(CODE.split(line)):
        if number % 2:
            colour = next((COLOURS[one] for one in piece.split(";") if one in COLOURS), TEXT)
        else:
            cells += [(colour, character) for character in piece]
    found = []
    for start in range(0, max(len(cells), 1), COLUMNS):
        runs = groupby(cells[start : start + COLUMNS], key=itemgetter(0))
        words = [(fill, escape("".join(one for _fill, one in run))) for fill, run in runs]
        found.append("".join('<tspan fill="%s">%s</tspan>' % word for word in words))
    return found


def picture(command: str, lines: list[str]) -> str:
    """The whole file."""
    shown = ['<tspan fill="%s">$ </tspan>%s' % (DIM, escape(command))]
    shown += ['<tspan fill="%s">...</tspan>' % DIM]
    shown += [row for line in lines for row in rows(line)]
    text = "\n".join(
        '<text x="%d" y="%d">%s</text>' % (EDGE, EDGE + 14 + number * HIGH, row)
        for number, row in enumerate(shown)
        if row
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 %d %d"'
        ' role="img" aria-label="The end of what %s prints">\n'
        "<style>text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;"
        " white-space: pre; fill: %s }</style>\n"
        '<rect x="0.5" y="0.5" width="%d" height="%d" rx="8" fill="%s" stroke="%s"/>\n%s\n</svg>\n'
        % (
            *(WIDTH, len(shown) * HIGH + 2 * EDGE, escape(command), TEXT),
            *(WIDTH - 1, len(shown) * HIGH + 2 * EDGE - 1, GROUND, DIM, text),
        )
    )


def main(command: str) -> None:
    """Show the last play and Ansible's recap."""
    lines = sys.stdin.read().rstrip().splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("PLAY ")]
    sys.stdout.write(picture(command, lines[begins[-2] :]))


if __name__ == "__main__":
    main(sys.argv[1])
