# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground that a rootless daemon stands on, and what is wrong with it.

Sources: moby contrib/dockerd-rootless-setuptool.sh, rootlesskit pkg/parent, and the manual pages
of subuid(5), loginctl(1) and systemd.resource-control(5).
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from dataclasses import dataclass, field

from . import ranges, units
from .host import Host, Stat, User
from .instance import Instance

BINARIES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
# docker-ce has its scripts among the binaries, Debian's docker.io beside the documentation.
SCRIPTS = (*BINARIES[:2], "/usr/share/docker.io/contrib", "/usr/share/moby-engine/contrib")
SCRIPT = "dockerd-rootless.sh"
SUBIDS = ("/etc/subuid", "/etc/subgid")
LINGER = "/var/lib/systemd/linger"
PACKAGED = ("/usr/local/lib/systemd/user", "/usr/lib/systemd/user")  # units of users' managers
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
KITS = ("docker-rootlesskit", "rootlesskit")  # docker-ce's name for it, and its own
# Programs of which one must be there: what they are for, and packages that bring them.
PROGRAMS = (
    (("newuidmap",), "maps the user's subordinate ids", "uidmap (shadow-utils)"),
    (("newgidmap",), "maps the user's subordinate group ids", "uidmap (shadow-utils)"),
    (
        KITS,
        "makes the namespaces",
        "rootlesskit beside docker.io, docker-ce-rootless-extras beside docker-ce",
    ),
    (("slirp4netns", "pasta", "vpnkit"), "gives them a network", "slirp4netns"),
    (("dockerd",), "is the engine", "docker.io or docker-ce"),
)
# Without owners of their own for each file, or without the attributes that overlay2 and vfs need.
UNFIT = re.compile(r"nfs4?|cifs|smb3|vfat|exfat|msdos|ntfs3?|9p|afs|fuse\.sshfs|ecryptfs|autofs")
NOWHERE = ("", "/", "/nonexistent", "/dev/null", "/var/empty", "/run", "/proc")


@dataclass(frozen=True)
class Ground:
    """What one user's daemon stands on."""

    ranges: dict = field(default_factory=dict)  # of SUBIDS: path -> the user's own
    conflicts: list = field(default_factory=list)  # lines that share an id, one of them theirs
    linger: bool = False
    unified: bool | None = None  # whether cgroups are v2; None: nobody can say
    controllers: tuple = ()  # that are delegated to the user's manager, with cgroups v2
    runtime: Stat | None = None  # the directory that holds the socket
    rootlesskit: tuple = ()  # the words of the running one
    system: str = ""  # the system's daemon: active, inactive, ...; empty: nobody can say


def read(instance: Instance, host: Host, pid: int = 0) -> Ground:
    """What is under a user's daemon; ``pid`` is its rootlesskit's, 0 for none."""
    user = instance.user
    lines = {path: ranges.parse(text(host, path)) for path in SUBIDS}
    manager = "/sys/fs/cgroup/user.slice/user-%d.slice/user@%d.service" % (user.uid, user.uid)
    delegated = (host.optional(manager + "/cgroup.controllers") or b"").decode().split()
    unified = None
    if host.live:
        unified = host.stat("/sys/fs/cgroup/cgroup.controllers") is not None
    command = (host.optional("/proc/%d/cmdline" % pid) or b"") if pid else b""
    shown = host.run(["systemctl", "show", "docker.service", "--property=ActiveState", "--value"])
    return Ground(
        {path: ranges.owned(found, user.name, user.uid) for path, found in lines.items()},
        [
            "%s lines %d and %d" % (path, one.line, other.line)
            for path, found in lines.items()
            for one, other in ranges.conflicts(found, user.name, user.uid)
        ],
        host.stat("%s/%s" % (LINGER, user.name)) is not None,
        unified,
        tuple(delegated),
        host.stat(posixpath.dirname(instance.socket_path)),
        tuple(command.decode("utf-8", "replace").split("\0")[:-1]),
        shown.out.strip() if shown.rc == 0 else "",
    )


def subids(host: Host) -> dict[str, str]:
    """The texts of :data:`SUBIDS`, every byte kept.

    Raises HostError where one is there and cannot be read: it is not to be taken for empty.
    """
    texts = dict.fromkeys(SUBIDS, "")
    for path in SUBIDS:
        with contextlib.suppress(FileNotFoundError):
            texts[path] = host.read(path).decode("utf-8", "surrogateescape")
    return texts


def text(host: Host, path: str) -> str:
    """A file's text; empty where there is none."""
    return (host.optional(path) or b"").decode("utf-8", "replace")


def find(host: Host, names: tuple, directories: tuple = BINARIES) -> str:
    """The path of the first of these programs that is there; empty where none is."""
    paths = ("%s/%s" % (directory, name) for name in names for directory in directories)
    return next((path for path in paths if host.stat(path)), "")


def problems(host: Host) -> list[str]:
    """What is wrong with a host, whoever the user; each with the way out."""
    found = []
    if not host.stat("/run/systemd/system"):
        found.append("systemd does not run here, and a user's daemon is started by it.")
    if text(host, "/proc/sys/user/max_user_namespaces").strip() == "0":
        found.append(
            "This kernel allows no user namespaces: user.max_user_namespaces is 0. Set it to 28633"
            " or more, below /etc/sysctl.d."
        )
    if text(host, "/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        found.append(
            "This kernel allows user namespaces to root only: kernel.unprivileged_userns_clone is"
            " 0. Set it to 1, below /etc/sysctl.d."
        )
    for names, purpose, package in PROGRAMS:
        if not find(host, names):
            found.append(
                "There is no %s, which %s. Let dockerd_rootless_packages name the package: %s."
                % (" or ".join(names), purpose, package)
            )
    if not find(host, (SCRIPT,), SCRIPTS):
        found.append(
            "There is no %s in %s. Beside docker-ce it is in docker-ce-rootless-extras, and in"
            " docker.io itself." % (SCRIPT, ", ".join(SCRIPTS))
        )
    if not any("dbus.socket" in host.list(place) for place in ("/etc/systemd/user", *PACKAGED)):
        found.append(
            "There is no bus for users: systemd has no dbus.socket for them. Let"
            " dockerd_rootless_packages name the package dbus-user-session."
        )
    return found


def user_problems(host: Host, user: User, data_root: str = "") -> list[str]:
    """What is wrong with a user, with the way out. ``data_root`` is where containers lie."""
    if user.uid == 0:
        return ["root needs no rootless daemon; take it out of dockerd_rootless_users."]
    seen = host.stat(user.home) if user.home not in NOWHERE else None
    if not seen or seen.kind != "directory":
        return [
            "%s has no home (%s), where a daemon keeps its configuration and its containers. Make"
            " one: usermod --home /home/%s --move-home, and the directory."
            % (user.name, user.home or "none", user.name)
        ]
    if seen.uid != user.uid:
        return ["%s, the home of %s, belongs to %s." % (user.home, user.name, host.user(seen.uid))]
    return home_problems(host, user.name, data_root or user.home)


def home_problems(host: Host, name: str, path: str) -> list[str]:
    """What is wrong with the file system where a user's containers would lie."""
    kind, options = mounted(host, path)
    if UNFIT.fullmatch(kind):
        return [
            "%s is on %s, which cannot hold the containers of %s: files there have no owners of"
            " their own. Give dockerd_rootless_users a data-root on a local file system."
            % (path, kind, name)
        ]
    if "ro" in options:
        return ["%s is mounted read-only, and the daemon of %s writes there." % (path, name)]
    return []


def mounted(host: Host, path: str) -> tuple[str, list[str]]:
    """The file system's kind and options where a path is or will be, proc_pid_mountinfo(5)."""
    kind, options, longest = "", [], -1
    for line in text(host, "/proc/self/mountinfo").splitlines():
        fields, rest = line.split(" - ")[0].split(), line.partition(" - ")[2].split()
        point = re.sub(r"\\(\d{3})", lambda found: chr(int(found.group(1), 8)), fields[4])
        below = point == "/" or path == point or path.startswith(point + "/")
        if below and len(point) >= longest:
            kind, options, longest = rest[0], fields[5].split(","), len(point)
    return kind, options


def delegated(host: Host) -> bool:
    """Whether systemd is told to hand every controller to users' managers."""
    unit = units.load(host, "user@.service")
    words = [
        word
        for setting in (unit.settings("Service", "Delegate") if unit else [])
        for word in setting.value.split()
    ]
    return bool({"yes", "true", "1"} & set(words)) or set(CONTROLLERS) <= set(words)
