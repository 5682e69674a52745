# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a snapshot to the desired state: what has to change, and what that needs."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace

from . import config, drift, program, units
from .does import data_root
from .errors import Refused
from .findings import redact
from .host import Candidate, Host, User
from .instance import ROOT
from .snapshot import MARK, READ_MARK, Manifest, Snapshot, read_files
from .told import TLS_DIRECTIVES, activated, read_told, strings

_WORDS = ("any", "localhost", "link-local", "multicast")  # that IPAddressAllow= knows
# Where dockerd listens and whom it lets in: ours alone, whoever else has an opinion.
LISTENING = ("hosts", *TLS_DIRECTIVES)
FILE_MODE = 0o644
_PLAIN = re.compile("/[A-Za-z0-9_./+-]*$")  # a path that sh and systemd take as it is
SECRET_MODE = 0o600  # for a file with a proxy's password in it


@dataclass(frozen=True)
class Desired:
    """What the operator wants of one instance. An empty unit text means: no such file."""

    directives: dict
    service_dropin: str = ""
    socket_dropin: str = ""
    tls_socket: str = ""
    members: list[str] | None = None  # of the unix socket's group; None leaves them alone


@dataclass(frozen=True)
class FileChange:
    """One file; None is no file. ``mode`` is the one it ends with."""

    path: str
    before: bytes | None
    after: bytes | None
    mode: int


@dataclass
class Plan:
    """Everything between a host and its desired state."""

    snapshot: Snapshot
    candidate: Snapshot
    files: list[FileChange] = field(default_factory=list)
    inode: tuple | None = None  # the unix socket's (user, group, mode) before and after
    members: tuple | None = None  # the group, its members before and after
    gaps: list[drift.Gap] = field(default_factory=list)
    owned: dict = field(default_factory=dict)
    hosts: list = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    displaced: dict = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dangers: dict = field(default_factory=dict)  # variable that allows it -> what would happen
    keeper: bytes | None = None  # daemon.json that only adds live-restore, to reload first
    enable: bool = False  # so that it starts at boot: no package does that for a user's daemon

    @property
    def activation(self) -> str:
        """What the daemon needs: none, reload or restart."""
        needs = {gap.need for gap in self.gaps}
        if needs - {drift.RELOAD}:
            return "restart"
        return "reload" if needs else "none"

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        work = self.files or self.inode or self.members or self.gaps or self.enable
        return bool(work or self.snapshot.manifest.damaged)

    @property
    def remake(self) -> set[str]:
        """The sockets that must be made anew with the daemon, by the names of their units."""
        return drift.stale(self.candidate, self.gaps)

    @property
    def manifest(self) -> Manifest:
        """What we own once this is carried out."""
        files = [change.path for change in self.files if change.after is not None]
        gone = {change.path for change in self.files if change.after is None}
        kept = [path for path in self.snapshot.manifest.files if path not in gone]
        return Manifest(self.owned, sorted(set(kept) | set(files)), {}, self.hosts)


def make(snapshot: Snapshot, host: Host, desired: Desired, predicted: tuple = ()) -> Plan:
    """The plan for one instance. Reads what the host has; changes nothing.

    Raises Refused where the host has nothing to work on.
    """
    _check_host(snapshot, host)
    told, instance = snapshot.told, snapshot.instance
    plan = Plan(snapshot, snapshot)
    if snapshot.manifest.damaged:
        plan.notes.append(_recovered(snapshot.manifest, instance))
    directives = dict(desired.directives)
    if snapshot.does and snapshot.does.swarm and directives.pop("live-restore", None) is not None:
        plan.notes.append("live-restore is left out: dockerd refuses it on a swarm node")

    files = {instance.service_dropin: desired.service_dropin, instance.command_dropin: ""}
    if instance.socket:
        files[instance.socket_dropin] = desired.socket_dropin
        files[instance.tls_socket_path] = desired.tls_socket
        files[instance.listen_dropin] = ""
    wanted = {path: text.encode() if text else None for path, text in files.items()}
    base = read_told(instance, Candidate(host, wanted), told.version_text)
    kept, displaced = _command(plan, base, directives)
    plan.displaced.update(displaced)
    rewritten = bool(displaced or plan.hosts)
    if rewritten:
        wanted[instance.command_dropin] = _command_dropin(kept, displaced).encode()
    if instance.socket:
        wanted[instance.listen_dropin] = _listen_dropin(plan, base)

    if told.document is not None:
        wanted[told.config_path] = _merge(plan, base, directives, kept)
    wanted.update(program.files(instance, told.config_path))
    for path, after in wanted.items():
        _add_file(plan, host, path, after)

    view = Candidate(host, {change.path: change.after for change in plan.files}, predicted)
    plan.candidate = replace(
        snapshot,
        told=read_told(instance, view, told.version_text),
        files={},
        unreadable={},
        owners={},
        digests={},
        plugins={},
        names={},
        missing_owners={},
    )
    read_files(plan.candidate, view)
    _check_listeners(plan.candidate.told)
    _check_effective(plan, kept if rewritten else None)
    at_boot = snapshot.does is None or snapshot.does.starts_at_boot(instance)
    plan.enable = instance.rootless and not at_boot
    if not instance.rootless and not at_boot:
        plan.notes.append("%s is disabled: it does not come back after a reboot" % instance.service)
    plan.gaps = drift.gaps(plan.candidate)
    _add_owner(plan, host, bool(desired.socket_dropin))
    _add_members(plan, host, desired.members)
    _add_dangers(plan, host)
    return plan


def _check_host(snapshot: Snapshot, host: Host) -> None:
    """Refuse a host on which there is nothing to work on."""
    told, instance = snapshot.told, snapshot.instance
    if told.service is None:
        raise Refused(
            "There is no %s on this host. Install the engine first, or let dockerd_packages name"
            " the distribution's package, for example [docker.io]." % instance.service
        )
    if told.service.masked:
        raise Refused(
            "%s is masked, so nothing can start it: systemctl unmask it, or set"
            " dockerd_rootless_exclusive: false if that masked it." % instance.service
        )
    if told.wrapper:
        raise Refused(
            "%s runs %s, and what that gives dockerd cannot be known, nor changed. Let ExecStart"
            " run dockerd itself." % (instance.service, told.wrapper)
        )
    if instance.socket and told.socket is None:
        raise Refused(
            "There is no %s on this host, which every packaging of the engine brings; without it"
            " the unix socket has no owner to set." % instance.socket
        )
    if told.unreadable:
        raise Refused(
            "%s; until dockerd can read it too, nothing can be changed. Move it out of the way."
            % told.unreadable
        )
    if told.words and host.live and not host.stat(told.words[0].text):
        raise Refused(
            "There is no %s on this host, which %s starts: the daemon could not be restarted."
            " Install the engine's package again." % (told.words[0].text, instance.service)
        )
    if snapshot.instance.socket and not _PLAIN.match(told.config_path):
        raise Refused(
            "--config-file %r has characters that a unit would take for others. Give the file a"
            " plain path." % told.config_path
        )


def _recovered(manifest: Manifest, instance) -> str:
    """What became of a damaged manifest."""
    if manifest.owned or manifest.applied:
        return "%s: what is ours was read from %s" % (manifest.damaged, instance.spare_path)
    return (
        "%s, and neither can %s: units of ours were known by their first line, directives of ours"
        " that are wanted no more stay in daemon.json" % (manifest.damaged, instance.spare_path)
    )


def _command(plan: Plan, base, directives: dict) -> tuple[list[str], dict]:
    """The words of dockerd's command line that can stay, and what conflicts with the plan."""
    if not base.words:
        return [], {}
    instance = plan.snapshot.instance
    hosts, kept, displaced = [], [], {}
    activation = False
    for flag in base.flags:
        if flag.directive == "hosts" and instance.socket:
            value = str(flag.value)
            extra = value.startswith("unix://") and value[7:] not in ("", *_aliases(instance))
            if extra or value == "fd://":
                activation |= value == "fd://"
                hosts += flag.words
                continue
        elif flag.directive not in (*directives, *LISTENING):
            kept += flag.words
            continue
        displaced["%s (%s)" % (" ".join(flag.words), flag.origin)] = flag.value
    if not instance.socket:  # dockerd opens its own socket, and needs no word of it
        if displaced:
            _check_rewritable(base)
        return [base.words[0].text, *kept], displaced
    given = {str(flag.value) for flag in base.flags if flag.directive == "hosts"}
    # Those that were in daemon.json left it in the run that moved them.
    for value in dict.fromkeys([*plan.snapshot.manifest.hosts, *strings(base.data.get("hosts"))]):
        extra = value.startswith("unix://") and value[7:] not in ("", *_aliases(instance))
        if extra and value not in given:
            plan.hosts.append(value)
            hosts += ["-H", value]
    if not activation:
        displaced.setdefault("no -H fd:// (%s)" % base.words[0].origin, "")
        hosts = ["-H", "fd://", *hosts]
    if displaced or plan.hosts:
        _check_rewritable(base)
    return [base.words[0].text, *hosts, *kept], displaced


def _check_listeners(told) -> None:
    """Refuse what systemd.socket(5) and systemd.resource-control(5) would not take, or drop."""
    unit = told.tls_socket
    for setting in unit.settings("Socket", "ListenStream") if unit else []:
        host, port = setting.value.rpartition(":")[::2]
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not (port.isdecimal() and 0 < int(port) < 65536 and _address(bare, bare != host)):
            raise Refused(
                "dockerd_listen: %r is no address and port. Write them as in 0.0.0.0:2376 or"
                " [::]:2376; names are not looked up." % setting.value
            )
    for setting in unit.settings("Socket", "IPAddressAllow") if unit else []:
        for word in setting.value.split():
            try:
                word in _WORDS or ipaddress.ip_network(word, strict=False)
            except ValueError:
                raise Refused(
                    "dockerd_listen_allow: %r is no address, no network and none of %s; systemd"
                    " would pass over it, and its clients would be locked out."
                    % (word, ", ".join(_WORDS))
                ) from None


def _address(text: str, bracketed: bool) -> bool:
    try:
        return ipaddress.ip_address(text).version == (6 if bracketed else 4)
    except ValueError:
        return text == ""  # a bare port listens on every address


def _check_rewritable(base) -> None:
    """Refuse to write a command line again of which we cannot say all that it means."""
    flags = {word for flag in base.flags for word in flag.words}
    for word in base.words[1:]:
        specifier = re.search("%[A-Za-z]", word.text)
        if specifier:
            lacks = "%s, which only systemd can expand; write out what it stands for" % (
                specifier.group()
            )
        elif not word.text.startswith("-") and word.text not in flags:
            lacks = "a word that is no flag of dockerd's; take it out"  # it may be a secret
        else:
            continue
        raise Refused(
            "%s conflicts with what is wanted, and cannot be written again: it holds %s."
            % (word.origin, lacks)
        )


def _check_effective(plan: Plan, command: list[str] | None) -> None:
    """Refuse where a drop-in after ours takes back what ours says."""
    told = plan.candidate.told
    last = None
    if command is not None and [word.text for word in told.words] != command:
        last = (told.service, "Service", "ExecStart")
    elif told.socket and any(activated(one, "").tcp for one in units.listeners(told.socket)):
        last = (told.socket, "Socket", "ListenStream")
    guard = plan.snapshot.instance.guard_dropin
    for key in ("ExecStartPre", "ExecStartPost", "ExecStopPost"):
        kept = {one.path for one in told.service.settings("Service", key)}
        if plan.snapshot.instance.socket and guard not in kept:
            last = (told.service, "Service", key)
    if last:
        unit, section, key = last
        raise Refused(
            "%s sets %s again after our drop-in and would win. Rename it, so that it sorts before"
            " zz-hardened-, or take the line out." % (_last(unit, section, key), key)
        )


def _last(unit, section: str, key: str) -> str:
    """The file with the last word on a setting, an empty one included."""
    return [setting.path for *where, setting in unit.assignments if where == [section, key]][-1]


def _aliases(instance) -> tuple[str, str]:
    return instance.socket_path, instance.socket_path.replace("/run/", "/var/run/", 1)


def _quote(word: str) -> str:
    """A word of ExecStart= as systemd reads it back, systemd.service(5) COMMAND LINES."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word and word.isprintable() and not set(word) & set(" \"'\\;"):
        return word
    word = word.replace("\\", "\\\\").replace('"', '\\"')
    # A line break would end the assignment.
    return '"%s"' % re.sub("[\x01-\x1f\x7f]", lambda found: "\\x%02x" % ord(found.group()), word)


def _command_dropin(kept: list[str], displaced: dict) -> str:
    lines = ["# Managed by hardened.docker: dockerd's command line without what conflicts:"]
    # Everybody may read this file; a line break in a flag would end the comment.
    lines += ["#   %s" % " ".join(redact(text).split()) for text in displaced]
    lines += ["[Service]", "ExecStart=", "ExecStart=%s" % " ".join(_quote(word) for word in kept)]
    return "\n".join(lines) + "\n"


def _listen_dropin(plan: Plan, base) -> bytes | None:
    """docker.socket without the TCP listeners that somebody added to it."""
    addresses = units.listeners(base.socket)
    closed = [address for address in addresses if activated(address, "").tcp]
    if not closed:
        return None
    for address in closed:
        plan.displaced["ListenStream=%s (%s)" % (address, plan.snapshot.instance.socket)] = address
    lines = ["# Managed by hardened.docker: TCP belongs to docker-tls.socket.", "[Socket]"]
    lines += ["ListenStream="]
    kept = [address for address in addresses if address not in closed]
    if not kept:
        kept = [plan.snapshot.instance.socket_path]  # systemd starts no socket without a listener
    lines += ["ListenStream=%s" % address for address in kept]
    return ("\n".join(lines) + "\n").encode()


def _merge(plan: Plan, base, directives: dict, kept: list[str]) -> bytes | None:
    """daemon.json as it becomes; the very bytes it has where nothing differs."""
    told, manifest = plan.snapshot.told, plan.snapshot.manifest
    drop = [name for name in LISTENING if name not in directives]
    given = {flag.directive: flag.value for flag in units.flags(units.words(kept[1:]))}
    drop += [name for name in ("containerd",) if name in given]
    if "log-opts" in directives and given.get("log-driver", "local") not in ("json-file", "local"):
        # As config.merge has it for a driver in the file: its options would not fit.
        directives = {name: value for name, value in directives.items() if name != "log-opts"}
        plan.notes.append("log-opts is left out: it belongs to another log-driver than the host's")
    applied = manifest.applied.get("data") or {}
    for name in directives:
        # Ours, and somebody changed it since.
        if name in manifest.owned and name in told.data and name in applied:
            if not config.same(told.data[name], applied[name]):
                plan.displaced["%s (%s)" % (name, told.config_path)] = told.data[name]
    merged = config.merge(told.data, directives, manifest.owned, drop)
    plan.owned, plan.foreign, plan.left = merged.owned, merged.foreign, merged.left
    for name, value in merged.displaced.items():
        plan.displaced["%s (%s)" % (name, told.config_path)] = value
    plan.notes += [
        "%s is left out: it belongs to another log-driver than the host's" % name
        for name in merged.skipped
    ]
    if config.same(merged.data, told.data):
        return told.raw
    return config.render(merged.data)


def _add_file(plan: Plan, host: Host, path: str, after: bytes | None) -> None:
    if host.link(path) == "/dev/null":
        if after is None:
            return  # masked, which is as good as absent
        raise Refused("%s is masked; systemctl unmask it, or remove the link." % path)
    try:
        before, status = host.read(path), host.stat(path)
    except FileNotFoundError:
        before, status = None, None
    if before not in (None, after) and _is_foreign(plan.snapshot, path, before):
        if after is None:
            return
        raise Refused(
            "%s is somebody else's, and ours has that name. Rename it; what it says is kept then."
            % path
        )
    text = (after or b"").decode("utf-8", "replace")
    private = path == plan.snapshot.instance.program_path or redact(text) != text
    mode = SECRET_MODE if private else FILE_MODE
    if path == plan.snapshot.told.config_path:
        mode &= status.mode if status else mode
    instance = plan.snapshot.instance
    user = ROOT if path in instance.safety else instance.user
    if user.uid and (before, after) != (None, None):
        _check_place(host, path, user)
    owned = status is None or (
        (status.uid, status.gid, status.mode & ~mode) == (user.uid, user.gid, 0)
    )
    if before != after or not owned:
        plan.files.append(FileChange(path, before, after, mode))


def _is_foreign(snapshot: Snapshot, path: str, data: bytes) -> bool:
    """Whether a drop-in with a name of ours is not ours: neither in the manifest nor marked."""
    named = path.endswith(".conf") and path not in snapshot.instance.safety
    return named and path not in snapshot.manifest.files and MARK not in data[:READ_MARK]


def _check_place(host: Host, path: str, user: User) -> None:
    """Refuse a place in a user's home that is another's, such as behind a link to /etc."""
    wanted = path
    while not host.stat(path):
        path = path.rpartition("/")[0]
    found = host.stat(path)
    if found.uid != user.uid:
        raise Refused(
            "%s belongs to %s, or leads to what does, and the daemon of %s is told by files of its"
            " user. Give it to the user, or take it out of the way."
            % (path, host.user(found.uid), user.name)
        )
    if path != wanted and found.kind != "directory":
        raise Refused("%s is no directory, and %s belongs below it." % (path, wanted))


def _add_owner(plan: Plan, host: Host, owned: bool) -> None:
    mode = plan.candidate.socket_owner[2]
    if owned and mode & 0o007:
        raise Refused(
            "dockerd_socket_mode: %04o lets everybody on the host use the socket, which is root."
            ' Quote the mode, as in "0660", or YAML reads another number.' % mode
        )
    does = plan.snapshot.does
    if not does or not does.inode or plan.candidate.missing_owners:
        return
    if not plan.snapshot.instance.socket:
        return  # dockerd makes it, in a directory that is the user's alone
    inode, wanted = does.inode, plan.candidate.socket_owner
    now = (host.user(inode.uid), host.group(inode.gid), inode.mode)
    if now != wanted:
        plan.inode = (now, wanted)


def _add_members(plan: Plan, host: Host, members: list[str] | None) -> None:
    if members is None:
        return
    group = plan.candidate.socket_owner[1]
    before, after = host.members(group), sorted(set(members))
    unknown = [name for name in after if host.uid(name) is None]
    if unknown:
        raise Refused(
            "dockerd_socket_group_members: %s is no user of this host" % ", ".join(unknown)
        )
    if before != after:
        plan.members = (group, before, after)


def _add_dangers(plan: Plan, host: Host) -> None:
    snapshot, does = plan.snapshot, plan.snapshot.does
    stop, hide = map(snapshot.instance.variable, ("allow_container_stop", "allow_hidden_data"))
    if does and does.active(snapshot.instance.service) and not does.answers:
        known = (snapshot.read.data or {}).get("live-restore") is True
        if plan.activation == "restart" and not (known and snapshot.instance.socket):
            plan.dangers[stop] = (
                "the restart stops the containers of a daemon that cannot be asked for them (%s)"
                % does.problem
            )
    if not does:
        return
    told, candidate = snapshot.told, plan.candidate.told
    if plan.activation == "restart" and does.answers:
        _keep_containers(plan)
    elif does.outlived and candidate.setting("live-restore") is not True:
        plan.dangers[stop] = (
            "%d containers have outlived the daemon, which stops them when it starts, because the"
            " desired state has no live-restore" % does.outlived
        )
    if plan.activation == "restart":
        _name_dependents(plan)
    counts = does.info.get("Containers"), does.info.get("Images")
    populated, held = any(counts), "%s containers and %s images" % counts
    if not does.answers:
        held = "containers and images"
        populated = does.outlived or _populated(host, data_root(snapshot.instance, told, does))
    for name in ("userns-remap", "data-root"):
        before, after = told.setting(name) or "", candidate.setting(name) or ""
        if snapshot.read.data is not None and not told.flag(name):
            before = snapshot.read.data.get(name) or ""  # what runs, not what somebody wrote since
        if populated and before != after:
            plan.dangers.setdefault(
                hide,
                "%s changes from %s to %s, which hides this host's %s"
                % (name, before or "its default", after or "its default", held),
            )


def _name_dependents(plan: Plan) -> None:
    """What systemd stops with the daemon, and starts again with it."""
    does, instance = plan.snapshot.does, plan.snapshot.instance
    wrapping = [name for name, wraps in sorted(does.dependents.items()) if wraps]
    others = [name for name, wraps in sorted(does.dependents.items()) if not wraps]
    if wrapping:
        plan.dangers.setdefault(
            instance.variable("allow_container_stop"),
            "the restart stops the containers of %s, which systemd restarts with %s"
            % (", ".join(wrapping), instance.service),
        )
    if others:
        plan.notes.append("restarted with %s: %s" % (instance.service, ", ".join(others)))


def _populated(host: Host, root: str) -> bool:
    """Whether a daemon's directory holds containers or images; userns-remap has one of its own."""
    below = [name for name in host.list(root) if re.fullmatch("[0-9]+[.][0-9]+", name)]
    for place in [root, *("%s/%s" % (root, name) for name in below)]:
        drivers = host.list(place + "/image")
        images = ["%s/image/%s/imagedb/content/sha256" % (place, one) for one in drivers]
        if any(map(host.list, [place + "/containers", *images])):
            return True
    return False


def postpone_upgrade(plan: Plan, allow: frozenset) -> None:
    """Leave a replaced dockerd running where its restart alone would stop containers.

    A package's upgrade is no change of the operator's, and no reason to refuse one.
    """
    stop = plan.snapshot.instance.variable("allow_container_stop")
    others = [gap for gap in plan.gaps if gap.what != drift.UPGRADED]
    if stop in plan.dangers and stop not in allow and len(others) < len(plan.gaps):
        if all(gap.need == drift.RELOAD for gap in others):
            danger, plan.gaps = plan.dangers.pop(stop), others
            plan.notes.append("%s, and goes on: %s" % (drift.UPGRADED, danger))


def _keep_containers(plan: Plan) -> None:
    """live-restore before anything restarts, moby daemon/reload.go: it is reloadable.

    Where no container runs, too: somebody may start one before the restart.
    """
    snapshot, does = plan.snapshot, plan.snapshot.does
    told = snapshot.told
    why = ""
    if snapshot.instance.rootless:
        # Seen with 20.10 and 26.1: killed at once with live-restore, asked to stop without.
        why = "they live in the namespaces of a rootless daemon, which end with it"
    elif plan.candidate.told.setting("live-restore") is not True:
        why = "the desired state has no live-restore"
    elif not does.info.get("LiveRestoreEnabled"):
        if told.document is None or told.flag("live-restore"):
            why = "live-restore cannot be switched on by a reload: %s" % (
                told.error or told.where("live-restore")
            )
        else:
            plan.keeper = config.render({**told.data, "live-restore": True})
    if why and does.containers:
        plan.dangers[snapshot.instance.variable("allow_container_stop")] = (
            "the restart stops %d running containers, because %s" % (len(does.containers), why)
        )
