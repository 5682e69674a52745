# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays on a host to keep it safe between runs: one program, one unit, one drop-in.

The program is a zip file of a few files of this package, made of the very files that run here.
"""

from __future__ import annotations

import io
import pkgutil
import zipfile

# All that the program holds, imported for one reason: a module's payload has what is imported.
from . import errors, guard, host, instance, journal, recovery, writing
from .instance import Instance

_PARTS = (errors, guard, host, instance, journal, recovery, writing)
_START = """\
import sys

if sys.argv[1] == "guard":
    from _dockerd.guard import main
else:
    from _dockerd.recovery import main
sys.exit(main(sys.argv[2:]))
"""
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
_DROPIN = """\
# Managed by hardened.docker: dockerd gets a TCP listener only with verified clients.
[Unit]
Wants={recovery} docker-tls.socket
After={recovery} docker-tls.socket

[Service]
# 0: daemon.json demands verified clients. 3: somebody else writes while a run starts dockerd.
# Anything else: dockerd starts, and TCP is closed if it was open.
ExecStartPre=/bin/sh -c '\\
  python3 -I {program} guard {config} {expected} {lock}; case $$? in \\
    0) ;; \\
    3) exit 3 ;; \\
    *) ! systemctl --quiet is-active docker-tls.socket || systemctl stop docker-tls.socket ;; \\
  esac'
# Once more, for what was written while dockerd read it: with this, too, it may not go on.
ExecStartPost=/bin/sh -c '\\
  ! systemctl --quiet is-active docker-tls.socket || \\
  python3 -I {program} guard {config} {expected} {lock}'
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
        "config": config_path,
        "expected": which.expected_path,
        "lock": which.lock_path,
    }
    dropin = _USER_DROPIN if which.rootless else _DROPIN
    return {
        which.program_path: _program(),
        which.recovery_path: _UNIT.format(**words).encode(),
        which.guard_dropin: dropin.format(**words).encode(),
    }


def _program() -> bytes:
    """The zip file; the same bytes whenever and wherever it is made."""
    made = io.BytesIO()
    sources = {"__main__.py": _START.encode(), "_dockerd/__init__.py": b""}
    for part in _PARTS:
        package, _dot, name = part.__name__.rpartition(".")
        sources["_dockerd/%s.py" % name] = pkgutil.get_data(package, name + ".py") or b""
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name), source)
    return made.getvalue()
