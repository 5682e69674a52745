#!/usr/bin/python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else on the host, who acts at one moment of a run: ``meddle.py WHEN WHAT [ARGUMENT]``.

WHEN is what to wait for: ``exists:PATH``, ``holds:PATH:TEXT``, ``lacks:PATH:TEXT``, or
``command:WORDS`` (a process with these words in its command line). WHAT is done then:
``write:PATH`` with the argument as the file's text, as another configuration management does it (a
new file, renamed); ``kill`` (the run, by SIGKILL, after the seconds of the argument); ``end``
(dockerd, by SIGKILL); ``fill:PATH`` (a file as large as its file system lets it be). Ends by itself
after a minute.
"""

import contextlib
import os
import signal
import sys
import time

LOCK = "/run/hardened-docker-system.lock"


def content(path):
    """A file's text; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def processes():
    """Every process with its command line."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        yield int(name), content("/proc/%s/cmdline" % name).replace("\0", " ")


def came(when):
    """Whether the moment is there."""
    kind, _colon, rest = when.partition(":")
    if kind == "exists":
        return os.path.exists(rest)
    if kind == "command":
        return any(rest in words and "meddle.py" not in words for _pid, words in processes())
    path, _colon, text = rest.partition(":")
    return (text in content(path)) == (kind == "holds")


def holder():
    """The run: whoever holds the lock."""
    for pid, _words in processes():
        try:
            links = [
                os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)
            ]
        except OSError:
            continue
        if LOCK in links:
            return pid
    return None


def act(what, argument):
    """Do it."""
    kind, _colon, path = what.partition(":")
    if kind == "write":
        with open(path + ".other", "w", encoding="utf-8") as file:
            file.write(argument)
        os.rename(path + ".other", path)
    elif kind == "kill":
        time.sleep(float(argument or 0))
        pid = holder()
        if pid:
            os.kill(pid, signal.SIGKILL)
    elif kind == "fill":
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    elif kind == "end":
        for pid, words in processes():
            if words.startswith("/usr/sbin/dockerd "):
                os.kill(pid, signal.SIGKILL)


def main():
    """Wait, and act once."""
    when, what = sys.argv[1:3]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if came(when):
            act(what, sys.argv[3] if len(sys.argv) > 3 else "")
            return 0
        time.sleep(0.001)
    return 1


if __name__ == "__main__":
    sys.exit(main())
