# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one instance: what it is told, and what it does.

Reading never writes, and nothing here judges: see ``controls`` and ``plan`` for that.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import config, units
from .directives import DIRECTIVES, parse_version
from .errors import HostError
from .host import Host
from .instance import Instance

TLS_DIRECTIVES = ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
# systemd.exec(5): the search path a service has where its unit says nothing.
SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Listener:
    """An address that dockerd is told to listen on."""

    address: str  # as written
    origin: str  # the file that says so
    host: str = ""  # for TCP: the address to bind; empty for a unix socket
    port: int = 0
    path: str = ""  # for a unix socket

    @property
    def tcp(self) -> bool:
        """Whether it is reachable over the network."""
        return self.port > 0

    @property
    def reach(self) -> str:
        """The address at which the host itself reaches this listener."""
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)


@dataclass
class Told:
    """Everything dockerd is told, read from files."""

    config_path: str
    raw: bytes | None = None  # None where there is no file
    document: config.Document | None = None  # None where it cannot be parsed
    error: str = ""  # why not
    unreadable: str = ""  # why it cannot even be read; dockerd may see what we do not
    service: units.Unit | None = None
    socket: units.Unit | None = None
    tls_socket: units.Unit | None = None
    words: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    listeners: list = field(default_factory=list)
    version: tuple | None = None
    version_text: str = ""

    @property
    def data(self) -> dict:
        """The directives of daemon.json, none where it is absent or broken."""
        return self.document.data if self.document else {}

    def flag(self, directive: str) -> units.Flag | None:
        """The last flag that sets a directive."""
        return next((flag for flag in reversed(self.flags) if flag.directive == directive), None)

    def setting(self, directive: str, default: object = None) -> object:
        """A directive's value, wherever it is set; lists from flags are gathered."""
        given = [flag.value for flag in self.flags if flag.directive == directive]
        if given:
            known = DIRECTIVES.get(directive)
            return given if known and known.kind in ("list", "ips") else given[-1]
        value = self.data.get(directive)
        return default if value is None else value  # null is unset to dockerd

    def where(self, directive: str) -> str:
        """The place that sets a directive, for an error message."""
        flag = self.flag(directive)
        if flag:
            return "%s in %s" % (" ".join(flag.words), flag.origin)
        position = self.document.positions.get((directive,)) if self.document else None
        return "%s line %d" % (self.config_path, position[0]) if position else self.config_path

    @property
    def tcp(self) -> list[Listener]:
        """The listeners that the network reaches."""
        return [listener for listener in self.listeners if listener.tcp]

    @property
    def verifies(self) -> bool:
        """Whether TCP clients must show a certificate of an authority that is named.

        Without tlscacert, dockerd checks clients against the system's certificate store
        (moby cmd/dockerd/daemon.go newAPIServerTLSConfig), which lets strangers in.
        """
        return self.setting("tlsverify") is True and bool(self.setting("tlscacert"))


@dataclass
class Process:
    """The running dockerd."""

    pid: int
    started: float  # seconds since the epoch
    identity: list  # boot, pid and start tick: never the same for two processes
    argv: list


@dataclass
class Does:
    """Everything dockerd does, seen on the running host."""

    units: dict = field(default_factory=dict)  # name -> systemctl show properties
    process: Process | None = None
    answers: bool = False  # on the unix socket
    problem: str = ""  # why not
    info: dict = field(default_factory=dict)
    containers: dict = field(default_factory=dict)  # running ones: id -> (name, pid)
    bridge: dict = field(default_factory=dict)  # options of the default bridge
    inode: object = None  # Stat of the unix socket
    members: list = field(default_factory=list)  # of the unix socket's group
    served: dict = field(default_factory=dict)  # listener address -> (DER, answered a stranger)
    ports: dict = field(default_factory=dict)  # TCP port -> inodes of listening sockets
    descriptors: set = field(default_factory=set)  # socket inodes that dockerd holds
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


@dataclass
class Manifest:
    """What we wrote on this host and what the running daemon had read when we left it."""

    owned: dict = field(default_factory=dict)  # directive -> True, or the inner keys
    files: list = field(default_factory=list)
    applied: dict = field(default_factory=dict)  # identity, data, words, digests
    hosts: list = field(default_factory=list)  # unix sockets that we moved to the command line

    def dump(self) -> bytes:
        """The file's bytes."""
        return json.dumps(self.__dict__, indent=2, sort_keys=True).encode() + b"\n"


@dataclass
class Read:
    """What the running process has read of what it is told."""

    data: dict | None = None  # daemon.json; None where that cannot be known
    words: list = field(default_factory=list)  # the command line without the binary
    digests: dict = field(default_factory=dict)  # path -> digest of files read at start


@dataclass
class Snapshot:
    """One instance at one moment; ``does`` is None where there is no running host to see."""

    instance: Instance
    told: Told
    does: Does | None
    manifest: Manifest
    files: dict = field(default_factory=dict)  # path -> Stat or None, of what the told names
    unreadable: dict = field(default_factory=dict)  # path -> why the host will not say
    owners: dict = field(default_factory=dict)  # path -> (user, group) names
    digests: dict = field(default_factory=dict)  # path -> digest, of files read at start only
    plugins: dict = field(default_factory=dict)  # authorization plugin -> where it was found
    names: dict = field(default_factory=dict)  # SocketUser=, SocketGroup= as written -> name
    missing_owners: dict = field(default_factory=dict)  # SocketUser=, SocketGroup= without entry
    pair_problem: str = ""  # why tlscert, tlskey and tlscacert cannot serve
    leaves: dict = field(default_factory=dict)  # path -> DER of the first certificate
    read: Read = field(default_factory=Read)

    @property
    def socket_owner(self) -> tuple[str, str, int]:
        """User, group and mode that systemd gives the unix socket, systemd.socket(5)."""
        unit = self.told.socket
        # systemd passes over a mode that is none.
        modes = [
            int(setting.value, 8)
            for setting in (unit.settings("Socket", "SocketMode") if unit else [])
            if re.match("0*[0-7]{1,4}$", setting.value)
        ]
        user = (unit.value("Socket", "SocketUser") if unit else None) or "root"
        group = (unit.value("Socket", "SocketGroup") if unit else None) or "root"
        return (
            self.names.get(("user", user), user),
            self.names.get(("group", group), group),
            modes[-1] if modes else 0o666,
        )

    @property
    def recorded(self) -> bool:
        """Whether we know, rather than infer, what the running process has read."""
        process = self.does.process if self.does else None
        return bool(process) and self.manifest.applied.get("identity") == process.identity


def digest(data: bytes | None) -> str:
    """A fingerprint of a file's bytes (SHA-256, hexadecimal); empty where there is no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


def read(instance: Instance, host: Host, version: str = "") -> Snapshot:
    """Everything about one instance. ``version`` is the engine's, where it cannot be asked.

    Raises HostError where the host itself is unreadable; what is broken in a file is part of
    the snapshot.
    """
    told = read_told(instance, host, version)
    does = read_does(instance, host, told) if host.live else None
    snapshot = Snapshot(instance, told, does, read_manifest(instance, host))
    read_files(snapshot, host)
    snapshot.read = _infer(snapshot)
    return snapshot


def _infer(snapshot: Snapshot) -> Read:
    """What the process has read: from our record, or else by the times of files."""
    if snapshot.recorded:
        applied = snapshot.manifest.applied
        return Read(
            applied.get("data"),
            list(applied.get("words") or []),
            dict(applied.get("digests") or {}),
        )
    process = snapshot.does.process if snapshot.does else None
    if not process:
        return Read()

    def older(path: str) -> bool:
        status = snapshot.files.get(path)
        return status is None or status.mtime <= process.started

    told = snapshot.told
    known = told.document is not None and older(told.config_path)
    return Read(
        dict(told.data) if known else None,
        process.argv[1:],
        {path: value if older(path) else "?" for path, value in snapshot.digests.items()},
    )


def _optional(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except (FileNotFoundError, HostError):
        return None


def read_manifest(instance: Instance, host: Host) -> Manifest:
    """What we own; an absent or damaged manifest owns nothing."""
    try:
        data = json.loads(_optional(host, instance.manifest_path) or b"{}")
        return Manifest(
            dict(data["owned"]),
            list(data["files"]),
            dict(data["applied"]),
            strings(data.get("hosts")),
        )
    except (ValueError, KeyError, TypeError):
        return Manifest()


def read_told(instance: Instance, host: Host, version: str = "") -> Told:
    """What dockerd is told, from files only."""
    told = Told(instance.config_path)
    told.service = units.load(host, instance.service)
    told.socket = units.load(host, instance.socket)
    told.tls_socket = units.load(host, instance.tls_socket)
    if told.service and not told.service.masked:
        told.environment = told.service.environment(host)
        told.words = units.command(host, told.service)
        told.flags = units.flags(told.words[1:])
    elsewhere = told.flag("config-file")
    if elsewhere:
        # A service runs in /, systemd.exec(5) WorkingDirectory=.
        told.config_path = posixpath.join("/", str(elsewhere.value))
    try:
        told.raw = host.read(told.config_path)
        told.document = config.parse(told.raw, told.config_path)
    except FileNotFoundError:
        told.document = config.Document({})
    except HostError as error:
        told.unreadable = str(error)
    except config.ConfigError as error:
        told.error = str(error)
    told.version_text = version or engine_version(host, told)
    try:
        told.version = parse_version(told.version_text)
    except ValueError:
        told.version = None
    told.listeners = _listeners(told)
    return told


def engine_version(host: Host, told: Told) -> str:
    """The version of the installed dockerd, which need not be the running one."""
    if not told.words:
        return ""
    answer = host.run([told.words[0].text, "--version"])
    words = answer.out.replace(",", " ").split()
    return words[words.index("version") + 1] if "version" in words[:-1] else ""


def _listeners(told: Told) -> list[Listener]:
    found = []
    for unit in (told.socket, told.tls_socket):
        if unit and not unit.masked:
            found += [
                activated(setting.value, setting.path)
                for setting in unit.settings("Socket", "ListenStream")
            ]
    for flag in told.flags:
        if flag.directive == "hosts" and not str(flag.value).startswith("fd://"):
            found.append(endpoint(str(flag.value), flag.origin, told))
    for value in strings(told.data.get("hosts")):
        if not value.startswith("fd://"):
            found.append(endpoint(value, told.config_path, told))
    return found


def activated(value: str, origin: str) -> Listener:
    """A ListenStream= address, systemd.socket(5)."""
    if value.startswith(("/", "@")):
        return Listener(value, origin, path=value)
    host, port = value.rpartition(":")[::2]
    # A bare port is bound on every address of both families.
    number = int(port) if port.isdecimal() else 0
    return Listener(value, origin, host.strip("[]") or "0.0.0.0", number)


def endpoint(value: str, origin: str, told: Told) -> Listener:
    """A host as dockerd writes it, moby opts/hosts.go."""
    scheme, rest = value.rpartition("://")[::2]
    if scheme == "unix":
        return Listener(value, origin, path=rest or "/var/run/docker.sock")
    if scheme not in ("", "tcp", "http", "https"):
        return Listener(value, origin)
    try:
        parts = urlsplit("//" + rest)
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        return Listener(value, origin)
    secure = told.setting("tls") is True or told.setting("tlsverify") is not None
    return Listener(value, origin, host, port or (2376 if secure else 2375))


def read_files(snapshot: Snapshot, host: Host) -> None:
    """The files that the configuration names: their owners, modes and certificates."""
    told, instance = snapshot.told, snapshot.instance
    paths = [told.config_path, os.path.dirname(told.config_path), "/etc/default/docker"]
    for unit in (told.service, told.socket, told.tls_socket):
        if unit:
            paths += [path for path in [unit.path, *unit.dropins] if path]
    for name in (*TLS_DIRECTIVES[2:], "seccomp-profile"):
        value = told.setting(name)
        if isinstance(value, str) and value.startswith("/"):
            paths.append(value)
    for path in paths:
        try:
            status = host.stat(path)
        except HostError as error:
            status = None
            snapshot.unreadable[path] = str(error)
        snapshot.files[path] = status
        if status:
            snapshot.owners[path] = (host.user(status.uid), host.group(status.gid))
    read_at_start = [told.setting(name) for name in TLS_DIRECTIVES[2:4]]
    for path in [*read_at_start, instance.tls_socket_path, instance.service_dropin]:
        if isinstance(path, str):
            snapshot.digests[path] = digest(_optional(host, path))
    certificate = told.setting("tlscert")
    if isinstance(certificate, str) and snapshot.files.get(certificate):
        snapshot.leaves[certificate] = leaf(_optional(host, certificate))
    snapshot.pair_problem = _pair_problem(snapshot, host)
    for name in strings(told.setting("authorization-plugins")):
        snapshot.plugins[name] = next((path for path in _plugin_paths(name) if host.stat(path)), "")
    user, group = snapshot.socket_owner[:2]
    uid, gid = host.uid(user), host.gid(group)
    if uid is None:
        snapshot.missing_owners["SocketUser"] = user
    else:
        snapshot.names["user", user] = host.user(uid)
    if gid is None:
        snapshot.missing_owners["SocketGroup"] = group
    else:
        snapshot.names["group", group] = host.group(gid)
    if snapshot.does and snapshot.does.inode:
        inode = snapshot.does.inode
        snapshot.owners[instance.socket_path] = (host.user(inode.uid), host.group(inode.gid))


def strings(value: object) -> list[str]:
    """The strings in a list; nothing where it is none, which dockerd refuses anyway."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _plugin_paths(name: str) -> list[str]:
    """Where dockerd looks for a plugin, moby pkg/plugins/discovery.go."""
    if not re.match(r"[\w.:-]{1,200}$", name):
        return []
    sockets = ["/run/docker/plugins/%s.sock", "/run/docker/plugins/%s/%s.sock"]
    found = [path % ((name,) * path.count("%s")) for path in sockets]
    for directory in ("/etc/docker/plugins", "/usr/lib/docker/plugins"):
        found += ["%s/%s.%s" % (directory, name, ending) for ending in ("spec", "json")]
    return found


def _pair_problem(snapshot: Snapshot, host: Host) -> str:
    """What OpenSSL has against the server's files; empty where they can serve, or are absent."""
    authority, certificate, key = (snapshot.told.setting(name) for name in TLS_DIRECTIVES[2:])
    if any(host.predicted(str(path)) for path in (authority, certificate, key)):
        return ""
    given = {
        name: path
        for name, path in zip(TLS_DIRECTIVES[2:], (authority, certificate, key))
        if isinstance(path, str) and snapshot.files.get(path)
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    name = ""
    try:
        for name in given:
            host.read(given[name])  # OpenSSL would wait for a FIFO, and read whatever is there
        name = "tlscert"
        if "tlscert" in given and "tlskey" in given:
            # dockerd takes no passphrase; without one given here OpenSSL would ask the terminal.
            context.load_cert_chain(host.real(certificate), host.real(key), password="")
        name = "tlscacert"
        if name in given:
            context.load_verify_locations(host.real(authority))
    except (HostError, OSError, ValueError) as error:
        return "%s: %s" % (snapshot.told.where(name), error)
    return ""


def leaf(pem: bytes | None) -> bytes:
    """The first certificate of a PEM file as DER; empty where there is none."""
    text = (pem or b"").decode("ascii", "replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = text.find(begin)
    stop = text.find(end, start)
    if start < 0 or stop < 0:
        return b""
    try:
        return ssl.PEM_cert_to_DER_cert(text[start : stop + len(end)])
    except ValueError:
        return b""


def read_does(instance: Instance, host: Host, told: Told) -> Does:
    """What the running daemon does; a dead one leaves its fields empty and says why."""
    does = Does()
    wanted = "--property=Id,ActiveState,MainPID,NeedDaemonReload,Listen,UnitFileState"
    shown = host.run([*instance.systemctl, "show", *instance.units, wanted])
    for block in shown.out.split("\n\n"):
        properties: dict = {}
        for line in block.splitlines():
            name, value = line.partition("=")[::2]
            # Listen= stands once for each address.
            properties[name] = "%s\n%s" % (properties[name], value) if name in properties else value
        does.units[properties.get("Id", "")] = properties
    pid = int(does.units.get(instance.service, {}).get("MainPID") or 0)
    if pid:
        does.process = _process(host, pid)
        does.descriptors = _sockets(host, pid)
        does.limits = _limits(host, pid)
    does.inode = host.stat(instance.socket_path)
    if does.inode:
        does.members = host.members(host.group(does.inode.gid))
    does.ports = _ports(host)
    if does.active(instance.service):
        _ask(does, instance, host)
        for listener in told.tcp:
            if listener.port in does.ports:
                try:
                    does.served[listener.address] = host.handshake(listener.reach, listener.port)
                except HostError:
                    continue
    else:
        does.problem = "%s is not active" % instance.service
    return does


def _ask(does: Does, instance: Instance, host: Host) -> None:
    def get(url: str) -> object:
        status, body = host.get(instance.socket_path, url)
        if status != 200:
            raise HostError("%s answers %s with status %d" % (instance.socket_path, url, status))
        return json.loads(body)

    try:
        does.info = get("/info")
        does.answers = True
        for entry in get("/containers/json"):
            url = "/containers/%s/json" % entry["Id"]
            status, body = host.get(instance.socket_path, url)
            if status == 404:
                continue  # gone since it was listed
            state = json.loads(body)["State"]
            if state.get("Running"):
                does.containers[entry["Id"]] = (
                    (entry.get("Names") or ["?"])[0].lstrip("/"),
                    state["Pid"],
                )
    except (HostError, ValueError, KeyError, TypeError) as error:
        # Containers that nobody could look at are no reason to believe there are none.
        does.answers, does.problem = False, str(error)
        return
    try:
        does.bridge = get("/networks/bridge").get("Options") or {}
    except (HostError, ValueError, AttributeError):
        does.bridge = {}  # bridge: none


def boot_id(host: Host) -> str:
    """What tells this boot of the host from every other, random(4)."""
    return (_optional(host, "/proc/sys/kernel/random/boot_id") or b"").decode().strip()


def _process(host: Host, pid: int) -> Process | None:
    status = _optional(host, "/proc/%d/stat" % pid)
    command = _optional(host, "/proc/%d/cmdline" % pid)
    if status is None or command is None:
        return None
    # The command name may hold spaces and brackets; the fields after it do not, proc_pid_stat(5).
    ticks = int(status.rpartition(b")")[2].split()[19])
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    argv = command.decode("utf-8", "replace").split("\0")[:-1]
    started = booted + ticks / os.sysconf("SC_CLK_TCK")
    return Process(pid, started, [boot_id(host), pid, ticks], argv)


# The names of /proc/PID/limits for those of default-ulimits, docker/go-units ulimit.go.
_LIMITS = {
    "core": "Max core file size",
    "cpu": "Max cpu time",
    "data": "Max data size",
    "fsize": "Max file size",
    "locks": "Max file locks",
    "memlock": "Max locked memory",
    "msgqueue": "Max msgqueue size",
    "nofile": "Max open files",
    "nproc": "Max processes",
    "sigpending": "Max pending signals",
    "stack": "Max stack size",
}
_CAP_SYS_RESOURCE = 24


def _limits(host: Host, pid: int) -> dict:
    """Hard limits that bind: without CAP_SYS_RESOURCE a process cannot exceed its own.

    With it only fs.nr_open binds, setrlimit(2).
    """
    status = (_optional(host, "/proc/%d/status" % pid) or b"").decode()
    effective = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    if effective and int(effective[0], 16) >> _CAP_SYS_RESOURCE & 1:
        return {"nofile": int(_optional(host, "/proc/sys/fs/nr_open") or 1 << 20)}
    found = {}
    lines = (_optional(host, "/proc/%d/limits" % pid) or b"").decode().splitlines()
    for name, label in _LIMITS.items():
        hard = next((line[len(label) :].split()[1] for line in lines if line.startswith(label)), "")
        if hard.isdigit():
            found[name] = int(hard)
    return found


def _sockets(host: Host, pid: int) -> set:
    found = set()
    for number in host.list("/proc/%d/fd" % pid):
        target = host.link("/proc/%d/fd/%s" % (pid, number)) or ""
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def _ports(host: Host) -> dict:
    ports: dict = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (_optional(host, table) or b"").decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN, include/net/tcp_states.h
                port = int(fields[1].rpartition(":")[2], 16)
                ports.setdefault(port, set()).add(int(fields[9]))
    return ports
