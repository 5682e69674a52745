# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance is told, read from files: daemon.json, units, flags, environment."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from . import config, units
from .addresses import SPACE
from .directives import DIRECTIVES, parse_version
from .errors import HostError
from .host import Host
from .instance import SERVICE_PATH, Instance

TLS_DIRECTIVES = ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
_TLS_FILES = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
# What docker.service runs as moby contrib/init/systemd and Debian have it.
STOCK = ("/usr/bin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock")
ROOTLESS = "dockerd-rootless.sh"
ROOTLESSKIT_FLAGS = "DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS"
PACKAGES = ("docker-ce", "docker.io", "moby-engine")


class Place(NamedTuple):
    """Where something is written; line and column from 1, or 0 for the whole file."""

    path: str
    line: int = 0
    column: int = 0


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
    error_place: Place | None = None
    unreadable: str = ""  # why it cannot even be read; dockerd may see what we do not
    service: units.Unit | None = None
    socket: units.Unit | None = None
    tls_socket: units.Unit | None = None
    other_sockets: list = field(default_factory=list)  # units that hand over descriptors as well
    absent_files: list = field(default_factory=list)  # EnvironmentFile= that must be there
    words: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    arguments: list = field(default_factory=list)  # words that are no flags
    wrapper: str = ""  # what the unit runs, where that is not dockerd and flags are not known
    environment: dict = field(default_factory=dict)
    listeners: list = field(default_factory=list)
    version: tuple | None = None
    version_text: str = ""
    certificate_directory: str = ""  # where dockerd looks for TLS files that nobody names

    @property
    def data(self) -> dict:
        """The directives of daemon.json, none where it is absent or broken."""
        return self.document.data if self.document else {}

    def flag(self, directive: str) -> units.Flag | None:
        """The last flag that sets a directive."""
        return next((flag for flag in reversed(self.flags) if flag.directive == directive), None)

    def setting(self, directive: str, default: object = None) -> object:
        """A directive's value, wherever it is set; lists from flags are gathered."""
        if directive in _TLS_FILES:
            return self._tls_file(directive) or default
        given = [flag.value for flag in self.flags if flag.directive == directive]
        if given:
            known = DIRECTIVES.get(directive)
            return given if known and known.kind in ("list", "ips") else given[-1]
        value = self.data.get(directive)
        return default if value is None else value  # null is unset to dockerd

    def _tls_file(self, directive: str) -> object:
        """The path of a TLS file, moby cmd/dockerd/options.go setDefaultOptions.

        Where only the file turns TLS on, dockerd passes over the flags that name TLS files,
        and over its own defaults.
        """
        if self.data.get(directive) or not self._tls_by_flag:
            return self.data.get(directive)
        flag = self.flag(directive)
        default = posixpath.join(self.certificate_directory, _TLS_FILES[directive])
        return flag.value if flag else default

    @property
    def _tls_by_flag(self) -> bool:
        tls = self.flag("tls")
        by_environment = bool(self.environment.get("DOCKER_TLS_VERIFY"))
        return bool(self.flag("tlsverify") or by_environment or (tls and tls.value is True))

    @property
    def tls(self) -> bool:
        """Whether the TCP listeners speak TLS, moby cmd/dockerd/daemon.go loadDaemonCliConfig.

        tlsverify turns it on by being there, even as false or null. DOCKER_TLS_VERIFY turns
        nothing on since 20.10, except where there is a --tls flag.
        """
        return self._tlsverify_named or self._tls_before_tlsverify

    @property
    def _tlsverify_named(self) -> bool:
        """Whether the name is in the file, if only inside an object that dockerd takes apart."""
        parted = [
            value
            for name, value in self.data.items()
            if isinstance(value, dict)
            and not (name in DIRECTIVES and DIRECTIVES[name].inner and name != "proxies")
        ]
        return any("tlsverify" in names for names in [self.data, *parted])

    @property
    def _tls_before_tlsverify(self) -> bool:
        if self.flag("tlsverify") or self.flag("tls"):
            return self._tls_by_flag
        return self.data.get("tls") is True

    @property
    def tls_files(self) -> dict[str, str]:
        """The TLS files that dockerd opens, by directive: no authority without tlsverify."""
        named = {name: self.setting(name) for name in _TLS_FILES} if self.tls else {}
        if self.setting("tlsverify") is False:
            del named["tlscacert"]
        return {name: path for name, path in named.items() if isinstance(path, str)}

    def where(self, directive: str) -> str:
        """The place that sets a directive, for an error message."""
        if directive in _TLS_FILES and not self.data.get(directive) and not self.flag(directive):
            return "dockerd's default" if self._tls_by_flag else "set nowhere"
        flag = self.flag(directive)
        if flag:
            return "%s in %s" % (" ".join(flag.words), flag.origin)
        position = self.document.positions.get((directive,)) if self.document else None
        return "%s line %d" % (self.config_path, position[0]) if position else self.config_path

    def place(self, *path: object) -> Place:
        """Where a directive is set: ``place("log-opts", "max-size")``; else its file."""
        flag = self.flag(str(path[0])) if path else None
        if flag:
            return Place(flag.path, flag.line)
        positions = self.document.positions if self.document else {}
        return Place(self.config_path, *positions.get(path, positions.get(path[:1], ())))

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
        demanded = self.tls and self.setting("tlsverify") in (None, True)
        return demanded and bool(self.setting("tlscacert"))


def read_told(instance: Instance, host: Host, version: str = "", flags: str | None = None) -> Told:
    """What dockerd is told, from files only; ``flags`` take the place of the unit's."""
    told = Told(instance.config_path)
    told.service = units.load(host, instance.service, instance.search)
    told.socket = units.load(host, instance.socket, instance.search)
    told.tls_socket = units.load(host, instance.tls_socket, instance.search)
    if told.service and not told.service.masked:
        told.environment = told.service.environment(host)
        told.absent_files = told.service.absent_files(host)
        told.words = units.command(host, told.service)
    if flags is not None:
        told.words = units.words([STOCK[0], *units.split(flags)], "the flags given")
    elif told.service is None and not host.live:
        told.words = units.words(STOCK, "the stock docker.service")
    known = [host.resolve(unit.path) for unit in (told.socket, told.tls_socket) if unit]
    told.other_sockets = [
        unit
        for unit in units.activating(host, told.service, instance.service, instance.search)
        if host.resolve(unit.path) not in known
    ]
    if told.words and not _is_dockerd(host, told.words[0].text):
        told.wrapper = told.words[0].text
    else:
        told.flags = units.flags(told.words[1:])
        told.arguments = units.arguments(told.words[1:])
    elsewhere = told.flag("config-file")
    if elsewhere:
        # A service runs in /, systemd.exec(5) WorkingDirectory=.
        told.config_path = posixpath.join("/", str(elsewhere.value))
    try:
        if elsewhere and elsewhere.value == "":
            raise FileNotFoundError  # an empty name stands for no file
        told.raw = host.read(told.config_path)
        told.document = config.parse(told.raw, told.config_path)
    except FileNotFoundError:
        told.unreadable = _lost(host, told.config_path)
        told.document = None if told.unreadable else config.Document({})
    except (HostError, config.TooDeepError) as error:
        told.unreadable = str(error)
    except config.ConfigError as error:
        told.error = str(error)
        told.error_place = Place(told.config_path, error.line, error.column)
    told.version_text = version or engine_version(instance, host, told)
    try:
        told.version = parse_version(told.version_text)
    except ValueError:
        told.version = None
    told.certificate_directory = _certificate_directory(instance, told.environment)
    told.listeners = _listeners(told)
    return told


def _lost(host: Host, path: str) -> str:
    """Why a file that is not below the root may be on the host; empty where it is not."""
    target = host.resolve(path)
    followed = host.link(path) or not host.stat(posixpath.dirname(target))
    if host.live or not followed or target == posixpath.normpath(path):
        return ""
    return "%s is a link to %s, which is not there below the root" % (path, target)


def _is_dockerd(host: Host, binary: str) -> bool:
    """Whether a program is dockerd or its rootless script, by name or as a link to it."""
    paths = [binary, host.resolve(binary)] if binary.startswith("/") else [binary]
    return any(posixpath.basename(path) in ("dockerd", ROOTLESS) for path in paths)


def _certificate_directory(instance: Instance, environment: dict) -> str:
    """moby cmd/dockerd/options.go installFlags."""
    home = environment.get("HOME") or instance.user.home
    given = environment.get("DOCKER_CERT_PATH") or environment.get("DOCKER_CONFIG")
    return posixpath.join("/", given or posixpath.join(home, ".docker"))


def dockerd(instance: Instance, told: Told) -> list[str]:
    """The words that run the instance's dockerd to ask it something, with its owner's rights."""
    binary = told.words[0].text
    if told.wrapper or posixpath.basename(binary) == ROOTLESS:
        binary = "dockerd"  # the script would make a namespace to say so, a wrapper anything
    return instance.command(binary, PATH=told.environment.get("PATH", SERVICE_PATH))


def engine_version(instance: Instance, host: Host, told: Told) -> str:
    """The version of the installed dockerd, which need not be the running one."""
    if not host.live:
        return package_version(host)
    if not told.words:
        return ""
    answer = host.run([*dockerd(instance, told), "--version"], timeout=3)
    words = answer.out.replace(",", " ").split()
    return words[words.index("version") + 1] if "version" in words[:-1] else ""


def package_version(host: Host, packages: tuple = PACKAGES) -> str:
    """The version of one of these packages as Debian's dpkg has it, deb-version(7)."""
    status = (host.optional("/var/lib/dpkg/status") or b"").decode("utf-8", "replace")
    for paragraph in status.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in paragraph.splitlines())
        if fields.get("Package") in packages and "not-installed" not in fields.get("Status", ""):
            return fields.get("Version", "").rpartition(":")[2].partition("-")[0]
    return ""


def _listeners(told: Told) -> list[Listener]:
    found = []
    hosts = [(str(flag.value), flag.origin) for flag in told.flags if flag.directive == "hosts"]
    hosts += [(value, told.config_path) for value in strings(told.data.get("hosts"))]
    hosts = [(value.strip(SPACE), origin) for value, origin in hosts]
    by_descriptor = any(value.startswith("fd://") for value, dummy in hosts)
    others = told.other_sockets if by_descriptor else []
    for unit in (told.socket, told.tls_socket, *others):
        if unit and not unit.masked:
            found += [
                activated(setting.value, setting.path)
                for setting in unit.settings("Socket", "ListenStream")
            ]
    if told.words and not told.wrapper and not hosts:
        hosts = [("", told.where("tls"))]
    for value, origin in hosts:
        if not value:
            found.append(_default_endpoint(origin, told))
        elif not value.startswith("fd://"):
            found.append(endpoint(value, origin))
    return [outside for inside in found for outside in _published(inside, told)]


def _published(listener: Listener, told: Told) -> list[Listener]:
    """Where the network reaches a listener: within rootlesskit's namespace only by its ports.

    One that no port leads to is given as it is: containers reach it still.
    """
    words = iter(told.environment.get(ROOTLESSKIT_FLAGS, "").split())
    found = []
    for word in words:
        if word in ("-p", "--publish"):
            ports = next(words, "")
        elif word.startswith(("-p=", "--publish=")):
            ports = word.partition("=")[2]
        else:
            continue
        # parentIP:parentPort:childPort/tcp, rootlesskit docs/port.md
        address, port, inner = ([""] * 3 + ports.partition("/")[0].rsplit(":", 2))[-3:]
        if listener.tcp and port.isdecimal() and inner == str(listener.port):
            host = address.strip("[]") or "0.0.0.0"
            found.append(Listener("%s:%s" % (address, port), ROOTLESSKIT_FLAGS, host, int(port)))
    return found or [listener]


def _default_endpoint(origin: str, told: Told) -> Listener:
    """Where dockerd listens unless told: with TLS on TCP, instead of its unix socket.

    moby cmd/dockerd/daemon.go normalizeHosts, which since 23.0 comes before tlsverify in the
    file is looked at.
    """
    early = told.version is not None and told.version < (23,)
    if told.tls if early else told._tls_before_tlsverify:
        return endpoint("tcp://localhost:2376", origin)
    return endpoint("unix://", origin)


def activated(value: str, origin: str) -> Listener:
    """A ListenStream= address, systemd.socket(5)."""
    if value.startswith(("/", "@")):
        return Listener(value, origin, path=value)
    host, port = value.rpartition(":")[::2]
    # A bare port is bound on every address of both families.
    number = int(port) if port.isdecimal() else 0
    return Listener(value, origin, host.strip("[]") or "0.0.0.0", number)


def endpoint(value: str, origin: str) -> Listener:
    """A host as dockerd writes it, moby opts/hosts.go. Its default port is that of plain HTTP."""
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
    return Listener(value, origin, host, port or 2375)


def strings(value: object) -> list[str]:
    """The strings in a list; nothing where it is none, which dockerd refuses anyway."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
