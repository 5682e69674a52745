# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan carried out whole or not at all.

judge the candidate -> keep the former state -> write -> reload or restart -> probe -> commit,
or put the former state back. The former state is on disk while this runs, so that a run that
was killed is rolled back by the next.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace

from . import config, drift
from . import snapshot as reading
from .controls import CONTROLS
from .does import boot_id
from .errors import HostError, Refused, RolledBack
from .findings import FAILED, Finding, judge, redact
from .host import Candidate, Host
from .instance import Instance
from .plan import Desired, Plan, make, postpone_upgrade
from .snapshot import Snapshot
from .told import TLS_DIRECTIVES, dockerd

VALIDATES = (23, 0)  # the first engine with dockerd --validate, moby 8f80e55111
ROOM = 1024 * 1024  # bytes that must be free before anything is written
# Exit codes of a container that was stopped from outside: SIGKILL, SIGTERM, and runc's own.
STOPPED = (137, 143, 255)


@dataclass
class Outcome:
    """What a transaction did, or would do in check mode."""

    plan: Plan
    before: list[Finding]
    after: list[Finding]
    recovered: bool = False  # an interrupted run was rolled back first
    seconds: float = 0.0  # from the reload or restart to the first answer
    snapshot: Snapshot | None = None


@dataclass
class Journal:
    """The former state, as it lies on disk while a transaction runs."""

    files: list = field(default_factory=list)  # path, mode, uid, gid, blob (None: no file)
    inode: list | None = None  # user, group, mode of the unix socket
    members: list | None = None  # group, members
    identity: list | None = None  # of the process that ran
    active: bool = False
    containers: dict = field(default_factory=dict)  # that must survive: id -> [name, pid]
    given_up: dict = field(default_factory=dict)  # that the operator lets stop
    live_restore: bool = False
    by_flag: bool = False  # live-restore, which then may not be in the file as well
    enable: bool = False  # the unit, which did not start at boot
    config_path: str = ""


def carry_out(
    instance: Instance,
    host: Host,
    desired: Desired,
    check: bool = False,
    allow: frozenset = frozenset(),
    predicted: tuple = (),
    timeout: float = 60.0,
) -> Outcome:
    """Bring one instance to its desired state.

    ``check`` only predicts. ``allow`` names the dangers that the operator accepts. ``predicted``
    are files that an earlier step of the same prediction would have made. ``timeout`` is how
    long dockerd may take to come up, in seconds.

    Raises Refused with nothing touched, RolledBack with the former state back in place.
    """
    host = host.seen_by(instance.user)
    if check:
        return _carry_out(instance, host, desired, True, allow, predicted, timeout)
    host.make_directory(instance.state_directory, 0o700)
    with host.locked("%s/lock" % instance.state_directory):
        return _carry_out(instance, host, desired, False, allow, predicted, timeout)


def _carry_out(instance, host, desired, check, allow, predicted, timeout) -> Outcome:
    journal = read_journal(instance, host)
    lost: list = []
    if journal and not check:
        begun = time.time()
        try:
            lost = restore(instance, host, journal, timeout)
        except HostError as error:
            raise HostError(
                "An interrupted run cannot be rolled back: %s. The daemon said: %s. The former"
                " files are in %s."
                % (
                    error,
                    daemon_words(instance, host, begun) or "nothing",
                    instance.journal_directory,
                )
            ) from error
    elif journal:
        host = Candidate(host, {entry["path"]: entry["data"] for entry in journal.files})
    before = reading.read(instance, host)
    plan = make(before, host, desired, predicted)
    postpone_upgrade(plan, allow)
    if lost:
        plan.notes.append("an interrupted run cost the containers %s" % ", ".join(lost))
    found = judge(before, CONTROLS)
    if plan.changed:
        preflight(plan, host, allow)
    outcome = Outcome(plan, found, found, recovered=journal is not None, snapshot=before)
    if check or not plan.changed:
        return outcome
    outcome.seconds = _execute(plan, host, timeout)
    outcome.snapshot = reading.read(instance, host)
    outcome.after = judge(outcome.snapshot, CONTROLS)
    return outcome


# -- before anything is touched


def preflight(plan: Plan, host: Host, allow: frozenset) -> None:
    """Judge the candidate. Raises Refused naming everything that is wrong with it."""
    problems = [
        "%s: %s. %s" % (finding.control.title, finding.evidence.rstrip("."), finding.control.remedy)
        for finding in judge(plan.candidate, [one for one in CONTROLS if one.starts or one.blocks])
        if finding.status == FAILED
    ]
    if not problems:
        problems = _disk_full(plan, host) + _ports_taken(plan, host) + _validate(plan, host)
    if problems:
        raise Refused(
            "Docker would not work with this; nothing was changed. %s" % redact(" ".join(problems)),
            problems=[redact(problem) for problem in problems],
        )
    for variable, danger in plan.dangers.items():
        if variable not in allow:
            raise Refused(
                "Refused, and nothing was changed: %s. Set %s: true to accept that."
                % (danger, variable)
            )


def _disk_full(plan: Plan, host: Host) -> list[str]:
    """Places without the room to write, to start a daemon, or to put the former state back."""
    does, instance = plan.snapshot.does, plan.snapshot.instance
    paths = [change.path for change in plan.files]
    paths += [instance.state_directory, "/run", (does and does.info.get("DockerRootDir")) or "/"]
    return [
        "%s has %d KiB left, and %d are needed." % (path, host.free(path) // 1024, ROOM // 1024)
        for path in paths
        if host.free(path) < ROOM
    ]


def _ports_taken(plan: Plan, host: Host) -> list[str]:
    """TCP ports that somebody else listens on already."""
    does = plan.snapshot.does
    if not does:
        return []
    ours = {
        listener.port
        for listener in plan.snapshot.told.tcp
        if does.active(plan.snapshot.instance.tls_socket or plan.snapshot.instance.service)
    }
    listen = "dockerd_rootless_users" if plan.snapshot.instance.rootless else "dockerd_listen"
    problems = []
    for listener in plan.candidate.told.tcp:
        inodes = does.ports.get(listener.port, set())
        if inodes and not inodes & does.descriptors and listener.port not in ours:
            problems.append(
                "Port %d (%s) is taken by %s; stop it, or choose another port in %s."
                % (listener.port, listener.address, _holder(host, inodes), listen)
            )
    return problems


def _holder(host: Host, inodes: set) -> str:
    wanted = {"socket:[%d]" % inode for inode in inodes}
    for pid in filter(str.isdigit, host.list("/proc")):
        links = (
            host.link("/proc/%s/fd/%s" % (pid, name)) for name in host.list("/proc/%s/fd" % pid)
        )
        if any(link in wanted for link in links):
            return "process %s (%s)" % (pid, host.link("/proc/%s/exe" % pid) or "unknown")
    return "another service"


def _validate(plan: Plan, host: Host) -> list[str]:
    """What this very dockerd says of the candidate, with the unit's own flags."""
    told = plan.candidate.told
    if not host.live or not told.words or not told.version:
        return []
    if told.version < VALIDATES or told.document is None:
        return []
    data = dict(told.data)
    # dockerd --validate creates the user and its id ranges, moby daemon/daemon_unix.go.
    data.pop("userns-remap", None)
    predicted = [data.get(name) for name in TLS_DIRECTIVES[2:]]
    if any(isinstance(path, str) and not host.stat(path) for path in predicted):
        for name in TLS_DIRECTIVES:
            data.pop(name, None)
    flags = [
        word
        for flag in told.flags
        if flag.directive not in ("config-file", "userns-remap")
        for word in flag.words
    ]
    instance, path = plan.snapshot.instance, "/dev/stdin"
    answer = host.run(
        [*dockerd(instance, told), *flags, "--validate", "--config-file", path],
        standard_input=config.render(data),
        env={} if instance.rootless else told.environment,
    )
    if answer.rc == 0:
        return []
    return ["dockerd --validate: %s." % answer.words.replace(path, told.config_path)]


# -- the former state on disk


def keep(plan: Plan, host: Host) -> Journal:
    """Put the former state on disk, before the first change."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    # Where live-restore cannot be, the operator has accepted that they stop; to write it into the
    # former file of a swarm node would keep even the former daemon from starting.
    containers = {name: list(it) for name, it in does.containers.items()}
    given_up = does.swarm or instance.variable("allow_container_stop") in plan.dangers
    journal = Journal(
        inode=list(plan.inode[0]) if plan.inode else None,
        members=list(plan.members[:2]) if plan.members else None,
        identity=does.process.identity if does.process else None,
        active=does.answers,
        containers={} if given_up else containers,
        given_up=containers if given_up else {},
        live_restore=bool(does.info.get("LiveRestoreEnabled")),
        by_flag=plan.snapshot.told.flag("live-restore") is not None,
        config_path=plan.snapshot.told.config_path,
        enable=plan.enable,
    )
    draft = instance.journal_directory + ".draft"
    host.remove_tree(draft)
    host.make_directory(draft, 0o700)
    paths = [change.path for change in plan.files] + [instance.manifest_path]
    if plan.keeper is not None and journal.config_path not in paths:
        paths.append(journal.config_path)
    for number, path in enumerate(paths):
        status = host.stat(path)
        entry = {"path": path, "blob": None}
        if status:
            entry = {
                "path": path,
                "blob": str(number),
                "mode": status.mode,
                "uid": status.uid,
                "gid": status.gid,
            }
            host.write("%s/%d" % (draft, number), host.read(path), 0o600)
        journal.files.append(entry)
    host.write(draft + "/journal.json", json.dumps(journal.__dict__).encode(), 0o600)
    host.rename(draft, instance.journal_directory)
    return read_journal(instance, host) or journal


def forget(instance: Instance, host: Host) -> None:
    """Drop the former state in one step; a half removed one would be taken for damaged."""
    draft = instance.journal_directory + ".draft"
    host.remove_tree(draft)
    host.rename(instance.journal_directory, draft)
    host.remove_tree(draft)


def read_journal(instance: Instance, host: Host) -> Journal | None:
    """The former state that an unfinished run left; None where there is none."""
    directory = instance.journal_directory
    try:
        journal = Journal(**json.loads(host.read(directory + "/journal.json")))
        for entry in journal.files:
            blob = entry["blob"]
            entry["data"] = None if blob is None else host.read("%s/%s" % (directory, blob))
    except FileNotFoundError as error:
        if host.stat(directory + "/journal.json") is None:
            return None
        raise HostError("%s lacks %s" % (directory, error.filename)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise HostError(
            "%s is damaged (%s); look at it, put back by hand what it holds, and remove it"
            % (directory, error)
        ) from error
    return journal


# -- the change


def _execute(plan: Plan, host: Host, timeout: float) -> float:
    instance = plan.snapshot.instance
    journal = keep(plan, host)
    started = time.time()
    try:
        if plan.keeper is not None:
            _switch_on_live_restore(plan, host)
        for change in plan.files:
            if change.after is not None:
                owner = instance.user
                host.write(change.path, change.after, change.mode, owner.uid, owner.gid)
            else:
                host.remove(change.path)
        if plan.members:
            _set_members(host, plan.members[0], plan.members[2])
        if plan.inode:
            _set_inode(instance, host, plan.inode[1])
        begun = time.monotonic()
        activate(plan, host, timeout)
        await_answer(instance, host)
        seconds = time.monotonic() - begun
        probe(plan, host, journal)
        _commit(plan, host)
    except BaseException as error:
        reason = error if isinstance(error, HostError) else "%s: %s" % (type(error).__name__, error)
        words = daemon_words(instance, host, started)
        trouble = ""
        try:
            lost = restore(instance, host, journal, timeout)
            trouble = ", but these containers did not survive: %s" % ", ".join(lost) if lost else ""
        except (HostError, OSError, ValueError, KeyError) as worse:
            trouble = ", which met trouble: %s" % (str(worse).rstrip(".") or type(worse).__name__)
        raise RolledBack(
            redact(
                "The change did not hold, and the former state was put back%s. Cause: %s.%s"
                % (
                    trouble,
                    str(reason).rstrip("."),
                    " The daemon said: %s" % words if words else "",
                )
            ),
            cause=redact(str(reason)),
            journal=redact(words),
        ) from error
    forget(instance, host)
    return seconds


def _switch_on_live_restore(plan: Plan, host: Host) -> None:
    """Add live-restore to the former file and reload, so that the restart keeps containers."""
    instance, told = plan.snapshot.instance, plan.snapshot.told
    status = host.stat(told.config_path)
    host.write(told.config_path, plan.keeper, status.mode if status else 0o644)
    _systemctl(instance, host, "reload", instance.service)
    _await_live_restore(instance, host, True)


def _await_live_restore(instance: Instance, host: Host, wanted: bool) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status, body = host.get(instance.socket_path, "/info")
        if status == 200 and json.loads(body).get("LiveRestoreEnabled") is wanted:
            return
        time.sleep(0.05)
    raise HostError(
        "dockerd did not set live-restore to %s on reload, so a restart would stop containers"
        % str(wanted).lower()
    )


def activate(plan: Plan, host: Host, timeout: float) -> None:
    """Let systemd and dockerd take up what was written. Raises HostError where they do not."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    needs = {gap.need for gap in plan.gaps}
    units_changed = any(change.path.startswith(instance.unit_directory) for change in plan.files)
    stale = any(entry.get("NeedDaemonReload") == "yes" for entry in does.units.values())
    if units_changed or stale or plan.enable:
        _systemctl(instance, host, "daemon-reload")
    if plan.enable:
        _systemctl(instance, host, "enable", instance.service)
    if plan.activation == "none":
        return
    if plan.activation == "reload":
        _systemctl(instance, host, "reload", instance.service)
        _await_reload(plan, host)
        return
    _systemctl(instance, host, "reset-failed", *instance.units, check=False)
    if plan.candidate.told.tls_socket is None and does.active(instance.tls_socket):
        _systemctl(instance, host, "stop", instance.tls_socket)
    if drift.RESTART_UNIX in needs:
        # A running service keeps the sockets that it was given, so all go down before one is up.
        _systemctl(instance, host, "stop", *_known(plan.candidate.told, instance))
        _systemctl(instance, host, "start", instance.socket, timeout=timeout)
        _systemctl(instance, host, "start", instance.service, timeout=timeout)
    elif drift.RESTART_TLS in needs and plan.candidate.told.tls_socket is not None:
        # The service requires this socket and so restarts with it, systemd.unit(5) Requires=.
        _systemctl(instance, host, "restart", instance.tls_socket, timeout=timeout)
    else:
        _systemctl(instance, host, "restart", instance.service, timeout=timeout)


def _await_reload(plan: Plan, host: Host) -> None:
    """SIGHUP returns at once, and a file that dockerd refuses on reload is only logged."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    deadline = time.monotonic() + 10
    while True:
        info = json.loads(host.get(instance.socket_path, "/info")[1])
        late = drift.unapplied(replace(plan.candidate, does=replace(does, info=info)))
        if not late:
            return
        if time.monotonic() > deadline:
            raise HostError("dockerd did not take up %s on reload" % ", ".join(late))
        time.sleep(0.05)


def _known(told, instance: Instance) -> list[str]:
    return [instance.service, instance.socket] + ([instance.tls_socket] if told.tls_socket else [])


def _systemctl(instance, host, *words: str, timeout: float = 90.0, check: bool = True) -> None:
    answer = host.run(instance.systemctl(*words), timeout=timeout)
    if check and answer.rc:
        raise HostError("systemctl %s: %s" % (" ".join(words), answer.words))


def _set_members(host: Host, group: str, members: list[str]) -> None:
    answer = host.run(["gpasswd", "--members", ",".join(members), group])
    if answer.rc:
        raise HostError("gpasswd %s: %s" % (group, answer.words))


def _set_inode(instance: Instance, host: Host, owner: tuple) -> None:
    user, group, mode = owner
    host.own(instance.socket_path, mode, host.uid(user) or 0, host.gid(group) or 0)


# -- proof


def probe(plan: Plan, host: Host, journal: Journal) -> None:
    """See that the answering daemon does what the plan wants.

    Raises HostError with the first thing that is not so.
    """
    instance = plan.snapshot.instance
    certificate = plan.candidate.tls.leaf
    for listener in plan.candidate.told.tcp:
        served, answered = host.handshake(listener.reach, listener.port)
        if answered:
            raise HostError("%s answers a client without a certificate" % listener.address)
        if served != certificate:
            raise HostError("%s does not serve the certificate in tlscert" % listener.address)
    lost = lost_containers(instance, host, journal)
    if lost:
        raise HostError("containers did not survive: %s" % ", ".join(lost))


def await_answer(instance: Instance, host: Host, patience: float = 15.0) -> None:
    """Wait until the daemon answers on its unix socket; ``patience`` is in seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            status = host.get(instance.socket_path, "/info")[0]
            if status == 200:
                return
            problem = HostError("%s answers /info with %d" % (instance.socket_path, status))
        except HostError as error:
            problem = error
        if time.monotonic() > deadline:
            raise problem
        time.sleep(0.1)


def lost_containers(
    instance: Instance, host: Host, journal: Journal, given_up: bool = False
) -> list[str]:
    """Names of containers that ran before and were stopped from outside since.

    With ``given_up`` also those that the operator let stop. One that ended by itself, or was
    removed by its owner meanwhile, is not lost.
    """
    if journal.identity and journal.identity[0] != boot_id(host):
        return []  # the host was restarted meanwhile, which no container survives
    watched = {**journal.containers, **(journal.given_up if given_up else {})}
    lost = []
    for name, (label, pid) in watched.items():
        status, body = host.get(instance.socket_path, "/containers/%s/json" % name)
        if status == 404:
            continue
        state = json.loads(body)["State"]
        if state.get("Running"):
            # One that was let stop may have been started again by its restart policy.
            if state.get("Pid") != pid and name in journal.containers:
                lost.append(label)
        elif state.get("ExitCode") in STOPPED:
            lost.append(label)
    return lost


def daemon_words(instance: Instance, host: Host, since: float) -> str:
    """What the daemon and its sockets said that went wrong since then, shortened."""
    units = [word for unit in (instance.service, instance.tls_socket) for word in ("-u", unit)]
    if instance.rootless:
        units = ["_UID=%d" % instance.user.uid, "_SYSTEMD_USER_UNIT=%s" % instance.service]
    answer = host.run(
        ["journalctl", *units, "--since", "@%d" % since, "-o", "cat", "--no-pager", "-n", "200"]
    )
    marks = ("level=error", "level=fatal", "failed to start", "Failed to", "unable to", "] error:")
    words = [line for line in answer.out.splitlines() if any(mark in line for mark in marks)]
    return " / ".join(dict.fromkeys(words[:6]))[:2000]


# -- afterwards


def _commit(plan: Plan, host: Host) -> None:
    """Record what we own and what the running process has read, in the last step that can fail."""
    instance = plan.snapshot.instance
    after = reading.read(instance, host)
    manifest = plan.manifest
    if after.does and after.does.process:
        manifest.applied = {
            "identity": after.does.process.identity,
            "data": after.told.data,
            "words": [word.text for word in after.told.words[1:]],
            "digests": after.digests,
        }
    host.write(instance.manifest_path, manifest.dump(), 0o600)


def restore(instance: Instance, host: Host, journal: Journal, timeout: float) -> list[str]:
    """Put the former state back: files byte for byte, and a daemon that has read them.

    Returns the names of containers that did not survive. Raises HostError where the former
    daemon does not come back; the journal then stays for the next run.
    """
    kept = _with_live_restore(journal, True)
    for entry in journal.files:
        # systemd may start the daemon again at any moment, and one that starts without
        # live-restore stops the containers it finds running; so the former file comes last.
        _put_back(host, kept if kept and entry["path"] == kept["path"] else entry)
    if any(entry["path"].startswith(instance.unit_directory) for entry in journal.files):
        _systemctl(instance, host, "daemon-reload")
    now = reading.read(instance, host)
    same = now.does.process is not None and now.does.process.identity == journal.identity
    lost: list = []
    if journal.active:
        if not (same and now.does.answers):
            _start_former(instance, host, now, timeout)
        if kept:
            # An absent live-restore leaves a running daemon as it is, moby daemon/reload.go.
            _put_back(host, _with_live_restore(journal, False))
        _systemctl(instance, host, "reload", instance.service)
        if kept:
            _await_live_restore(instance, host, False)
        lost = lost_containers(instance, host, journal, True)
    elif instance.rootless:
        # Its unit starts it again and again, and there is nothing to come back to.
        _systemctl(instance, host, "stop", instance.service, check=False)
        _systemctl(instance, host, "reset-failed", instance.service, check=False)
    if journal.enable:
        _systemctl(instance, host, "disable", instance.service, check=False)
    for entry in journal.files:
        _put_back(host, entry)
    # Only now: systemd makes the socket anew where it was down, and nothing here may keep the
    # daemon from starting.
    if journal.members:
        _set_members(host, *journal.members)
    if journal.inode and host.stat(instance.socket_path):
        _set_inode(instance, host, tuple(journal.inode))
    forget(instance, host)
    return lost


def _with_live_restore(journal: Journal, wanted: bool) -> dict | None:
    """The former daemon.json with live-restore, where containers need it and it had none."""
    former = next((one for one in journal.files if one["path"] == journal.config_path), None)
    if not former or not journal.containers or journal.live_restore or journal.by_flag:
        return None
    try:
        data = config.parse(former["data"] or b"").data
    except config.ConfigError:
        return None
    place = {"mode": 0o644, "uid": 0, "gid": 0, **former}
    return {**place, "data": config.render({**data, "live-restore": wanted})}


def _put_back(host: Host, entry: dict) -> None:
    status = host.stat(entry["path"])
    if entry["data"] is None:
        host.remove(entry["path"])
        return
    now = status and {"mode": status.mode, "uid": status.uid, "gid": status.gid}
    if not now or not now.items() <= entry.items() or host.read(entry["path"]) != entry["data"]:
        host.write(entry["path"], entry["data"], entry["mode"], entry["uid"], entry["gid"])


def _start_former(instance: Instance, host: Host, now: Snapshot, timeout: float) -> None:
    _systemctl(instance, host, "reset-failed", *instance.units, check=False)
    if now.told.tls_socket is None and now.does.active(instance.tls_socket):
        _systemctl(instance, host, "stop", instance.service, instance.tls_socket, check=False)
    if instance.socket:
        _systemctl(instance, host, "start", instance.socket, check=False)
    _systemctl(instance, host, "restart", instance.service, timeout=timeout)
    await_answer(instance, host)
