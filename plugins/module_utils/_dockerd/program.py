# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays on a host to keep it safe between runs: one program, its units, one drop-in.

The program is a zip file of files of this package, made of the very files that run here.
"""

from __future__ import annotations

import io
import pkgutil
import zipfile

from . import guard, recovery, rescue
from .instance import Instance

ENTRIES = {"guard": guard, "recover": recovery, "rescue": rescue}
# All that they import, a module's payload with it.
PARTS = (
    "activation addresses authorization bridge certificates config containers directives does drift"
    " errors flags ground guard host instance journal logopts names needs pair probe ranges"
    " recovery rescue rollback rules snapshot tls told trust units writing"
).split()
_START = """\
import importlib
import sys

entries = %r
sys.exit(importlib.import_module("_dockerd." + entries[sys.argv[1]]).main(sys.argv[2:]))
""" % {verb: part.__name__.rpartition(".")[2] for verb, part in ENTRIES.items()}
_UNIT = """\
# Managed by hardened.docker: undoes at boot what a cut-off change of the daemon left.
[Unit]
Description=Recovery of Docker's configuration ({name}) after a change that was cut off
DefaultDependencies=no
RequiresMountsFor={state} {configuration}
# Not before the root is writable, and each other file system there.
After=local-fs.target
Before={starts} shutdown.target
Conflicts=shutdown.target
ConditionPathExists={journal}
# Made by each run, and gone with a boot: what this boot has begun is for the next run to undo.
ConditionPathExists=!{lock}

[Service]
Type=oneshot
ExecStart=python3 -I {program} recover {key}
"""
_RESCUE = """\
# Managed by hardened.docker: undoes a cut-off change of the daemon with which it does not start.
[Unit]
Description=Rescue of Docker ({name}) from a change that was cut off
ConditionPathExists={journal}
# Called at each failure of docker.service; the journal counts what it tried.
StartLimitIntervalSec=0
# As what others want done on that failure may do.
IgnoreOnIsolate=true

[Service]
Type=simple
ExecStart=python3 -I {program} rescue {key}
# Killed, say for want of memory, it is all that would bring the daemon back.
Restart=on-abnormal
RestartSec=5
"""
_DROPIN = """\
# Managed by hardened.docker: dockerd gets a TCP listener only with verified clients.
[Unit]
Wants={recovery} docker-tls.socket
After={recovery} docker-tls.socket

[Service]
# With + in none of the service's own sandboxes, where they could do nothing.
# 0: daemon.json demands verified clients. 3: somebody else writes while a run starts dockerd.
# Anything else: dockerd starts, and TCP is closed unless it is known to be (is-active says 3 or 4).
ExecStartPre=+/bin/sh -c '\\
  python3 -I {program} guard {config} {expected} {lock}; case $$? in \\
    0) ;; \\
    3) exit 3 ;; \\
    *) systemctl --quiet is-active docker-tls.socket; case $$? in \\
         3|4) ;; \\
         *) systemctl stop docker-tls.socket ;; \\
       esac ;; \\
  esac'
# Once more, for what was written while dockerd read it: with this, too, it may not go on.
ExecStartPost=+/bin/sh -c '\\
  systemctl --quiet is-active docker-tls.socket; case $$? in \\
    3|4) ;; \\
    *) python3 -I {program} guard {config} {expected} {lock} ;; \\
  esac'
# Where it fails, what a dead run left is undone. OnFailure= would share its job mode with that of
# others, and with OnFailureJobMode=isolate systemd loads no unit that names two.
ExecStopPost=-+/bin/sh -c '\\
  case "$$SERVICE_RESULT $$EXIT_STATUS" in \\
    "success 0"|"success TERM") ;; \\
    *) ! test -e {journal} || systemctl --no-block start {rescue} ;; \\
  esac'
"""


_USER_DROPIN = """\
# Managed by hardened.docker: a change of this user's daemon that was cut off is undone first.
[Unit]
Wants={recovery}
After={recovery}
"""


def files(which: Instance, config_path: str) -> dict[str, bytes]:
    """The files by path, for the daemon that reads ``config_path``.

    A user's daemon needs no guard: systemd gives it no listener, and what it listens on and whom
    it verifies is in one file.
    """
    words = {
        "name": which.name,
        "key": which.state_directory.rpartition("/")[2],
        "state": which.state_directory,
        "configuration": which.user.home if which.rootless else config_path.rpartition("/")[0],
        "starts": "user@%d.service" % which.user.uid if which.rootless else " ".join(which.units),
        "journal": which.journal_directory,
        "program": which.program_path,
        "recovery": which.recovery,
        "rescue": which.rescue,
        "config": config_path,
        "expected": which.expected_path,
        "lock": which.lock_path,
    }
    texts = {which.recovery_path: _UNIT}
    if which.rescue:
        texts[which.rescue_path] = _RESCUE
    texts[which.guard_dropin] = _USER_DROPIN if which.rootless else _DROPIN
    units = {path: text.format(**words).encode() for path, text in texts.items()}
    return {which.program_path: _program(), **units}


def _program() -> bytes:
    """The zip file; the same bytes whenever and wherever it is made."""
    made = io.BytesIO()
    sources = {"__main__.py": _START.encode(), "_dockerd/__init__.py": b""}
    package = __name__.rpartition(".")[0]
    for name in PARTS:
        sources["_dockerd/%s.py" % name] = pkgutil.get_data(package, name + ".py") or b""
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name), source)
    return made.getvalue()
