# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``dockerd-validate`` command: judge a daemon, or a directory that holds one's files."""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import findings, snapshot
from .controls import CONTROLS
from .errors import DockerdError
from .host import Host
from .instance import Instance
from .reports import text

CLEAN, FINDINGS, NO_VERDICT = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 0, 1 for findings, 2 where nothing could be judged."""
    parser = argparse.ArgumentParser(
        prog="dockerd-validate", description="Judge a Docker daemon by what it does."
    )
    parser.add_argument("--root", default="/", help="a mounted image or a directory of files")
    parser.add_argument("--engine-version", default="", help="where dockerd cannot be asked")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument(
        "--fail-on",
        choices=[*findings.SEVERITIES, "never"],
        default="high",
        help="the lowest severity that gives exit status 1 (default: high)",
    )
    given = parser.parse_args(arguments)
    if not os.path.isdir(given.root):
        sys.stderr.write("dockerd-validate: --root %s is no directory\n" % given.root)
        return NO_VERDICT
    try:
        seen = snapshot.read(Instance(), Host(given.root), given.engine_version)
    except DockerdError as error:
        sys.stderr.write("dockerd-validate: %s\n" % error)
        return NO_VERDICT
    found = findings.judge(seen, CONTROLS)
    data = [finding.as_dict() for finding in found]
    if given.format == "json":
        result = {
            "starts": findings.starts(found),
            "counts": findings.count(found),
            "findings": data,
        }
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        sys.stdout.write(text.render(data, sys.stdout.isatty()))
    if given.fail_on == "never" or not findings.at_least(found, given.fail_on):
        return CLEAN
    return FINDINGS


if __name__ == "__main__":
    raise SystemExit(main())
