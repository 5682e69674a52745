# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares a host for rootless daemons, all users in one run, and takes away what it prepared.

Each step looks at the state first, so a run that died half-way is finished by the next. What is
wrong with the ground is refused before the first step.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Callable, Iterator

from . import config, ground, ranges
from .does import data_root, read_does, units_of
from .errors import HostError, Refused, RolledBack
from .host import Host, User, as_text
from .instance import ROOT, Instance, rootless
from .snapshot import read_manifest
from .told import read_told
from .wanted import PRIVILEGED, Wanted, problems

STATE = "/var/lib/hardened-docker/rootless"
MANIFEST = STATE + "/manifest.json"
UNIT = "/etc/systemd/user/docker.service"
DELEGATE = "/etc/systemd/system/user@.service.d/hardened-rootless.conf"
SYSCTL = "/etc/sysctl.d/90-hardened-docker-rootless.conf"
APPARMOR = "/etc/apparmor.d/hardened-rootlesskit"
RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
PORT_START = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
CONTEXT = "rootless"
HEAD = "# Managed by hardened.docker, role dockerd_rootless.\n"
UNIT_TEXT = (
    HEAD
    + """\
[Unit]
Description=Docker of a user, without root
Documentation=https://docs.docker.com/go/rootless/

[Service]
Type=notify
NotifyAccess=all
Environment=PATH=%(path)s
ExecStart=%(script)s
ExecReload=/bin/kill -s HUP $MAINPID
Restart=always
RestartSec=2
StartLimitBurst=3
StartLimitInterval=60s
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
Delegate=yes
KillMode=mixed

[Install]
WantedBy=default.target
"""
)


@dataclass
class Manifest:
    """What we made on this host for rootless daemons."""

    users: dict = field(default_factory=dict)  # name -> what of the user's ground is ours
    files: list = field(default_factory=list)
    system: dict = field(default_factory=dict)  # what the system's daemon was, while it is masked


@dataclass
class Work:
    """What was done, or in check mode would be."""

    host: Host
    check: bool
    manifest: Manifest
    done: list[str] = field(default_factory=list)
    diff: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # user -> what went wrong
    system_returns: bool = False  # the system's daemon is given back
    users: list[dict] = field(default_factory=list)  # facts of those named, in their order

    def do(self, what: str, act: Callable[..., object], *arguments: object) -> None:
        """One step, unless this only predicts; what is ours is on disk before and after it."""
        self.done.append(what)
        if not self.check:
            self.record()
            act(*arguments)
            self.record()

    def run(self, what: str, *argv: str, timeout: float = 60) -> None:
        """A step that is a command. Raises HostError where it fails."""
        self.do(what, _run, self.host, argv, timeout)

    def put(self, path: str, data: bytes | None, user: User | None = None) -> bool:
        """A step that is a file, None for no file; False where it is so already.

        A user's file is written with the user's rights.
        """
        host = self.host.seen_by(user) if user else self.host
        before = host.optional(path)
        if before == data:
            return False
        self.diff.append(
            {
                "before_header": path if before is not None else "no file",
                "after_header": path if data is not None else "no file",
                "before": as_text(before),
                "after": as_text(data),
            }
        )
        status = host.stat(path)
        # docker keeps passwords in config.json, and the mode that it finds.
        mode = status.mode if status else 0o600 if user else 0o644
        owner = user or ROOT
        if data is None:
            self.do("remove %s" % path, host.remove, path)
        else:
            self.do("write %s" % path, host.write, path, data, mode, owner.uid, owner.gid)
        return True

    def own(self, name: str, **what: object) -> None:
        """Record that something of a user's ground is ours."""
        self.manifest.users.setdefault(name, {}).update(what)

    def record(self) -> None:
        """Put the manifest on disk, in which an interrupted run is still known."""
        data = json.dumps(asdict(self.manifest), indent=2, sort_keys=True).encode() + b"\n"
        if not self.check and self.host.optional(MANIFEST) != data:
            self.host.write(MANIFEST, data, 0o600)


def prepare(
    host: Host,
    wanted: list[Wanted],
    lowest_port: int = PRIVILEGED,
    exclusive: bool = False,
    allow: frozenset = frozenset(),
    check: bool = False,
) -> Work:
    """Prepare a host for the daemons of its users, and take away those that are to go.

    ``lowest_port`` is the first that users may publish; ``allow`` names the dangers that the
    operator accepts. Raises Refused with nothing touched, and HostError where a step fails that all
    users share; the next run goes on from there. What fails for one user is in ``failures``, and
    leaves the others alone.
    """
    work = Work(host, check, read_record(host))
    if check:
        _prepare(work, wanted, lowest_port, exclusive, allow)
        return work
    host.make_directory(STATE, 0o700)
    with host.locked(STATE + "/lock"):
        _prepare(work, wanted, lowest_port, exclusive, allow)
    return work


def read_record(host: Host) -> Manifest:
    """What is ours; an absent or damaged manifest says nothing."""
    try:
        return Manifest(**json.loads(host.optional(MANIFEST) or b"{}"))
    except (ValueError, TypeError):
        return Manifest()


def _prepare(work: Work, wanted, lowest_port: int, exclusive: bool, allow: frozenset) -> None:
    host = work.host
    _raise(problems(host, wanted, lowest_port))
    present = [one for one in wanted if not one.absent]
    gone = [one for one in wanted if one.absent and host.uid(one.name) is not None]
    stop = "dockerd_rootless_allow_container_stop"
    running: dict = {}
    for one in gone:
        try:
            running[one.name] = _containers(host, rootless(host.known(one.name)))
        except Refused as error:
            work.failures[one.name] = str(error)
    system = _containers(host, Instance()) if exclusive else {}
    stopped = {**running, "the system": system} if stop not in allow else {}
    _refuse(host, present, stopped, exclusive)
    for one in wanted:
        try:
            if one.name in running:
                _take_away(work, host.known(one.name), one)
            elif one.absent and one not in gone:
                _forget_deleted(work, one.name)
        except HostError as error:
            work.failures[one.name] = str(error)
    stay = set(work.manifest.users) | {one.name for one in present}
    stay -= {one.name for one in wanted if one.absent}
    for one in present:
        if host.uid(one.name) is None:
            words = ("--create-home", "--user-group", "--shell", one.shell, one.name)
            work.run("make the user %s" % one.name, "useradd", *words)
        work.own(one.name, uid=host.uid(one.name))
    _share(work, bool(stay), lowest_port)
    for one in present:
        if host.uid(one.name) is None:  # predicted
            work.done.append("give %s subordinate ids, a manager at boot and a context" % one.name)
            continue
        user = host.known(one.name)
        try:
            _settle_ranges(work, user)
            _linger(work, user)
            _context(work, user)
        except HostError as error:
            work.failures[user.name] = str(error)
    work.users += [
        _facts(host, one) if one.name not in work.failures else {"name": one.name, "ready": False}
        for one in wanted
    ]
    (_mask if exclusive else _unmask)(work, system)
    work.record()


# -- before anything is touched


def _refuse(host: Host, present: list, running: dict, exclusive: bool) -> None:
    """Refuse what this host cannot carry, or what would stop containers."""
    found = ground.problems(host) if present else []
    found += _unmaskable(host) if exclusive else []
    for one in present:
        if host.uid(one.name) is not None:
            found += ground.user_problems(host, host.known(one.name), one.data_root)
        elif one.create:
            home = "/home/%s" % one.name
            found += ground.home_problems(host, one.name, one.data_root or home)
        else:
            found.append(
                "%s is no user of this host, and is not to be made. Make the user, or set create:"
                " true in dockerd_rootless_users." % one.name
            )
    found += _range_problems(host, present)
    found += [
        "The daemon of %s has %d running containers, which would stop, or with live-restore run on"
        " without it (%s). Set dockerd_rootless_allow_container_stop: true to accept that."
        % (name, len(containers), ", ".join(label for label, dummy in containers.values()))
        for name, containers in running.items()
        if containers
    ]
    _raise(found)


def _raise(problems: list[str]) -> None:
    if problems:
        raise Refused(
            "No rootless daemon can stand on this host; nothing was changed. %s"
            % " ".join(problems),
            problems=problems,
        )


def _range_problems(host: Host, present: list) -> list[str]:
    """Why some user would get no ids; each takes the ids that the one before it left."""
    try:
        texts = ground.subids(host)
        for one in present:
            texts = ranges.settle(texts, one.name, host.uid(one.name), *_surroundings(host))[0]
    except (Refused, HostError) as error:
        return [str(error)]
    return []


def _unmaskable(host: Host) -> list[str]:
    """Unit files where the link that masks would go, systemctl(1) mask."""
    instance = Instance()
    return [
        "%s/%s is a file, which systemctl mask does not replace; move it to"
        " /usr/local/lib/systemd/system." % (instance.unit_directory, unit)
        for unit in instance.units[:2]
        if unit in host.list(instance.unit_directory)
        and not host.link("%s/%s" % (instance.unit_directory, unit))
    ]


def _containers(host: Host, instance: Instance) -> dict:
    """A daemon's running containers. Raises Refused where it is up and cannot be asked."""
    host = host.seen_by(instance.user)
    does = read_does(instance, host, read_told(instance, host))
    if does.active(instance.service) and not does.answers:
        raise Refused(
            "%s runs and cannot be asked for its containers (%s); nothing was changed. Mend or stop"
            " it first." % (instance.name, does.problem)
        )
    return does.containers


# -- what all users share


def _share(work: Work, stay: bool, lowest_port: int) -> None:
    host, ours = work.host, work.manifest.files
    script = ground.find(host, (ground.SCRIPT,), ground.SCRIPTS)
    kit = ground.find(host, ground.KITS)
    path = ":".join(dict.fromkeys([script.rpartition("/")[0], *ground.BINARIES]))
    unit = UNIT_TEXT % {"path": path, "script": script}
    packaged = ground.find(host, ("docker.service",), ground.PACKAGED)
    foreign = packaged or (host.stat(UNIT) and UNIT not in ours)
    delegates = HEAD + "[Service]\nDelegate=%s\n" % " ".join(ground.CONTROLLERS)
    restricted = ground.text(host, RESTRICTED).strip() == "1" and not _profiled(host, kit, ours)
    profile = HEAD + (
        "abi <abi/4.0>,\nprofile hardened-rootlesskit %s flags=(unconfined) {\n  userns,\n}\n" % kit
    )
    port = HEAD + "net.ipv4.ip_unprivileged_port_start=%d\n" % lowest_port
    kept = APPARMOR in ours and ground.text(host, RESTRICTED).strip() == "1"
    handed = ground.delegated(host) and DELEGATE not in ours
    former = host.stat(UNIT)
    if _file(work, UNIT, unit, stay and not foreign) and former:
        work.notes.append("%s counts from the next start of each daemon" % UNIT)
    if _file(work, DELEGATE, delegates, stay and not handed):
        work.run("let systemd read the delegation", "systemctl", "daemon-reload")
        live = [uid for uid in host.list("/run/user") if uid != "0"]
        if live and stay:
            work.notes.append(
                "the managers of users who are there already (%s) get the controllers at their next"
                " start" % ", ".join(host.user(int(uid)) for uid in live)
            )
    if _file(work, APPARMOR, profile, stay and (restricted or kept)):
        work.run("load the profile", "apparmor_parser", "--replace", "--write-cache", APPARMOR)
    open_ports = stay and lowest_port < PRIVILEGED
    if _file(work, SYSCTL, port, open_ports) or (
        open_ports and ground.text(host, PORT_START).strip() != str(lowest_port)
    ):
        start = lowest_port if open_ports else PRIVILEGED
        setting = "net.ipv4.ip_unprivileged_port_start=%d" % start
        work.run("set %s" % setting, "sysctl", "--write", setting)


def _file(work: Work, path: str, text: str, wanted: bool) -> bool:
    """A file that is ours: there where it is wanted, gone where it was ours and is not."""
    if wanted:
        if path not in work.manifest.files:
            work.manifest.files.append(path)
        return work.put(path, text.encode())
    if path not in work.manifest.files:
        return False
    if path == APPARMOR:
        work.run("unload the profile", "apparmor_parser", "--remove", path)
    gone = work.put(path, None)
    work.manifest.files.remove(path)
    return gone and path != APPARMOR


def _profiled(host: Host, kit: str, ours: list) -> bool:
    """Whether somebody's profile lets rootlesskit make user namespaces, apparmor.d(5)."""
    texts = (
        ground.text(host, "/etc/apparmor.d/" + name)
        for name in host.list("/etc/apparmor.d")
        if "/etc/apparmor.d/" + name not in ours
    )
    return any(kit in text and "userns" in text for text in texts)


# -- a user's own


def _settle_ranges(work: Work, user: User) -> None:
    host = work.host
    with nullcontext() if work.check else _accounts_locked(host):
        texts = ground.subids(host)
        after, start = ranges.settle(texts, user.name, user.uid, *_surroundings(host))
        if start is not None:
            short = [path for path in texts if len(after[path]) > len(texts[path])]
            work.own(user.name, start=start, ranges=short)
        for path, text in after.items():
            # A file in which nothing differs keeps its bytes.
            if text.rstrip("\n") != texts[path].rstrip("\n"):
                work.put(path, text.encode("utf-8", "surrogateescape"))


def _facts(host: Host, one: Wanted) -> dict:
    """Where things of a user are, for the steps that follow."""
    if one.absent or host.uid(one.name) is None:
        return {"name": one.name, "ready": False}
    user = host.known(one.name)
    instance = rootless(user)
    data_root = one.data_root or instance.data_root
    # runc refuses a path with a symbolic link in it.
    real = host.seen_by(user).resolve(data_root)
    return {
        "name": user.name,
        "ready": True,
        "uid": user.uid,
        "home": user.home,
        "socket": instance.socket_path,
        "config": instance.config_path,
        "tls": tls_directory(user),
        "data_root": real if one.data_root or real != data_root else "",
    }


def tls_directory(user: User) -> str:
    """Where dockerd_tls keeps what a user's daemon serves with."""
    return "%s/.config/docker/tls" % user.home


def _surroundings(host: Host) -> tuple[list[int], int, int]:
    """The ids of users and groups, and the bounds that login.defs(5) has for users' ranges."""
    found = dict(
        line.split()[:2]
        for line in ground.text(host, "/etc/login.defs").splitlines()
        if line.startswith("SUB_UID_M") and len(line.split()) > 1
    )
    lowest, highest = found.get("SUB_UID_MIN", ""), found.get("SUB_UID_MAX", "")
    return (
        [number for one in host.users() for number in (one.uid, one.gid)],
        int(lowest) if lowest.isdecimal() else ranges.LOWEST,
        int(highest) if highest.isdecimal() else ranges.HIGHEST,
    )


@contextmanager
def _accounts_locked(host: Host) -> Iterator[None]:
    """Keep useradd(8) and its kin out while these files change, lckpwdf(3). Raises HostError."""
    path = "/etc/.pwd.lock"
    try:
        handle = os.open(host.real(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError("%s: %s" % (path, error.strerror), path=path) from error
    with os.fdopen(handle, "w"):
        fcntl.lockf(handle, fcntl.LOCK_EX)
        yield


def _linger(work: Work, user: User) -> None:
    host = work.host
    if not host.stat("%s/%s" % (ground.LINGER, user.name)):
        work.own(user.name, linger=True)
        what = "start the manager of %s at boot" % user.name
        work.run(what, "loginctl", "enable-linger", user.name)
    if work.check:
        return
    bus, manager = ("/run/user/%d/%s" % (user.uid, name) for name in ("bus", "systemd/private"))
    deadline = time.monotonic() + 20
    while not (host.stat(bus) and host.stat(manager)):
        if time.monotonic() > deadline:
            raise HostError(
                "%s does not appear: the manager of %s runs without a bus. Was dbus-user-session"
                " installed after it started? systemctl restart user@%d.service ends what the user"
                " runs, and mends that." % (bus, user.name, user.uid)
            )
        time.sleep(0.1)


def _context_path(user: User) -> str:
    """Where docker keeps a context, docker/cli cli/context/store/metadatastore.go."""
    name = hashlib.sha256(CONTEXT.encode()).hexdigest()
    return "%s/.docker/contexts/meta/%s/meta.json" % (user.home, name)


def _context(work: Work, user: User) -> None:
    """A docker context for the socket; the user's choice of another stays."""
    path = _context_path(user)
    endpoint = {"Host": "unix://%s" % rootless(user).socket_path, "SkipTLSVerify": False}
    meta = {"Name": CONTEXT, "Metadata": {}, "Endpoints": {"docker": endpoint}}
    if work.host.seen_by(user).stat(path) is None:
        work.own(user.name, context=True)
    if not work.manifest.users.get(user.name, {}).get("context"):
        return
    work.put(path, json.dumps(meta).encode(), user)
    settings = _settings(work, user)
    if settings is not None and "currentContext" not in settings:
        settings["currentContext"] = CONTEXT
        _settle_settings(work, user, settings)


def _settings(work: Work, user: User) -> dict | None:
    """What the user told docker; None where that cannot be read, and so not be changed either."""
    path = "%s/.docker/config.json" % user.home
    try:
        data = json.loads(work.host.seen_by(user).read(path) or b"{}")
    except FileNotFoundError:
        return {}
    except (HostError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        work.notes.append("%s cannot be read by %s, and stays as it is" % (path, user.name))
        return None
    return data


def _settle_settings(work: Work, user: User, settings: dict) -> None:
    data = json.dumps(settings, indent="\t").encode() + b"\n" if settings else None
    work.put("%s/.docker/config.json" % user.home, data, user)


# -- away again


def _take_away(work: Work, user: User, one: Wanted) -> None:
    """The daemon of a user, its files and its ground; the account and what was not ours stay."""
    instance, ours = rootless(user), work.manifest.users.get(user.name, {})
    host = work.host.seen_by(user, instance.safety)
    told = read_told(instance, host)
    root = data_root(instance, told, read_does(instance, host, told))
    _stop(work, instance)
    manifest = read_manifest(instance, host)
    for path in manifest.files:
        if path != told.config_path:
            work.put(path, None, None if path in instance.safety else user)
    if told.document is not None and manifest.owned:
        left = config.merge(told.data, {}, manifest.owned).data
        work.put(told.config_path, config.render(left) if left else None, user)
    tls = tls_directory(user)
    for name in host.list(tls) if ours else []:
        work.do("remove %s/%s" % (tls, name), host.remove, "%s/%s" % (tls, name))
    _forget_context(work, user, ours)
    if host.stat(instance.state_directory):
        work.do("forget what was ours of it", work.host.remove_tree, instance.state_directory)
    sure = [one.data_root, instance.data_root]
    named = filter(None, [*sure, root, *ours.get("data", [])])
    places = dict.fromkeys(map(host.resolve, named))
    kept = [place for place in places if work.host.list(place)]
    for place in list(kept) if one.purge else []:
        if place in sure or _holds_docker(work.host, user, place):
            work.do("remove what is in %s" % place, _empty, host, instance, place)
            kept.remove(place)
    if ours.get("linger"):
        work.run("end the manager of %s" % user.name, "loginctl", "disable-linger", user.name)
        ours.pop("linger")
    if kept and "start" in ours:
        ours["data"] = kept
        work.notes.append(
            "%s keeps its subordinate ids, because containers in %s belong to them; purge: true"
            " takes both" % (user.name, ", ".join(kept))
        )
        return
    with nullcontext() if work.check else _accounts_locked(work.host):
        for path, text in ground.subids(work.host).items():
            if path in ours.get("ranges", []):
                left = ranges.without(text, user.name, ours["start"])
                work.put(path, left.encode("utf-8", "surrogateescape"))
    work.manifest.users.pop(user.name, None)


def _forget_deleted(work: Work, name: str) -> None:
    """What userdel(8) leaves; who has the number next must not inherit it."""
    host, uid = work.host, work.manifest.users.get(name, {}).get("uid")
    linger = "%s/%s" % (ground.LINGER, name)
    if name in work.manifest.users and host.stat(linger):
        work.do("remove %s" % linger, host.remove, linger)
    state = rootless(User(name, uid, uid, "")).state_directory if uid else ""
    if state and host.stat(state) and uid not in [user.uid for user in host.users()]:
        work.do("forget what was ours of %s" % name, host.remove_tree, state)
        for path in rootless(User(name, uid, uid, "")).safety:
            work.put(path, None)
    work.manifest.users.pop(name, None)


def _holds_docker(host: Host, user: User, place: str) -> bool:
    """Whether a directory that the user named is a daemon's, and not the home or what is above."""
    above = (host.resolve(user.home) + "/").startswith(place + "/")
    return not above and bool(host.stat(place + "/containers"))


def _empty(host: Host, instance: Instance, place: str) -> None:
    """Remove containers; their files belong to ids that are the user's only in a namespace."""
    kit = ground.find(host, ground.KITS)
    words = ("find", place, "-mindepth", "1", "-delete")
    _run(host, instance.command(kit, *words), 600)
    # Stays where the directory above is another's.
    host.run(instance.command("rmdir", place))


def _stop(work: Work, instance: Instance) -> None:
    """Stop a daemon and let nothing start it again; its manager may be gone already."""
    host = work.host.seen_by(instance.user)
    link = instance.start_link
    shown = host.run(instance.systemctl("is-active", instance.service))
    if shown.out.strip() in ("active", "activating", "reloading"):
        words = instance.systemctl("disable", "--now", instance.service)
        work.run("stop the daemon of %s" % instance.user.name, *words)
    if host.link(link):
        work.do("disable the daemon of %s" % instance.user.name, host.remove, link)


def _forget_context(work: Work, user: User, ours: dict) -> None:
    if not ours.get("context"):
        return
    work.put(_context_path(user), None, user)
    settings = _settings(work, user)
    if settings and settings.get("currentContext") == CONTEXT:
        settings.pop("currentContext")
        _settle_settings(work, user, settings)
    ours.pop("context")


# -- the system's daemon


def _mask(work: Work, containers: dict) -> None:
    """Stop, disable and mask the system's daemon, or put it back where that does not hold."""
    host, units = work.host, Instance().units
    shown = host.run(["systemctl", "show", *units, "--property=Id,ActiveState,UnitFileState"])
    there = {unit["Id"]: unit for unit in units_of(shown.out) if unit.get("UnitFileState")}
    masked = [unit for unit in units[:2] if there.get(unit, {}).get("UnitFileState") == "masked"]
    active = [unit for unit, state in there.items() if state.get("ActiveState") == "active"]
    if not there or (units[0] in masked and not work.manifest.system):
        return  # there is none, or somebody else masked it
    # What it was before the first run of these, of which one may have died half-way.
    former = work.manifest.system or {
        "enabled": [unit for unit, it in there.items() if it["UnitFileState"] == "enabled"],
        "active": active,
        "containers": [],
    }
    former["containers"] = sorted({*former["containers"], *containers})
    work.manifest.system = former
    if containers:
        work.notes.append(
            "%d containers of the system's daemon ran; with live-restore they run on without it"
            % len(containers)
        )
    unmasked = [unit for unit in units[:2] if unit in there and unit not in masked]
    try:
        if active or unmasked:
            # All at once: a client at a socket would start the service again.
            work.run("stop the system's daemon", "systemctl", "stop", *there, timeout=120)
        if unmasked:
            work.run("disable it", "systemctl", "disable", *unmasked)
            work.run("mask it", "systemctl", "mask", *unmasked)
    except HostError as error:
        _unmask(work, {})
        raise RolledBack(
            "The system's daemon could not be masked, and is back: %s" % error
        ) from error


def _unmask(work: Work, dummy: dict) -> None:
    """Give the system its daemon back as it was, and its containers with it."""
    host, former = work.host, work.manifest.system
    if not former:
        return
    work.system_returns = True
    work.run("unmask the system's daemon", "systemctl", "unmask", *Instance().units[:2])
    if former["enabled"]:
        work.run("enable it", "systemctl", "enable", *former["enabled"])
    if former["active"]:
        active = sorted(former["active"], key=lambda unit: unit.endswith(".service"))
        work.run("start it", "systemctl", "start", *active, timeout=120)
    lost = []
    if former["containers"] and not work.check:
        running = _containers(host, Instance())
        for name in former["containers"]:
            if name not in running:
                work.done.append("start the container %s" % name[:12])
                answer = host.run(["docker", "start", name], timeout=60)
                lost += ["%s: %s" % (name[:12], answer.words)] if answer.rc else []
    work.manifest.system = {}
    work.record()
    if lost:
        work.notes.append(
            "containers that did not start again (those of docker run --rm are gone when they"
            " stop): %s" % "; ".join(lost)
        )


def _run(host: Host, argv: tuple, timeout: float) -> None:
    answer = host.run(list(argv), timeout=timeout)
    if answer.rc:
        raise HostError("%s: %s" % (" ".join(argv), answer.words))
