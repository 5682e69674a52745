# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one instance: what it is told, and what it does.

Reading never writes, and nothing here judges: see ``controls`` and ``plan`` for that.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from dataclasses import dataclass, field
from datetime import datetime

from . import ground as under
from . import units
from .authorization import read_plugins
from .does import Does, data_root, read_does
from .errors import HostError
from .host import Host, digest
from .instance import Instance
from .needs import Needs, look
from .tls import Tls, read_tls
from .told import TLS_DIRECTIVES, Told, read_told, strings
from .trust import Trust, read_trust

MARK, READ_MARK = b"Managed by hardened.docker", 200  # how our own units begin; bytes to look at
# Where packagings keep options for the command line, and under which name.
DEFAULTS = {"/etc/default/docker": "DOCKER_OPTS", "/etc/sysconfig/docker": "OPTIONS"}


@dataclass
class Manifest:
    """What we wrote on this host and what the running daemon had read when we left it."""

    owned: dict = field(default_factory=dict)  # directive -> True, or the inner keys
    files: list = field(default_factory=list)
    applied: dict = field(default_factory=dict)  # identity, data, words, digests
    hosts: list = field(default_factory=list)  # unix sockets that we moved to the command line
    transaction: str = ""  # the one that wrote this
    damaged: str = ""  # why the file could not be read

    def dump(self) -> bytes:
        """The file's bytes."""
        told = {name: value for name, value in self.__dict__.items() if name != "damaged"}
        return json.dumps(told, indent=2, sort_keys=True).encode() + b"\n"


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
    whole: bool = True  # a whole file system, where an absent file and an owner mean something
    files: dict = field(default_factory=dict)  # path -> Stat or None, of what the told names
    unreadable: dict = field(default_factory=dict)  # path -> why the host will not say
    owners: dict = field(default_factory=dict)  # path -> (user, group) names
    digests: dict = field(default_factory=dict)  # path -> digest, of files read at start only
    owner: str = "root:root"  # whom the files of the instance belong to, by name
    seccomp: bytes | None = None  # the profile in a file, where one is named and there
    swarm_state: bool | None = None  # whether a swarm left its state on disk; None: unknown
    defaults: dict = field(default_factory=dict)  # environment file -> its assignments
    slices: list = field(default_factory=list)  # cgroup-parent, where a unit describes it
    registries: list = field(default_factory=list)  # certificates and keys for registries
    containerd: str = ""  # the socket at which dockerd reaches containerd
    plugins: dict = field(default_factory=dict)  # name of an authorization plugin -> Plugin
    trust: Trust = field(default_factory=Trust)
    names: dict = field(default_factory=dict)  # SocketUser=, SocketGroup= as written -> name
    missing_owners: dict = field(default_factory=dict)  # SocketUser=, SocketGroup= without entry
    tls: Tls = field(default_factory=Tls)
    needs: Needs = field(default_factory=Needs)  # of the host, to start
    read: Read = field(default_factory=Read)
    ground: under.Ground = field(default_factory=under.Ground)  # of a rootless daemon

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
    def swarm(self) -> bool | None:
        """Whether this host is in a swarm, as its daemon says, or what it left on disk."""
        return self.does.swarm if self.does and self.does.info else self.swarm_state

    @property
    def recorded(self) -> bool:
        """Whether we know, rather than infer, what the running process has read."""
        process = self.does.process if self.does else None
        return bool(process) and self.manifest.applied.get("identity") == process.identity


def read(
    instance: Instance,
    host: Host,
    version: str = "",
    flags: str | None = None,
    now: datetime | None = None,
) -> Snapshot:
    """Everything about one instance.

    ``version`` is the engine's, where it cannot be asked; ``flags`` are a command line in the
    place of the unit's; ``now`` is the moment for which certificates are judged.

    Raises HostError where the host itself is unreadable; what is broken in a file is part of
    the snapshot.
    """
    told = read_told(instance, host, version, flags)
    does = read_does(instance, host, told) if host.live else None
    snapshot = Snapshot(instance, told, does, read_manifest(instance, host), host.whole)
    snapshot.trust = read_trust(host, told)
    read_files(snapshot, host, now)
    snapshot.read = _infer(snapshot)
    if instance.rootless:
        shown = does.units.get(instance.service, {}) if does else {}
        snapshot.ground = under.read(instance, host, int(shown.get("MainPID") or 0))
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
        return status is None or status.ctime <= process.started

    told = snapshot.told
    known = told.document is not None and older(told.config_path)
    return Read(
        dict(told.data) if known else None,
        process.argv[1:],
        {path: value if older(path) else "?" for path, value in snapshot.digests.items()},
    )


def read_manifest(instance: Instance, host: Host) -> Manifest:
    """What we own.

    A damaged manifest is read from its spare copy. Without one it is what provably is ours: units
    that say so themselves.
    """
    why = ""
    for path in (instance.manifest_path, instance.spare_path):
        try:
            found = _manifest(host.read(path))
            found.damaged = why
            return found
        except FileNotFoundError:
            why = why or "%s is gone" % path
        except (HostError, ValueError, KeyError, TypeError, RecursionError) as error:
            why = why or "%s cannot be read (%s)" % (path, str(error) or type(error).__name__)
    marked = [path for path in instance.written if MARK in (host.optional(path) or b"")[:READ_MARK]]
    known = marked or host.stat(instance.manifest_path) or host.stat(instance.spare_path)
    return Manifest(files=marked, damaged=why if known else "")


def _manifest(data: bytes) -> Manifest:
    told = json.loads(data)
    return Manifest(
        dict(told["owned"]),
        list(told["files"]),
        dict(told["applied"]),
        strings(told.get("hosts")),
        str(told.get("transaction") or ""),
    )


def read_files(snapshot: Snapshot, host: Host, now: datetime | None = None) -> None:
    """The files that the configuration names: their owners, modes and certificates."""
    told, instance = snapshot.told, snapshot.instance
    paths = [told.config_path, os.path.dirname(told.config_path)]
    paths.append(os.path.dirname(instance.config_path))
    for unit in (told.service, told.socket, told.tls_socket):
        if unit:
            paths += [path for path in [unit.path, *unit.dropins] if path]
    for name in (*TLS_DIRECTIVES[2:], "seccomp-profile"):
        value = told.setting(name)
        if isinstance(value, str) and value:
            paths.append(os.path.join("/", value))
    snapshot.registries = _below(host, instance.registry_directory)
    snapshot.containerd = _containerd(told, instance)
    paths += [*DEFAULTS, *snapshot.registries, snapshot.containerd]
    for path in filter(None, paths):
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
            snapshot.digests[path] = digest(host.optional(path))
    snapshot.tls = read_tls(instance, host, told, now)
    snapshot.plugins = read_plugins(instance, host, told, data_root(instance, told, snapshot.does))
    snapshot.needs = look(told, host)
    _read_owner(snapshot, host)
    user = instance.user
    snapshot.owner = "%s:%s" % (user.name, host.group(user.gid)) if user.uid else "root:root"
    for path in DEFAULTS:
        text = (host.optional(path) or b"").decode("utf-8", "replace")
        snapshot.defaults[path] = units.environment_file(text)
    profile = told.setting("seccomp-profile")
    if isinstance(profile, str) and profile not in ("", "builtin", "unconfined"):
        snapshot.seccomp = host.optional(posixpath.join("/", profile))
    parent = told.setting("cgroup-parent")
    if isinstance(parent, str) and parent.endswith(".slice"):
        unit = units.load(host, parent, instance.search)
        snapshot.slices = [parent] if unit and not unit.masked else []
    snapshot.swarm_state = _swarm_state(snapshot, host)
    if snapshot.does and snapshot.does.inode:
        inode = snapshot.does.inode
        snapshot.owners[instance.socket_path] = (host.user(inode.uid), host.group(inode.gid))


def _read_owner(snapshot: Snapshot, host: Host) -> None:
    """The user and group of the unix socket; without passwd(5) there is nothing to find."""
    user, group = snapshot.socket_owner[:2]
    uid, gid = host.uid(user), host.gid(group)
    if uid is not None:
        snapshot.names["user", user] = host.user(uid)
    elif snapshot.whole:
        snapshot.missing_owners["SocketUser"] = user
    if gid is not None:
        snapshot.names["group", group] = host.group(gid)
    elif snapshot.whole:
        snapshot.missing_owners["SocketGroup"] = group


def _below(host: Host, directory: str) -> list[str]:
    """The files two levels down: certs.d/registry:port/ca.crt, moby registry/config.go."""
    return [
        "%s/%s/%s" % (directory, name, file)
        for name in host.list(directory)
        for file in host.list("%s/%s" % (directory, name))
    ]


def _containerd(told: Told, instance: Instance) -> str:
    """The socket named, or else the packaged one; a rootless dockerd starts its own containerd."""
    named = told.setting("containerd")
    if isinstance(named, str) and named.startswith("/"):
        return named
    return "" if instance.rootless else "/run/containerd/containerd.sock"


def _swarm_state(snapshot: Snapshot, host: Host) -> bool | None:
    """The file is moby daemon/cluster/cluster.go's; with userns-remap it lies one level down."""
    root = snapshot.told.setting("data-root", snapshot.instance.data_root)
    if not isinstance(root, str) or not root.startswith("/"):
        return None
    remapped = [name for name in host.list(root) if re.match(r"\d+\.\d+$", name)]
    places = [root, *("%s/%s" % (root, name) for name in remapped)]
    try:
        return any(host.stat("%s/swarm/docker-state.json" % place) for place in places)
    except HostError:
        return None
