# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance does, seen on the running host; nothing is changed by looking."""

from __future__ import annotations

import calendar
import ipaddress
import json
import os
import posixpath
import sys
import time
from dataclasses import dataclass, field

from .containers import SENSITIVE, Inspector, api_sockets
from .errors import HostError
from .host import Host
from .instance import Instance
from .told import Told

PATIENCE = 6  # seconds that the daemon has for all its answers
LATEST = 5  # seconds after which no further listener is tried
# How systemd names, of a unit, those that it stops with it, systemd.unit(5).
DEPENDENTS = ["RequiredBy", "BoundBy", "ConsistsOf"]
LOADS = ["Id", "LoadState", "LoadError"]  # what tells whether a unit loads
STEADY = 600  # seconds after which a container that was started again counts as lasting
TIMESTAMP = "%Y-%m-%dT%H:%M:%S"


@dataclass
class Process:
    """The running dockerd."""

    pid: int
    started: float  # seconds since the epoch
    identity: list  # boot, pid and start tick: never the same for two processes
    argv: list
    executable: str = ""  # its file, proc_pid_exe(5); empty where nobody may know

    @property
    def replaced(self) -> bool:
        """Whether its file is gone since, as it is when a package is upgraded."""
        return self.executable.endswith(" (deleted)")


@dataclass
class Does:
    """Everything dockerd does, seen on the running host."""

    units: dict = field(default_factory=dict)  # name -> systemctl show properties
    process: Process | None = None
    answers: bool = False  # on the unix socket
    problem: str = ""  # why not
    info: dict = field(default_factory=dict)
    platform: str = ""  # the name of the build: upstream's are Docker Engine - Community
    components: dict = field(default_factory=dict)  # Engine, containerd, runc, ... -> version
    containers: dict = field(
        default_factory=dict
    )  # running ones: id -> (name, pid), see steady_pid
    outlived: int = 0  # containers whose daemon cannot be asked for them
    dependents: dict = field(
        default_factory=dict
    )  # unit that goes down with it -> wraps containers
    inspected: list = field(default_factory=list)  # a Container for each of them
    bridge: dict = field(default_factory=dict)  # options of the default bridge
    inode: object = None  # Stat of the unix socket
    members: list = field(default_factory=list)  # of the unix socket's group, group(5)
    primary: list = field(default_factory=list)  # users whose own group it is, passwd(5)
    served: dict = field(default_factory=dict)  # listener address -> (DER, answered a stranger)
    ports: dict = field(default_factory=dict)  # TCP port -> inodes of listening sockets
    bound: dict = field(default_factory=dict)  # (address, TCP port) -> the same
    paths: dict = field(default_factory=dict)  # path of a unix socket -> inodes that listen there
    descriptors: set = field(default_factory=set)  # socket inodes that dockerd holds
    manager: set = field(default_factory=set)  # those that systemd holds; empty where unknown
    refused: bool = False  # a unix socket at which nobody listens
    limits: dict = field(default_factory=dict)  # ulimit -> the most that a container can get

    def active(self, unit: str) -> bool:
        """Whether systemd holds a unit to be up."""
        return self.units.get(unit, {}).get("ActiveState") == "active"

    def starts_at_boot(self, instance: Instance) -> bool:
        """Whether systemd brings the daemon, or the socket that starts it, up at boot."""
        states = [self.units.get(unit, {}).get("UnitFileState") for unit in instance.units[:2]]
        return any(state != "disabled" for state in states)

    @property
    def swarm(self) -> bool:
        """Whether this host is in a swarm."""
        state = (self.info.get("Swarm") or {}).get("LocalNodeState") or "inactive"
        return state != "inactive"


def units_of(shown: str) -> list[dict]:
    """The properties of each unit, as ``systemctl show`` prints them."""
    found = []
    for block in shown.strip().split("\n\n"):
        unit: dict = {}
        for line in block.splitlines():
            name, value = line.partition("=")[::2]
            # Listen= stands once for each address.
            unit[name] = "%s\n%s" % (unit[name], value) if name in unit else value
        found.append(unit)
    return found


def load_error(unit: dict) -> str:
    """Why systemd does not load a unit, by its properties; empty where it does."""
    if unit.get("LoadState") not in ("bad-setting", "error"):
        return ""
    why = unit.get("LoadError", "").partition(" ")[2].strip('"') or unit["LoadState"]
    return "systemd does not load %s (%s; its journal says more)" % (unit["Id"], why.rstrip("."))


def read_does(instance: Instance, host: Host, told: Told) -> Does:
    """What the running daemon does; a dead one leaves its fields empty and says why."""
    does, until = Does(), time.monotonic() + LATEST
    wanted = ["ActiveState", "MainPID", "NeedDaemonReload", "Listen", "UnitFileState"]
    wanted += [*LOADS, *DEPENDENTS]
    wanted += ["Limit" + name.upper() for name in _LIMITS]
    words = ["show", *instance.units, "--property=" + ",".join(wanted)]
    shown = host.run(instance.systemctl(*words), timeout=3)
    does.units = {unit.get("Id", ""): unit for unit in units_of(shown.out)}
    does.dependents = _dependents(does, instance, host)
    pid = int(does.units.get(instance.service, {}).get("MainPID") or 0)
    if pid and instance.rootless:
        pid = _below(host, pid)
    if pid:
        does.process = _process(host, pid)
        does.descriptors = _sockets(host, pid)
    # One that does not run will have what its manager can give.
    unit = {} if pid else does.units.get(instance.service, {})
    does.limits = _limits(host, pid or _manager(host, instance), instance.rootless, unit)
    does.inode = host.stat(instance.socket_path)
    if does.inode:
        does.members = host.members(host.group(does.inode.gid))
        does.primary = [user.name for user in host.users() if user.gid == does.inode.gid]
    does.bound, does.paths = _bound(host), _paths(host)
    for (_where, port), inodes in does.bound.items():
        does.ports.setdefault(port, set()).update(inodes)
    if not instance.rootless:
        does.manager = _sockets(host, 1)
    if does.active(instance.service):
        _ask(does, instance, host, told)
        for listener in told.tcp:
            if listener.port in does.ports and time.monotonic() < until:
                try:
                    does.served[listener.address] = host.handshake(listener.reach, listener.port)
                except HostError:
                    continue
    else:
        does.problem = "%s is not active" % instance.service
    if not does.answers and not instance.rootless:
        does.outlived = _shims(host)
    return does


def _dependents(does: Does, instance: Instance, host: Host) -> dict[str, bool]:
    """Running services that systemd stops with the daemon; whether they are made of containers."""
    told = [unit.get(name, "") for unit in does.units.values() for name in DEPENDENTS]
    names = sorted({name for names in told for name in names.split() if name.endswith(".service")})
    names = [name for name in names if name not in instance.units]
    if not names:
        return {}
    shown = host.run(
        instance.systemctl("show", *names, "--property=Id,ActiveState,ExecStart,ExecStop"),
        timeout=3,
    )
    return {
        block.partition("Id=")[2].split("\n")[0]: "docker" in block.replace("docker.service", "")
        for block in shown.out.split("\n\n")
        if "ActiveState=active" in block
    }


def _shims(host: Host) -> int:
    """How many containers of the system's dockerd run, known by the shims of containerd."""
    commands = [
        (host.optional("/proc/%s/cmdline" % name) or b"").split(b"\0")
        for name in host.list("/proc")
        if name.isdigit()
    ]
    return sum(
        b"containerd-shim" in words[0] and b"moby" in words and not any(map(_of_user, words))
        for words in commands
    )


def _of_user(word: bytes) -> bool:
    return word.startswith(b"/run/user/")


def _ask(does: Does, instance: Instance, host: Host, told: Told) -> None:
    with host.session(instance.socket_path, PATIENCE) as ask:
        try:
            does.info = _answer(ask, "/info", dict)
            does.answers = True
            _ask_containers(does, instance, host, told, ask)
        except (HostError, ValueError) as error:
            # Containers that nobody could look at are no reason to believe there are none.
            does.answers, does.problem = False, str(error)
            does.refused = isinstance(error.__cause__, ConnectionRefusedError)
            return
        try:
            does.bridge = dict(_answer(ask, "/networks/bridge", dict).get("Options") or {})
        except (HostError, ValueError, TypeError):
            does.bridge = {}  # bridge: none
        try:
            does.platform, does.components = _versions(_answer(ask, "/version", dict))
        except (HostError, ValueError, KeyError, TypeError, AttributeError):
            does.components = {}


def _answer(ask, url: str, kind: type, gone: bool = False):
    """What the daemon says; None for what may be ``gone`` and is.

    Raises HostError or ValueError where it says nothing, or nothing sane.
    """
    status, body = ask(url)
    if gone and status == 404:
        return None
    if status != 200:
        words = " ".join(body[:300].decode("utf-8", "replace").split())
        raise HostError("dockerd answers %s with status %d: %s" % (url, status, words))
    try:
        data = json.loads(body)
    except RecursionError:
        data = None
    if not isinstance(data, kind):
        raise ValueError("dockerd answers %s with something that is no %s" % (url, kind.__name__))
    return data


def _ask_containers(does: Does, instance: Instance, host: Host, told: Told, ask) -> None:
    listed = _answer(ask, "/containers/json", list)
    if not listed:
        return
    own = (data_root(instance, told, does), told.config_path, posixpath.dirname(told.config_path))
    inspector = Inspector(host, {*SENSITIVE, *own, *api_sockets(instance, told)})
    for entry in listed:
        try:
            number, name = str(entry["Id"]), (entry.get("Names") or ["?"])[0].lstrip("/")
        except (AttributeError, KeyError, TypeError):
            raise ValueError("dockerd lists a container without a name") from None
        answer = _answer(ask, "/containers/%s/json" % number, dict, gone=True)
        container = None if answer is None else inspector.container(answer, name)
        if container:
            does.containers[number] = (name, steady_pid(answer))
            does.inspected.append(container)


def steady_pid(answer: dict) -> int:
    """The process that a container must keep; 0 for one that comes and goes.

    That is one which its restart policy has started again a short while ago (moby
    daemon/monitor.go counts that, and forgets the count where somebody starts the container).
    """
    state = answer.get("State") or {}
    try:
        begun = calendar.timegm(time.strptime(str(state.get("StartedAt"))[:19], TIMESTAMP))
    except ValueError:
        begun = 0
    again = answer.get("RestartCount") and time.time() - begun < STEADY
    return 0 if again or state.get("Restarting") else state.get("Pid") or 0


def data_root(instance: Instance, told: Told, does: Does | None) -> str:
    """Where the daemon keeps what it has; userns-remap gives it a directory of its own."""
    running = does.info.get("DockerRootDir") if does else None
    return str(running or told.setting("data-root") or instance.data_root)


def _versions(data: dict) -> tuple[str, dict]:
    """The build's name and the components' versions, moby api/types Version."""
    components = {str(one["Name"]): str(one["Version"]) for one in data["Components"] or []}
    return str((data.get("Platform") or {}).get("Name") or ""), components


def _below(host: Host, pid: int) -> int:
    """The dockerd that rootlesskit started, within its namespaces; 0 where there is none."""
    children: dict = {}
    commands = {}
    for name in filter(str.isdecimal, host.list("/proc")):
        status = host.optional("/proc/%s/stat" % name) or b""
        command, fields = status.partition(b"(")[2].rpartition(b")")[::2]
        if fields:
            commands[int(name)] = command
            children.setdefault(int(fields.split()[1]), []).append(int(name))
    level = [pid]
    while level:  # level by level: a container may have a dockerd of its own
        for one in level:
            if commands.get(one) == b"dockerd":
                return one
        level = [child for one in level for child in children.get(one, [])]
    return 0


def _process(host: Host, pid: int) -> Process | None:
    status = host.optional("/proc/%d/stat" % pid)
    command = host.optional("/proc/%d/cmdline" % pid)
    if status is None or command is None:
        return None
    # The command name may hold spaces and brackets; the fields after it do not, proc_pid_stat(5).
    ticks = int(status.rpartition(b")")[2].split()[19])
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    argv = command.decode("utf-8", "replace").split("\0")[:-1]
    started = booted + ticks / os.sysconf("SC_CLK_TCK")
    executable = host.link("/proc/%d/exe" % pid) or ""
    return Process(pid, started, [host.boot, pid, ticks], argv, executable)


# The names of /proc/PID/limits for those of default-ulimits, docker/go-units ulimit.go.
_LIMITS = {
    "core": "Max core file size",
    "cpu": "Max cpu time",
    "data": "Max data size",
    "fsize": "Max file size",
    "locks": "Max file locks",
    "memlock": "Max locked memory",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "nofile": "Max open files",
    "nproc": "Max processes",
    "rss": "Max resident set",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
    "sigpending": "Max pending signals",
    "stack": "Max stack size",
}
_CAP_SYS_RESOURCE = 24


def _manager(host: Host, instance: Instance) -> int:
    """The process of the systemd that starts the daemon; 0 where a user's does not run."""
    if not instance.rootless:
        return 1
    name = "user@%d.service" % instance.user.uid
    shown = host.run(["systemctl", "show", name, "--property=MainPID", "--value"], timeout=3)
    answer = shown.out.strip()
    return int(answer) if answer.isdigit() else 0


def _limits(host: Host, pid: int, rootless: bool, unit: dict) -> dict:
    """Hard limits that bind: without CAP_SYS_RESOURCE a process cannot exceed its own.

    With it only fs.nr_open binds, setrlimit(2); the capabilities of a rootless daemon end at
    its own namespace and lift no limit of the host's, user_namespaces(7). Whom systemd starts
    has what the ``unit`` asks for, and no more than systemd itself.
    """
    status = (host.optional("/proc/%d/status" % pid) or b"").decode()
    effective = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    if not rootless and effective and int(effective[0], 16) >> _CAP_SYS_RESOURCE & 1:
        return {"nofile": int(host.optional("/proc/sys/fs/nr_open") or 1 << 20)}
    found = {}
    lines = (host.optional("/proc/%d/limits" % pid) or b"").decode().splitlines()
    for name, label in _LIMITS.items():
        hard = [line[len(label) :].split()[1] for line in lines if line.startswith(label)]
        hard.append(unit.get("Limit" + name.upper(), ""))
        numbers = [int(word) for word in hard if word.isdigit()]
        if numbers:
            found[name] = min(numbers)
    return found


def _sockets(host: Host, pid: int) -> set:
    found = set()
    for number in host.list("/proc/%d/fd" % pid):
        target = host.link("/proc/%d/fd/%s" % (pid, number)) or ""
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def _bound(host: Host) -> dict:
    found: dict = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (host.optional(table) or b"").decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN, include/net/tcp_states.h
                address, port = fields[1].split(":")
                place = (_address(address), int(port, 16))
                found.setdefault(place, set()).add(int(fields[9]))
    return found


def _address(text: str) -> str:
    """An address as proc_net_tcp(5) prints it: words of four bytes, each in the host's order."""
    words = [bytes.fromhex(text[place : place + 8]) for place in range(0, len(text), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))


def _paths(host: Host) -> dict:
    found: dict = {}
    for line in (host.optional("/proc/net/unix") or b"").decode("utf-8", "replace").splitlines():
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[3] == "00010000":  # __SO_ACCEPTCON, include/linux/net.h
            found.setdefault(fields[7], set()).add(int(fields[6]))
    return found
