# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands in turn, so that they meet the same load, and print the medians of what each costs.

``measure.py RUNS COMMANDS``, where COMMANDS is a JSON object: name -> list of words. Prints JSON:
name -> seconds of CPU, seconds of the clock.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time


def used() -> float:
    """CPU seconds of all that this process has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    runs, commands = int(sys.argv[1]), json.loads(sys.argv[2])
    taken: dict = {name: [] for name in commands}
    for _turn in range(runs):
        for name, words in commands.items():
            cpu, wall = used(), time.monotonic()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            taken[name].append((used() - cpu, time.monotonic() - wall))
    medians = {
        name: [round(statistics.median(column), 2) for column in zip(*rows)]
        for name, rows in taken.items()
    }
    print(json.dumps(medians))


main()
