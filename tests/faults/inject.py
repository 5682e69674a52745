# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules as Ansible would, count their changes to the host, and strike at one.

Runs on the host: ``python3 -c SOURCE SOCKET MODULES``. MODULES is the directory with what Ansible
sends along, and SOCKET the descriptor of a socket on which orders come. An order is JSON with three
descriptors: the module's standard output and error, and a report with a line for each event. Each
order is carried out in a process of its own, which has loaded everything already; its exit status
is the answer.

An event is seen before it happens, sys.addaudithook(): a strike at event N comes after N - 1.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# audit event -> what it is called, and which arguments hold a path and the directory it is below
FILES = {
    "os.rename": ("rename", 0, 2),
    "os.remove": ("unlink", 0, 1),
    "os.rmdir": ("rmdir", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.chmod": ("chmod", 0, 2),
    "os.chown": ("chown", 0, 3),
    "os.link": ("link", 1, 3),
    "os.symlink": ("symlink", 1, 2),
    "os.truncate": ("truncate", 0, None),
    "os.utime": ("utime", 0, 3),
    "os.setxattr": ("setxattr", 0, None),
    "os.removexattr": ("removexattr", 0, None),
}
TAKES = ("unlink", "rmdir", "rename")
COMMANDS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec")
# Not the host's state: Ansible's own files, files without a name, and what is no file at all.
PASSING = ("/tmp", "/dev", "/proc/self", "/root/.ansible/tmp", "/run/faults")
# Commands that only look. Whatever is not here counts.
LOOKING = {
    *("journalctl", "dockerd", "containerd", "runc", "ip", "getent", "id", "uname", "aa-status"),
    *("systemd-detect-virt", "systemd-analyze", "findmnt", "ldconfig", "dockerd-rootless.sh"),
    *("rootlesskit", "slirp4netns", "unshare"),
}
LOOKS = {
    "systemctl": ("show", "cat", "is-", "list-", "status", "show-environment", "--version"),
    "loginctl": ("show", "list", "user-status"),
}
# Commands that write files which would not fit, or may not be written.
WRITING = ("gpasswd", "useradd", "userdel", "usermod", "groupadd", "groupdel")
SPACE = ("open", "mkdir", "link", "symlink", "rename")  # what takes space on the disk


def place(path: object, directory: object) -> str:
    """The path of a file that is given by descriptor, or below a directory's descriptor."""
    if isinstance(path, int):
        return os.readlink("/proc/self/fd/%d" % path)
    path = os.fsdecode(path)  # type: ignore[arg-type]
    if isinstance(directory, int) and directory >= 0 and not path.startswith("/"):
        path = os.path.join(os.readlink("/proc/self/fd/%d" % directory), path)
    return os.path.abspath(path)


def command(argv: list) -> str:
    """What a command line does to the host, or nothing."""
    words = [os.fsdecode(word) for word in argv]
    for number, word in enumerate(words):
        name = os.path.basename(word)
        if name in LOOKING:
            return ""
        if name in LOOKS:
            verb = next((one for one in words[number + 1 :] if not one.startswith("-")), "")
            return "" if verb.startswith(LOOKS[name]) else " ".join(words[number:])
    return " ".join(words)


def named(event: str, args: tuple) -> tuple:
    """The event's kind and object; an empty kind where it does not count."""
    if event == "open":
        path, _mode, flags = args
        if isinstance(path, int) or not isinstance(flags, int) or not flags & WRITES:
            return "", ""
        kind, where = "open", place(path, None)
    elif event in FILES:
        kind, path, directory = FILES[event]
        where = place(args[path], None if directory is None else args[directory])
    elif event in COMMANDS:
        argv = args[0] if event == "os.system" else args[1]
        done = command([argv] if isinstance(argv, (str, bytes)) else list(argv))
        return ("run" if done else ""), done
    else:
        return "", ""
    if os.path.isdir(where) if kind == "mkdir" else kind in TAKES and not os.path.lexists(where):
        return "", ""  # an attempt that changes nothing
    if kind == "rename":
        target = place(args[1], args[3])
        if os.path.dirname(target) == os.path.dirname(where) and os.path.lexists(target):
            kind = "replace"  # which takes no space: the directory's entry is there
    passes = where.endswith(".pyc") or "__pycache__" in where or where.endswith(" (deleted)")
    if passes or any(where == one or where.startswith(one + "/") for one in PASSING):
        return "", ""
    return kind, where


class Injector:
    """Sees what a module is about to do, and strikes at one of its events.

    ``order`` has the ``kind`` of strike, ``at``, the event's number or 0, and ``wait`` in seconds
    for a strike in the middle of a command.
    """

    def __init__(self, report: int, order: dict) -> None:
        self.report, self.order = report, order
        self.count = 0
        self.failing = False  # a disk that is full or read-only stays so
        self.inside = threading.local()

    def hook(self, event: str, args: tuple) -> None:
        if getattr(self.inside, "now", False):
            return
        self.inside.now = True
        try:
            kind, thing = named(event, args)
            if kind:
                self.see(kind, thing)
        finally:
            self.inside.now = False

    def see(self, kind: str, thing: str) -> None:
        self.count += 1
        struck = self.order["at"] == self.count
        words = "\t".join(("strike" if struck else "event", kind, thing))
        os.write(self.report, (words.replace("\n", " ") + "\n").encode("utf-8", "replace"))
        if struck:
            self.strike(kind, thing)
        elif self.failing:
            self.fail(kind, thing)

    def strike(self, kind: str, thing: str) -> None:
        """Do what was ordered for this event."""
        how = self.order["kind"]
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "cut":  # whoever reads the report pulls the plug
            time.sleep(600)
        elif how == "midway":
            threading.Timer(self.order["wait"], os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            self.failing = not how.endswith("-once")
            self.fail(kind, thing)

    def fail(self, kind: str, thing: str) -> None:
        """Let the disk be full or read-only for this event."""
        full = self.order["kind"].startswith("enospc")
        if kind == "run" and os.path.basename(thing.split()[0]) not in WRITING:
            return
        if not full or kind in (*SPACE, "run"):
            number = errno.ENOSPC if full else errno.EROFS
            raise OSError(number, os.strerror(number), thing)


def load(modules: str) -> None:
    """Import what the modules will, once for all orders."""
    sys.path.insert(0, modules)
    for path, directories, files in os.walk(modules):
        directories.sort()
        package = os.path.relpath(path, modules).replace("/", ".")
        if package.startswith("ansible_collections") and "module_utils" in package:
            for name in sorted(files):
                if name.endswith(".py") and name != "__main__.py":
                    importlib.import_module("%s.%s" % (package, name[:-3]))
    for name in ("ansible.module_utils.basic", "cryptography.x509"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("ansible.module_utils._internal._ansiballz._loader")


def serve(orders: socket.socket, modules: str) -> None:
    """Carry out orders until nobody gives any."""
    load(modules)
    orders.send(b"ready")
    while True:
        text, descriptors, _flags, _address = socket.recv_fds(orders, 1 << 20, 3)
        if not text:
            return
        child = os.fork()
        if child == 0:
            orders.close()
            carry_out(json.loads(text), descriptors, modules)
        for one in descriptors:
            os.close(one)
        orders.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def carry_out(order: dict, descriptors: list, modules: str) -> None:
    """Become a module's run; never returns."""
    out, err, report = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    loader = sys.modules["ansible.module_utils._internal._ansiballz._loader"]
    sys.argv = [""]
    sys.addaudithook(Injector(report, order).hook)
    status = 1
    try:
        loader.run_module(
            json_params=order["params"].encode(),
            profile=order["profile"],
            module_fqn=order["module"],
            modlib_path=modules,
            extensions={},
        )
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # as the interpreter would, which this process goes on from
        os.write(2, repr(error).encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
