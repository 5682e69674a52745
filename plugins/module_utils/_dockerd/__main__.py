# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``dockerd-validate`` command: judge a host's daemons, or a directory of files."""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import VERSION, findings, reports
from .controls import CONTROLS
from .directives import parse_version
from .errors import DockerdError
from .findings import NO_VERDICT, Waiver
from .host import Host
from .judgement import judge

EPILOG = """\
exit status:
  0  nothing failed at --fail-on or above
  1  something did
  2  nothing did, but some of that could not be judged; or the command line is wrong
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = _parser().parse_args(arguments)
    try:
        accepted = _waivers(given.waivers)
        if not os.path.isdir(given.root):
            raise DockerdError("--root %s is no directory" % given.root)
        host = Host(given.root)
        if host.live and given.flags is not None:
            raise DockerdError("--flags goes with --root: a running host has flags of its own")
        judgement = judge(host, given.engine_version or "", given.flags, accepted, given.instance)
    except DockerdError as error:
        sys.stderr.write("dockerd-validate: %s\n" % error)
        return NO_VERDICT
    colour = given.output == "-" and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    text = reports.render(given.format, judgement.as_dict(), colour)
    try:
        _write(given.output, text)
    except OSError as error:
        sys.stderr.write("dockerd-validate: --output %s: %s\n" % (given.output, error.strerror))
        return NO_VERDICT
    return findings.exit_status(judgement.findings, given.fail_on)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dockerd-validate",
        description="Judge Docker daemons by what they do; change nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version="dockerd-validate " + VERSION)
    parser.add_argument(
        "--root", default="/", help="a mounted image, or a directory with files at their paths"
    )
    parser.add_argument(
        "--engine-version",
        type=_version,
        help="such as 28.5.2, where dockerd cannot be asked",
    )
    parser.add_argument(
        "--flags",
        help="dockerd's flags, with --root (default: those of the unit found there, or else of the"
        " stock docker.service)",
    )
    parser.add_argument(
        "--instance",
        action="append",
        default=[],
        help="a daemon by name: system, or user:NAME; may be repeated (default: all)",
    )
    parser.add_argument(
        "--waivers", help="a JSON file: a list of objects with id, reason, expires, instance"
    )
    parser.add_argument("--format", choices=list(reports.FORMATS), default="text")
    parser.add_argument("--output", default="-", help="a file instead of standard output")
    parser.add_argument(
        "--fail-on",
        choices=[*findings.SEVERITIES, "never"],
        default="high",
        help="the lowest severity that counts for the exit status (default: high)",
    )
    return parser


def _version(text: str) -> str:
    try:
        parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _waivers(path: str | None) -> list[Waiver]:
    """Raises DockerdError where the file cannot be used."""
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
    except (OSError, ValueError) as error:
        raise DockerdError("--waivers %s: %s" % (path, error)) from error
    if not isinstance(entries, list):
        raise DockerdError("--waivers %s: not a list" % path)
    return findings.waivers(entries, CONTROLS)


def _write(path: str, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    with open(path, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    raise SystemExit(main())
