# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``dockerd-validate`` command: judge a host's daemons, or a directory of files."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys

from . import VERSION, findings, reports
from .controls import CONTROLS
from .directives import parse_version
from .errors import DockerdError, HostError
from .findings import NO_VERDICT, Waiver
from .host import Host
from .instance import discover
from .judgement import judge

EPILOG = """\
exit status:
  0  nothing failed at --fail-on or above
  1  something did
  2  nothing did, but some of that could not be judged; or the command line is wrong
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    given = _parser().parse_args(_joined(words))
    try:
        accepted = _waivers(given.waivers)
        if not os.path.isdir(given.root):
            raise DockerdError("--root %s is no directory" % given.root)
        host = Host(given.root)
        if not host.live and not _anything(host):
            raise DockerdError(
                "--root %s holds neither etc/docker/daemon.json nor a docker.service: there is"
                " nothing to judge" % given.root
            )
        if host.live and given.flags is not None:
            raise DockerdError("--flags goes with --root: a running host has flags of its own")
        judgement = judge(host, given.engine_version or "", given.flags, accepted, given.instance)
    except DockerdError as error:
        _complain(str(error))
        return NO_VERDICT
    terminal = sys.stdout is not None and sys.stdout.isatty()
    colour = given.output == "-" and terminal and "NO_COLOR" not in os.environ
    text = reports.render(given.format, judgement.as_dict(), colour)
    try:
        _write(given.output, text)
    except OSError as error:
        _complain("--output %s: %s" % (given.output, error.strerror))
        return NO_VERDICT
    return findings.exit_status(judgement.findings, given.fail_on)


def _complain(words: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write("dockerd-validate: %s\n" % words)


def _joined(words: list[str]) -> list[str]:
    """``--flags --debug`` as one word, because what flags hold looks like options of ours."""
    if "--flags" not in words[:-1]:
        return words
    at = words.index("--flags")
    return [*words[:at], "--flags=" + words[at + 1], *words[at + 2 :]]


def _anything(host: Host) -> bool:
    """Whether a directory holds a daemon's files at all."""
    return any(
        host.link(instance.config_path)
        or host.stat(instance.config_path)
        or any(instance.service in host.list(place) for place in instance.search)
        for instance in discover(host)
    )


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
        entries = json.loads(Host().read(os.path.abspath(path)).decode("utf-8"))
    except (OSError, ValueError, RecursionError, HostError) as error:
        raise DockerdError("--waivers %s: %s" % (path, error)) from error
    if not isinstance(entries, list):
        raise DockerdError("--waivers %s: not a list" % path)
    return findings.waivers(entries, CONTROLS)


def _write(path: str, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    if path == "-":
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    with open(path, "wb") as file:
        file.write(data)
