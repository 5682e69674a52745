# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what a machine looks like, as JSON: every file that matters, and the daemon that runs.

Run by the host's own python3. Arguments: directories, and with a leading - what to leave out.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys

UNITS = ("docker.service", "docker.socket", "docker-tls.socket")
PROPERTIES = "Id,ActiveState,MainPID,ExecMainStartTimestampMonotonic,InvocationID,DropInPaths"


def look(path):
    """Everything about one file but when it was read."""
    status = os.lstat(path)
    seen = [oct(status.st_mode), status.st_uid, status.st_gid]
    # Where everybody makes files, some came and went meanwhile.
    if not status.st_mode & stat.S_ISVTX:
        seen.append(status.st_mtime_ns)
    if stat.S_ISLNK(status.st_mode):
        seen.append(os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            seen.append(hashlib.sha256(file.read()).hexdigest())
    return seen


def files(roots, leave):
    found = {}
    for root in roots:
        for directory, names, others in os.walk(root):
            names[:] = [name for name in names if os.path.join(directory, name) not in leave]
            found[directory] = look(directory)
            found.update((path, look(path)) for path in (directory + "/" + one for one in others))
    return found


def ask(*words):
    null = subprocess.DEVNULL
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=null, check=False).stdout.decode()


def daemon():
    """Its processes and sockets, what systemd did with it, and its containers' processes."""
    containers = ask("docker", "ps", "--quiet", "--no-trunc").split()
    socket = os.stat("/run/docker.sock")
    return {
        "units": ask("systemctl", "show", "--property", PROPERTIES, *UNITS),
        "jobs": ask("journalctl", "--output=cat", "UNIT=docker.service"),
        "socket": [oct(socket.st_mode), socket.st_uid, socket.st_gid, socket.st_ino],
        "containers": ask("docker", "inspect", "--format={{.Id}} {{.State.Pid}}", *containers),
    }


if __name__ == "__main__":
    roots = [word for word in sys.argv[1:] if not word.startswith("-")]
    leave = {word[1:] for word in sys.argv[1:] if word.startswith("-")}
    seen = {"files": files(roots, leave)}
    if os.path.exists("/run/docker.sock"):
        seen["daemon"] = daemon()
    print(json.dumps(seen))
