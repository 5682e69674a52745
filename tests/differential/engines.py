# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oracles: dockerd itself, in a host that lasts for one question.

A host is an overlay of a case's files over a release's root file system. It lives on a tmpfs in
this process's own mount namespace, and what runs in it in namespaces that die with this process:
a killed run leaves nothing behind but an empty directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cases import Case

START_SECONDS = 45  # more than the longest that dockerd waits for a plugin
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--cgroup")
SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BIND, RECURSIVE, PRIVATE, DETACH = 4096, 16384, 1 << 18, 2  # mount(2), umount2(2)

# What systemd and the kernel would have set up for the service.
START = """\
set -e
mount -t sysfs sysfs "$0/sys"
mount --rbind /sys/fs/cgroup "$0/sys/fs/cgroup"
mount -t proc proc "$0/proc"
ip link set lo up
exec chroot "$0" "$@"
"""
# sd_listen_fds(3): the descriptors are for this very process.
ACTIVATED = 'LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"'

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    target.mkdir(parents=True, exist_ok=True)
    arguments = (source.encode(), bytes(target), kind.encode(), flags, options.encode())
    if _libc.mount(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def unmount(target: Path) -> None:
    """Take away whatever is mounted at a place and below it."""
    _libc.umount2(bytes(target), DETACH)


@dataclass(frozen=True)
class Answer:
    """What dockerd did: ``starts`` is None where it gave no answer in time."""

    starts: bool | None
    words: str  # its own, the last ones
    seconds: float


class Engines:
    """The engines of a few releases, and the hosts to ask them in."""

    def __init__(self, roots: dict, scratch: Path) -> None:
        self.roots = roots  # release -> root file system
        self.scratch = scratch
        mount("none", Path("/"), flags=RECURSIVE | PRIVATE)
        mount("tmpfs", scratch, "tmpfs", options="mode=0755")
        self.count = 0
        # systemd's first descriptor for sockets, kept free for them.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 3)
        self.containerds: dict = {}

    @contextlib.contextmanager
    def host(self, engine: str, files: dict) -> Iterator[Path]:
        """A host with these files, as a directory."""
        self.count += 1
        place = self.scratch / str(self.count)
        root, upper = place / "root", place / "upper"
        for path, data in files.items():
            target = upper / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (place / "work").mkdir(parents=True)
        upper.mkdir(exist_ok=True)
        layers = "lowerdir=%s,upperdir=%s,workdir=%s/work" % (self.roots[engine], upper, place)
        mount("overlay", root, "overlay", options=layers)
        mount("/dev", root / "dev", flags=BIND | RECURSIVE)
        mount("/proc", root / "proc", flags=BIND | RECURSIVE)
        mount("/sys", root / "sys", flags=BIND | RECURSIVE)
        mount("tmpfs", root / "run", "tmpfs", options="mode=0755")
        # overlay2 does not stand on an overlay.
        mount("tmpfs", root / "var/lib/docker", "tmpfs", options="mode=0710")
        try:
            yield root
        finally:
            unmount(root)
            shutil.rmtree(place, ignore_errors=True)

    def validate(self, case: Case, root: Path) -> Answer:
        """Ask ``dockerd --validate``."""
        dockerd = ["/usr/sbin/dockerd", "--validate", *case.argv]
        started = time.monotonic()
        try:
            done = subprocess.run(
                ["chroot", root, *_clean(_environment(case)), *dockerd],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(None, "no answer", START_SECONDS)
        return Answer(done.returncode == 0, _last(done.stderr), time.monotonic() - started)

    def start(self, case: Case, root: Path) -> Answer:
        """Start dockerd as systemd would, with its socket, until it is ready or gone."""
        self._containerd(case.engine, root)
        listening = socket.socket(socket.AF_UNIX)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log = root / "run/log"
        with listening, ready, open(log, "wb") as output:
            _bind(listening, root / "run/docker.sock")
            listening.listen(8)
            _bind(ready, root / "run/notify")
            ready.settimeout(0.05)
            os.dup2(listening.fileno(), 3)
            environment = _environment(case)
            environment.update(LISTEN_FDS="1", NOTIFY_SOCKET="/run/notify")
            command = [*_clean(environment), "/bin/sh", "-c", ACTIVATED, "/usr/sbin/dockerd"]
            command += case.argv
            started = time.monotonic()
            process = subprocess.Popen(
                ["unshare", *NAMESPACES, "sh", "-c", START, root, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(3,),
            )
            try:
                starts = _wait(process, ready, started)
            finally:
                process.kill()
                process.wait()
            seconds = time.monotonic() - started
        return Answer(starts, _last(log.read_bytes()), seconds)

    def _containerd(self, engine: str, root: Path) -> None:
        """Show the host its release's containerd; one serves all hosts, for none runs anything."""
        if engine not in self.containerds:
            stack = contextlib.ExitStack()
            home = stack.enter_context(self.host(engine, {}))
            with open(home / "run/log", "wb") as output:
                process = subprocess.Popen(
                    ["unshare", "--net", "chroot", home, "/usr/bin/containerd"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            path = home / "run/containerd/containerd.sock"
            deadline = time.monotonic() + 30
            while not _answers(path):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError("containerd: " + _last((home / "run/log").read_bytes()))
                time.sleep(0.05)
            self.containerds[engine] = path.parent, stack
        mount(str(self.containerds[engine][0]), root / "run/containerd", flags=BIND)


def _environment(case: Case) -> dict:
    return {"LANG": "C.UTF-8", "PATH": SERVICE_PATH, **case.environment}


def _clean(environment: dict) -> list:
    """A command that starts another with this environment and no more."""
    return ["/usr/bin/env", "-i", *("%s=%s" % pair for pair in environment.items())]


def _bind(one: socket.socket, path: Path) -> None:
    """Bind by a short name: a socket's path is limited to 107 bytes, unix(7)."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        one.bind("/proc/self/fd/%d/%s" % (directory, path.name))
    finally:
        os.close(directory)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            one.connect("/proc/self/fd/%d/%s" % (directory, path.name))
            return True
        finally:
            os.close(directory)
    return False


def _wait(process: subprocess.Popen, ready: socket.socket, started: float) -> bool | None:
    """Whether dockerd told systemd that it is ready, sd_notify(3), before it ended."""
    while time.monotonic() - started < START_SECONDS:
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in ready.recv(4096):
                # Listeners are served right after that; one that cannot be served ends dockerd.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                    return False
                return True
        if process.poll() is not None:
            return False
    return None


def _last(log: bytes) -> str:
    """dockerd's last words, its log only where there are no others."""
    lines = log.decode("utf-8", "replace").strip().splitlines()
    words = [line for line in lines if line.strip() and not re.match("time=|{", line)]
    return " ".join(words)[:400] if words else "".join(lines[-1:])[-400:]
