# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dockerd needs of its host to start with what it is told: users, files, the kernel.

Sources are named at each function; all are moby's.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

from . import flags, logopts, rules
from .addresses import SPACE
from .errors import HostError
from .host import Host
from .instance import SERVICE_PATH
from .told import Told

# cmd/dockerd/daemon.go since 25.0: what DOCKER_MIN_API_VERSION may be, by engine.
_OLDEST_API = (1, 24)
_NEWEST_API = {(25, 0): 44, (26, 0): 45, (26, 1): 45, (27, 0): 46, (27, 5): 47, (28, 5): 51}


@dataclass
class Needs:
    """What is missing for dockerd to start, and what could not be looked at."""

    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def exists(host: Host, path: str) -> bool:
    """Whether there is something at a path; what cannot be looked at is."""
    try:
        return host.stat(path) is not None
    except HostError:
        return True


def look(told: Told, host: Host) -> Needs:
    """Look at the host for everything that keeps dockerd from starting."""
    needs = Needs()
    if told.document is None:
        return needs
    reader = _Look(told, host, needs)
    for check in (
        reader.config_file,
        reader.user_namespace,
        reader.proxy,
        reader.directories,
        reader.sockets,
        reader.kernel,
        reader.interfaces,
        reader.programs,
        reader.log_driver,
        reader.environment,
    ):
        try:
            check()
        except (HostError, ValueError) as error:
            needs.unknown.append(str(error))
    if needs.missing and not host.whole:
        words = "this directory may lack what the host has: %s" % "; ".join(needs.missing)
        return Needs([], [*needs.unknown, words])
    return needs


class _Look:
    def __init__(self, told: Told, host: Host, needs: Needs) -> None:
        self.told = told
        self.host = host
        self.needs = needs
        self.version = told.version or (99,)
        given = flags.decode(told.flags, told.arguments, told.version).values
        self.get = rules.settings(told.document, told.version, given)

    def lack(self, name: str, why: str) -> None:
        self.needs.missing.append("%s (%s) %s" % (name, self.told.where(name), why))

    def file(self, path: str) -> bool:
        status = self.host.stat(path)
        return status is not None and status.kind == "file"

    def config_file(self) -> None:
        """cmd/dockerd/daemon.go: a file that a flag names must be there."""
        flag = self.told.flag("config-file")
        if flag and flag.value and not exists(self.host, self.told.config_path):
            self.lack("config-file", "names no file: %s" % self.told.config_path)

    # -- users

    def user_namespace(self) -> None:
        """daemon/daemon_unix.go parseRemappedRoot, setupRemappedRoot."""
        value = self.get("userns-remap")
        if not value:
            return
        user, colon, group = value.partition(":")
        if ":" in group:
            self.lack("userns-remap", "names more than a user and a group")
            return
        name = self.remapped_user(user, bool(colon))
        if name and colon and not self.has("group", group):
            self.lack("userns-remap", "names no group of this host: %s" % group)
        elif name and name != "root":
            uid = self.host.uid(name)
            for path in ("/etc/subuid", "/etc/subgid"):
                problem = self.ranges(path, {name, str(uid)})
                if problem:
                    self.lack("userns-remap", problem)

    def remapped_user(self, user: str, group_given: bool) -> str:
        """The user's name; empty where there is none, or dockerd will make it."""
        if re.match(r"[+-]?[0-9]+\Z", user):
            name = self.host.user(int(user))
            there = self.has("passwd", user) and (group_given or self.has("group", user))
        else:
            name = "dockremap" if user == "default" else user
            there = self.has("passwd", name)
            if user == "default" and not there:
                self.made()
                return ""
            there = there and (group_given or self.has("group", name))
        if not there:
            self.lack("userns-remap", "names no user with a group of its own here: %s" % user)
        return name if there else ""

    def made(self) -> None:
        """dockerd makes dockremap and its ranges, and reads those of the others for that."""
        for path in ("/etc/subuid", "/etc/subgid"):
            if exists(self.host, path):
                problem = self.ranges(path, set())
                if problem.startswith("cannot"):
                    self.lack("userns-remap", problem)

    def has(self, database: str, text: str) -> bool:
        """Whether a user or group is on the host, by number or else by name."""
        number, name = (
            (self.host.uid, self.host.user)
            if database == "passwd"
            else (self.host.gid, self.host.group)
        )
        if re.match(r"[+-]?[0-9]+\Z", text):
            return int(text) >= 0 and name(int(text)) != str(int(text))
        return bool(text) and number(text) is not None

    def ranges(self, path: str, names: set[str]) -> str:
        """What is wrong with subordinate ids; pkg/idtools, strict before 28.2."""
        try:
            lines = self.host.read(path).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return "needs %s, which is not there" % path
        found = False
        for line in filter(None, (line.strip() for line in lines)):
            parts = line.split(":")
            if self.version < (28, 2):
                if line.startswith("#"):
                    continue
                numbers = all(re.match(r"[+-]?[0-9]+\Z", part) for part in parts[1:])
                if len(parts) != 3 or (parts[0] in names and not numbers):
                    return "cannot be used: %s holds %r" % (path, line)
                found = found or parts[0] in names
            else:  # broken numbers count as 0, and a range of none has no root
                size = parts[2] if len(parts) > 2 else ""
                found = found or (parts[0] in names and size.isdigit() and int(size) > 0)
        return "" if found else "has no line in %s" % path

    # -- files

    def proxy(self) -> None:
        """daemon/config/config_linux.go verifyUserlandProxyConfig, since 25.0."""
        if self.version < (25, 0) or self.get("userland-proxy") is False:
            return
        path = self.get("userland-proxy-path")
        if path and path.startswith("/"):
            if not self.program(path):
                self.lack("userland-proxy-path", "names no program: %s" % path)
        elif self.told.flag("userland-proxy-path") and not path:
            self.lack("userland-proxy-path", "names no program")  # the flag has no default then
        elif not path and self.installed() and not self.find("docker-proxy"):
            self.needs.missing.append(
                "docker-proxy is not on dockerd's PATH; mend PATH in the unit, or set"
                " userland-proxy: false"
            )

    def installed(self) -> bool:
        """Whether dockerd is here; where it is not, its other programs are not either."""
        told = self.told
        return bool(told.words) and not told.wrapper and self.program(told.words[0].text)

    def program(self, path: str) -> bool:
        status = self.host.stat(path)
        return status is not None and status.kind == "file" and bool(status.mode & 0o111)

    def find(self, name: str) -> bool:
        """Go's exec.LookPath, and the libexec directories that 27.0 looks into first."""
        if "/" in name:
            return self.program(posixpath.join("/", name))
        places = self.told.environment.get("PATH", SERVICE_PATH).split(":")
        if self.version >= (27, 0):
            places += ["/usr/local/libexec/docker", "/usr/libexec/docker"]
            places += ["/usr/local/lib/docker", "/usr/lib/docker"]
            places += ["/usr/local/libexec", "/usr/libexec"]
        return any(place and self.program(posixpath.join(place, name)) for place in places)

    def directories(self) -> None:
        """cmd/dockerd/daemon.go start: directories it makes, and the process file."""
        for name in ("data-root", "graph", "exec-root"):
            self.directory(name, self.get(name))
        path = self.get("pidfile")
        if path:
            self.directory("pidfile", posixpath.dirname(path))
            status = self.host.stat(posixpath.join("/", path))
            if status and status.kind == "directory":
                self.lack("pidfile", "names a directory: %s" % path)
            elif path.startswith("/proc/"):
                self.lack("pidfile", "lies where nothing can be written: %s" % path)

    def directory(self, name: str, path: str | None) -> None:
        """Whether a directory is there or can be made."""
        path = posixpath.join("/", path or "")
        if path.startswith("/proc/"):
            self.lack(name, "lies where nothing can be made: %s" % path)
        while path != "/":
            status = self.host.stat(path)
            if status:
                if status.kind != "directory":
                    self.lack(name, "needs a directory, and %s is none" % path)
                return
            path = posixpath.dirname(path)

    def sockets(self) -> None:
        """daemon/listeners/listeners_linux.go: dockerd's own sockets, and those of systemd."""
        hosts = [(host or "").strip(SPACE) for host in self.get("hosts") or []] or [""]
        activated = 0
        for unit in (self.told.socket, self.told.tls_socket, *self.told.other_sockets):
            activated += len(unit.settings("Socket", "ListenStream")) if unit else 0
        unix = [host for host in hosts if host.startswith("unix://")]
        if "" in hosts and not self.told.tls:
            unix.append("unix:///var/run/docker.sock")
        for address in hosts:
            number = address[5:] if address.startswith("fd://") else ""
            if number.isdigit() and not 3 <= int(number) < 3 + activated:
                self.lack("hosts", "names a descriptor that systemd does not hand over: " + address)
        for address in unix:
            path = posixpath.join("/", address[7:] or "/var/run/docker.sock")
            status, parent = self.host.stat(path), posixpath.dirname(path)
            if status and status.kind == "directory":
                self.lack("hosts", "names a directory: %s" % path)
            elif not exists(self.host, parent) and not re.match(r"(/var)?/run(/|\Z)", parent):
                self.lack("hosts", "needs the directory %s, which is not there" % parent)
        group = self.get("group")
        if unix and group and group != "docker" and not self.has("group", group):
            self.lack("group", "names no group of this host: %s" % group)

    # -- the kernel

    def kernel(self) -> None:
        """cpu-rt-*: validateCPURealtimeOptions, since 23.0. Slices: verifyDaemonSettings.

        rootless: verifyDaemonSettings, and the port driver of 28.0.
        """
        realtime = [name for name in ("cpu-rt-period", "cpu-rt-runtime") if self.get(name)]
        driver, parent = self.cgroup_driver(), self.get("cgroup-parent")
        rootless = self.get("rootless")
        state = self.told.environment.get("ROOTLESSKIT_STATE_DIR")
        if rootless and self.version >= (28, 0) and not state:
            self.lack("rootless", "is for dockerd within RootlessKit, and this unit starts none")
        if not (realtime and self.version >= (23, 0)) and not parent and not rootless:
            return
        root = "/sys/fs/cgroup"
        if not self.host.list(root):
            wanted = [*realtime, *(["cgroup-parent"] if parent and not driver else [])]
            if wanted:
                self.needs.unknown.append(
                    "%s: whether the kernel allows it shows on a running host only" % wanted[0]
                )
            return
        unified = exists(self.host, root + "/cgroup.controllers")
        for name in realtime if self.version >= (23, 0) else ():
            if unified or not exists(self.host, root + "/cpu/cpu.rt_period_us"):
                self.lack(name, "is not supported by this host's control groups")
        if rootless and driver == "systemd" and not unified:
            self.lack("rootless", "goes with native.cgroupdriver=systemd on cgroup v2 only")
        default = unified and not driver and exists(self.host, "/run/systemd/system")
        if default and parent and not re.search(r".\.slice\Z", parent):
            self.lack("cgroup-parent", "must name a slice, which is what the systemd driver takes")

    def cgroup_driver(self) -> str:
        """The driver that exec-opts name; the first counts, daemon/daemon_unix.go getCD."""
        for option in self.get("exec-opts") or []:
            name, _equals, value = str(option).partition("=")
            if name.strip().lower() == "native.cgroupdriver":
                return value.strip()
        return ""

    # -- programs, plugins, environment

    def interfaces(self) -> None:
        """libnetwork/drivers/bridge: dockerd makes docker0 and no other."""
        bridge, known = self.get("bridge"), self.host.list("/sys/class/net")
        if not bridge or bridge in ("none", "docker0"):
            return
        if not known:
            self.needs.unknown.append(
                "whether there is a bridge %s shows on a running host only" % bridge
            )
        elif bridge not in known:
            self.lack("bridge", "names no interface here, and dockerd makes none: %s" % bridge)

    def programs(self) -> None:
        """iptables, and the default runtime with arguments (daemon/runtime_unix.go wrapRuntime)."""
        default, runtimes = self.get("default-runtime"), self.get("runtimes") or {}
        runtime = runtimes.get(default) if isinstance(runtimes, dict) else None
        fields = {key.lower(): value for key, value in (runtime or {}).items()}
        path = fields.get("path")
        rules_wanted = self.get("iptables") is not False
        rules_wanted = rules_wanted and self.get("firewall-backend") != "nftables"
        if rules_wanted and self.installed() and not self.find("iptables"):
            self.needs.missing.append(
                "iptables is not on dockerd's PATH; install it, or mend PATH in the unit"
            )
        if path and fields.get("runtimeargs") and not self.find(path):
            self.lack("runtimes", "name no program for %s: %s" % (default, path))

    def log_driver(self) -> None:
        """Options of a log driver: dockerd asks its plugin, daemon/logger/factory.go."""
        driver, options = self.get("log-driver"), self.get("log-opts")
        address = str((options or {}).get("syslog-address") or "")
        found = re.match(r"unix(?:gram)?://(.*)", address)
        if driver == "syslog" and found and not exists(self.host, found.group(1)):
            self.lack("log-opts", "name no socket: %s" % found.group(1))
        if driver and options and not logopts.built_in(driver, self.told.version):
            self.needs.unknown.append(
                "log-driver %s is no driver of dockerd's own, and whether a plugin answers to the"
                " name shows on a running host only" % driver
            )

    def environment(self) -> None:
        """DOCKER_MIN_API_VERSION, daemon/config/config.go ValidateMinAPIVersion since 25.0."""
        text = self.told.environment.get("DOCKER_MIN_API_VERSION")
        if not text or self.version < (25, 0) or self.version >= (29, 0):
            return
        newest = max(minor for engine, minor in _NEWEST_API.items() if engine <= self.version)
        found = re.match(r"([0-9]+)\.([0-9]+)\Z", text)
        number = tuple(int(part) for part in found.groups()) if found else (0,)
        if not _OLDEST_API <= number <= (1, newest):
            self.needs.missing.append(
                "DOCKER_MIN_API_VERSION in the unit's environment is %s, and dockerd takes 1.24 to"
                " 1.%d" % (text, newest)
            )
