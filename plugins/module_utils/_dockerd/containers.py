# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers that run on an instance: what they may do, and what of the host they hold."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Iterable

from .errors import HostError
from .host import Host
from .instance import Instance
from .told import Told

# Whoever writes there is root on the host.
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/run/containerd")
NAMESPACES = {
    "pid": "PidMode",
    "network": "NetworkMode",
    "ipc": "IpcMode",
    "UTS": "UTSMode",
    "user": "UsernsMode",
}
# A server that is away keeps whoever asks for one of its files waiting for ever.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "fuse.sshfs", "fuse.glusterfs")
_UNLIMITED = 1 << 62  # cgroup v1 writes a number this large where there is no limit


@dataclass(frozen=True)
class Mount:
    """A part of the host in a container. ``reaches`` are the paths of interest behind it."""

    source: str
    destination: str
    writable: bool
    reaches: tuple[str, ...] = ()
    problem: str = ""  # why the host does not say what is behind it


@dataclass(frozen=True)
class Container:
    """A running container, as GET /containers/ID/json and the kernel have it."""

    name: str
    pid: int
    privileged: bool = False
    shared: tuple[str, ...] = ()  # the namespaces that it has in common with the host
    capabilities: tuple[str, ...] = ()  # added to the default ones, without CAP_
    security: tuple[str, ...] = ()  # security options
    limits: tuple[str, ...] = ()  # memory, pids: those that have a limit
    mounts: tuple[Mount, ...] = ()


def api_sockets(instance: Instance, told: Told) -> list[str]:
    """Where on this host the API of an instance is listened for."""
    paths = [listener.path for listener in told.listeners if listener.path.startswith("/")]
    return sorted({instance.socket_path, *paths})


class Inspector:
    """Makes containers of what the API says, and looks at the host for what it does not.

    ``wanted`` are the paths of the host to look for behind mounts.
    """

    def __init__(self, host: Host, wanted: Iterable[str]) -> None:
        self._host = host
        self._ways: dict = {}  # a file's identity -> the paths that lie at or below it
        self._bounds: dict = {}  # a control group's directory -> whether it has a limit
        for path in wanted:
            for step in _upwards(host.resolve(path)):
                try:
                    self._ways.setdefault(_identity(host, step), set()).add(path)
                except HostError:
                    continue  # a file system that is closed to root, such as a user's own
        self._ways.pop(None, None)
        mounts = (host.optional("/proc/self/mounts") or b"").decode("utf-8", "replace")
        fields = [line.split(" ") for line in mounts.splitlines()]
        self._remote = [one[1] for one in fields if len(one) > 2 and one[2] in _REMOTE]

    def container(self, answer: dict, name: str) -> Container | None:
        """What an answer of GET /containers/ID/json says; None where it does not run.

        Raises ValueError where it is none.
        """
        state, config = _get(answer, "State", dict), _get(answer, "HostConfig", dict)
        if not state or not config:
            raise ValueError("dockerd does not tell how container %s runs" % name)
        if not _get(state, "Running", bool):
            return None
        pid = _get(state, "Pid", int)
        return Container(
            name,
            pid,
            _get(config, "Privileged", bool),
            tuple(kind for kind, key in NAMESPACES.items() if _get(config, key, str) == "host"),
            tuple(_strings(config, "CapAdd", lambda name: name.upper().replace("CAP_", "", 1))),
            tuple(_strings(config, "SecurityOpt", str)),
            tuple(self._limits(config, pid)),
            tuple(self._mount(_as(one, dict)) for one in _get(answer, "Mounts", list)),
        )

    def _limits(self, config: dict, pid: int) -> list[str]:
        found = [
            name
            for name, key in (("memory", "Memory"), ("pids", "PidsLimit"))
            if _get(config, key, int) > 0
        ]
        # What the container does not limit itself, a slice above it may.
        return found if len(found) == 2 else sorted({*found, *self._inherited(pid)})

    def _inherited(self, pid: int) -> Iterable[str]:
        """The limits of the control groups above a process's own, cgroups(7)."""
        lines = (self._host.optional("/proc/%d/cgroup" % pid) or b"").decode("utf-8", "replace")
        for line in lines.splitlines():
            controllers, path = line.partition(":")[2].partition(":")[::2]
            for name, old, new in (
                ("memory", "memory.limit_in_bytes", "memory.max"),
                ("pids", "pids.max", "pids.max"),
            ):
                if not controllers and self._bound(posixpath.dirname(path), "", new):
                    yield name
                elif name in controllers.split(",") and self._bound(
                    posixpath.dirname(path), "/" + name, old
                ):
                    yield name

    def _bound(self, group: str, hierarchy: str, file: str) -> bool:
        if group in ("/", ""):
            return False
        path = "/sys/fs/cgroup%s%s/%s" % (hierarchy, group, file)
        if path not in self._bounds:
            value = (self._host.optional(path) or b"").strip()
            limited = value.isdigit() and int(value) < _UNLIMITED
            self._bounds[path] = limited or self._bound(posixpath.dirname(group), hierarchy, file)
        return self._bounds[path]

    def _mount(self, data: dict) -> Mount:
        source = _get(data, "Source", str)
        destination, writable = _get(data, "Destination", str), _get(data, "RW", bool)
        if not source.startswith("/") or self._is_remote(source):
            return Mount(source, destination, writable)
        try:
            reaches = self._ways.get(_identity(self._host, source), ())
        except HostError as error:
            return Mount(source, destination, writable, problem=str(error))
        return Mount(source, destination, writable, tuple(sorted(reaches)))

    def _is_remote(self, source: str) -> bool:
        return any(source == path or source.startswith(path + "/") for path in self._remote)


def _upwards(path: str) -> Iterable[str]:
    """A path and every directory above it."""
    yield path
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _identity(host: Host, path: str) -> tuple | None:
    """What tells a file from every other, whatever path or bind mount leads to it."""
    status = host.stat(path)
    return (status.device, status.inode) if status else None


def _as(value: object, kind: type):
    # null is what Go writes for an empty list, and bool is an int to Python.
    if value is None:
        return kind()
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError("dockerd answers with something that is no %s" % kind.__name__)
    return value


def _get(data: dict, key: str, kind: type):
    return _as(data.get(key), kind)


def _strings(data: dict, key: str, change) -> Iterable[str]:
    return (change(_as(one, str)) for one in _get(data, key, list))
