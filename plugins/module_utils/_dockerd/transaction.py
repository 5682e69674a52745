# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan carried out whole or not at all.

preflight (the candidate is judged) -> journal (the former state is kept) -> writing (in an order in
which every prefix is safe) -> activation (reload or restart) -> probe -> commit, or else rollback.
The former state is on disk while this runs, so that a run that was killed is rolled back by the
next, and one that lost power by the boot (recovery).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import config, drift, journal, pair
from . import snapshot as reading
from .activation import (
    ATTEMPTS,
    await_answer,
    await_live_restore,
    not_loaded,
    restart,
    set_inode,
    set_members,
    start_again,
    systemctl,
)
from .controls import CONTROLS
from .errors import HostError, Refused, RolledBack
from .findings import Finding, judge, redact
from .host import Candidate, Host
from .instance import ROOT, Instance
from .journal import Entry, Journal
from .plan import Desired, Plan, make, postpone_upgrade
from .preflight import preflight, wrong
from .probe import daemon_words, live_restores, newcomers, probe
from .recovery import put_back
from .rollback import Restored, restore
from .snapshot import Snapshot
from .told import read_told
from .writing import Change, lay, without

SYSTEM = Instance()


@dataclass
class Outcome:
    """What a transaction did, or would do in check mode."""

    plan: Plan
    before: list[Finding]
    after: list[Finding]
    recovered: bool = False  # an interrupted run was rolled back first
    seconds: float = 0.0  # from the reload or restart to the first answer
    snapshot: Snapshot | None = None


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
    host = host.seen_by(instance.user, instance.safety)
    if check:
        return _carry_out(instance, host, desired, True, allow, predicted, timeout)
    # Before anything of ours is on disk: a boot knows by it what it has to undo.
    with host.locked(instance.lock_path):
        host.make_directory(instance.state_directory, 0o700)
        host.remove_tree(instance.journal_directory + ".draft")
        host.remove(instance.expected_path)
        return _carry_out(instance, host, desired, False, allow, predicted, timeout)


def _carry_out(instance, host, desired, check, allow, predicted, timeout) -> Outcome:
    left = journal.read(instance, host)
    restored = Restored()
    if not check:
        if left:
            restored = _recover(instance, host, left, timeout)
        _tidy(instance, host)
    elif left:
        changes, foreign = put_back(host, left)
        host = Candidate(host, {change.wanted.path: change.wanted.data for change in changes})
        restored.foreign = ["%s was changed by somebody else, and stays" % one for one in foreign]
    predicted = (*predicted, *_pair(instance, host, check))
    before = reading.read(instance, host)
    plan = make(before, host, desired, predicted)
    postpone_upgrade(plan, allow)
    plan.notes += ["an interrupted run was rolled back: %s" % note for note in restored.notes]
    found = judge(before, CONTROLS)
    preflight(plan, host, allow)
    outcome = Outcome(plan, found, found, recovered=left is not None, snapshot=before)
    if check or not plan.changed:
        return outcome
    outcome.seconds = _execute(plan, host, allow, timeout)
    outcome.snapshot = reading.read(instance, host)
    outcome.after = judge(outcome.snapshot, CONTROLS)
    return outcome


def _tidy(instance: Instance, host: Host) -> None:
    """Remove what a run left that was killed while it wrote one file."""
    told = read_told(instance, host)
    state = (instance.manifest_path, instance.spare_path)
    for path in (told.config_path, *instance.written, *instance.safety[:1], *state):
        host.tidy(path)


def _pair(instance: Instance, host: Host, check: bool) -> tuple[str, ...]:
    """Put a certificate and its key in place that were decided on; in check mode their paths.

    The guard would at the next start, after the run has read the former ones. A user's lie in a
    home, where root follows nobody.
    """
    told = read_told(instance, host)
    paths = [str(told.setting(name) or "") for name in ("tlscert", "tlskey")]
    if instance.rootless or not all(paths) or not pair.waits(host.real(paths[0])):
        return ()
    if check:
        return tuple(paths) if pair.decided(*map(host.real, paths)) else ()
    try:
        pair.complete(*map(host.real, paths))
    except OSError as error:
        raise HostError("%s: %s" % (paths[0], error.strerror), path=paths[0]) from error
    return ()


def _recover(instance: Instance, host: Host, left: Journal, timeout: float) -> Restored:
    """Roll back what a run left that was cut off."""
    begun = time.time()
    try:
        restored = restore(instance, host, left, timeout)
    except (HostError, OSError, ValueError, KeyError) as error:
        words = daemon_words(instance, host, begun) or "nothing"
        raise HostError(
            "An interrupted run cannot be rolled back: %s. The daemon said: %s. The former files"
            " are in %s." % (str(error).rstrip("."), words, instance.journal_directory)
        ) from error
    # A rescue or recovery that failed meant the same change; root's manager runs both.
    units = [unit for unit in (instance.rescue, instance.recovery) if unit]
    systemctl(Instance(), host, "reset-failed", *units, check=False)
    return restored


# -- the change


def _keep(plan: Plan, host: Host) -> Journal:
    """Put the former state on disk, before the first change."""
    instance, does, told = plan.snapshot.instance, plan.snapshot.does, plan.snapshot.told
    # Where live-restore cannot be, the operator has accepted that they stop; to write it into the
    # former file of a swarm node would keep even the former daemon from starting.
    containers = {name: list(it) for name, it in does.containers.items()}
    given_up = does.swarm or instance.variable("allow_container_stop") in plan.dangers
    kept = Journal(
        inode=plan.inode[0] if plan.inode else None,
        members=plan.members,
        dependents=sorted(does.dependents),
        identity=does.process.identity if does.process else None,
        active=does.answers,
        containers={} if given_up else containers,
        given_up=containers if given_up else {},
        keeps=not (given_up or instance.rootless),
        live_restore=bool(does.info.get("LiveRestoreEnabled")),
        by_flag=told.flag("live-restore") is not None,
        flags=sorted({flag.directive for flag in told.flags}),
        config_path=told.config_path,
        enable=plan.enable,
    )
    paths = [change.path for change in plan.files]
    paths += [instance.manifest_path, instance.spare_path]
    written = paths + ([told.config_path] if plan.keeper is not None else [])
    if told.config_path not in paths:
        paths.append(told.config_path)  # where live-restore comes first, and goes last
    spares = []
    if kept.keeps and not kept.by_flag and told.data.get("live-restore") is not True:
        spares += [config.render({**told.data, "live-restore": value}) for value in (True, False)]
    for change in plan.files:
        if change.path == told.config_path:
            spares += filter(None, [without(change.after, kept.flags)])
    return journal.keep(instance, host, kept, paths, written, spares)


def _execute(plan: Plan, host: Host, allow: frozenset, timeout: float) -> float:
    instance = plan.snapshot.instance
    try:
        kept = _keep(plan, host)
    except HostError as error:
        raise Refused("Nothing was changed: %s" % error) from error
    started, announced = time.time(), sum(map(len, kept.written.values()))
    try:
        _write(plan, host, kept)
        if plan.members:
            group, before, after = plan.members
            if host.members(group) != before:
                raise HostError("the members of group %s were changed meanwhile" % group)
            set_members(host, group, after)
        if plan.inode:
            set_inode(instance, host, plan.inode[1])
        begun = time.monotonic()
        may_stop = instance.variable("allow_container_stop") in allow
        _activate(plan, host, timeout, lambda: _look_again(plan, host, kept, may_stop))
        await_answer(instance, host)
        start_again(instance, host, kept.dependents)
        seconds = time.monotonic() - begun
        probe(plan, host, kept)
        _commit(plan, host, kept)
    except BaseException as error:
        reason = error if isinstance(error, HostError) else "%s: %s" % (type(error).__name__, error)
        words = daemon_words(instance, host, started)
        try:
            notes = restore(instance, host, kept, timeout).notes
            wrote = sum(map(len, kept.written.values())) > announced
            what = "the former state was put back" if wrote else "nothing was changed"
        except (HostError, OSError, ValueError, KeyError) as worse:
            why = str(worse).rstrip(".") or type(worse).__name__
            notes = ["the next run goes on with it: %s" % why]
            what = "the former state could not be put back whole"
        raise RolledBack(
            redact(
                "The change did not hold, and %s. Cause: %s.%s"
                % (
                    "; but ".join([what, *notes]),
                    str(reason).rstrip("."),
                    " The daemon said: %s" % words if words else "",
                )
            ),
            cause=redact(str(reason)),
            journal=redact(words),
        ) from error
    journal.forget(instance, host, kept)
    return seconds


def _write(plan: Plan, host: Host, kept: Journal) -> None:
    """Write the plan's files, live-restore before all others where containers need it."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    changes = []
    for file in plan.files:
        owner = ROOT if file.path in instance.safety else instance.user
        entry = Entry(file.path, file.after, file.mode, owner.uid, owner.gid)
        changes.append(Change(entry, file.before))
    flags = [flag.directive for flag in plan.candidate.told.flags]
    loaded = []

    def reload_units() -> None:
        loaded.append(systemctl(instance, host, "daemon-reload"))
        if instance.rootless:
            systemctl(SYSTEM, host, "daemon-reload")  # what recovers is root's
        refused = not_loaded(instance, host)
        if refused:
            raise HostError("; ".join(refused))

    def stop_tls() -> None:
        if does.active(instance.tls_socket):
            systemctl(instance, host, "stop", instance.tls_socket, check=False)

    def write(some: list[Change]) -> None:
        lay(instance, host, kept, some, flags, reload_units, stop_tls)

    if plan.keeper is not None:
        # A loss of power right after it finds the unit that recovers.
        write([change for change in changes if change.wanted.path in instance.safety])
        path, former = kept.config_path, kept.former(kept.config_path)
        mode = former.mode if former and former.data is not None else 0o644
        keeper = Change(Entry(path, plan.keeper, mode), former.data if former else None)
        lay(instance, host, kept, [keeper], [], reload_units, stop_tls)
        systemctl(instance, host, "reload", instance.service)
        try:
            await_live_restore(instance, host, True)
        except HostError:
            if kept.containers:
                raise  # where none runs, the restart needs no live-restore
        for change in changes:
            if change.wanted.path == path:
                change.expected = keeper.expected
    write(changes)
    stale = any(unit.get("NeedDaemonReload") == "yes" for unit in does.units.values())
    if not loaded and (stale or plan.enable):
        reload_units()


def _look_again(plan: Plan, host: Host, kept: Journal, may_stop: bool) -> None:
    """Right before the daemon is stopped: what others did since to its containers.

    They may have started some, or switched off what carries them all through. Raises HostError.
    """
    instance = plan.snapshot.instance
    if not plan.snapshot.does.answers:
        return  # whether that may be was decided already
    found = newcomers(instance, host, kept)
    carried = live_restores(instance, host)
    doomed = {} if carried else {**kept.containers, **found}
    if found:
        (kept.given_up if may_stop and not carried else kept.containers).update(found)
        journal.amend(instance, host, kept)
    if doomed and not may_stop:
        raise HostError(
            "the restart would stop %s: started, or bereft of live-restore, by somebody during"
            " this run. Run it again, or set %s: true"
            % (
                ", ".join(sorted(name for name, _pid in doomed.values())),
                instance.variable("allow_container_stop"),
            )
        )


def _activate(plan: Plan, host: Host, timeout: float, last_look: Callable[[], None]) -> None:
    """Let systemd and dockerd take up what was written. Raises HostError where they do not."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    if plan.enable:
        systemctl(instance, host, "enable", instance.service)
    if plan.activation == "reload":
        systemctl(instance, host, "reload", instance.service)
        _await_reload(plan, host)
    elif plan.activation == "restart":
        expected = {file.path: file.after for file in plan.files}
        path = plan.candidate.told.config_path
        expected.setdefault(path, host.read(path) if host.stat(path) else None)
        restart(instance, host, does, plan.remake, timeout, expected, last_look)


def _await_reload(plan: Plan, host: Host) -> None:
    """SIGHUP returns at once, and a file that dockerd refuses on reload is only logged."""
    instance, does = plan.snapshot.instance, plan.snapshot.does
    deadline = time.monotonic() + ATTEMPTS
    while True:
        info = json.loads(host.get(instance.socket_path, "/info")[1])
        late = drift.unapplied(replace(plan.candidate, does=replace(does, info=info)))
        if not late:
            return
        if time.monotonic() > deadline:
            raise HostError("dockerd did not take up %s on reload" % ", ".join(late))
        time.sleep(0.05)


def _commit(plan: Plan, host: Host, kept: Journal) -> None:
    """Record what we own and what the running process has read, in the last step that can fail."""
    instance = plan.snapshot.instance
    after = reading.read(instance, host)
    if not after.does or not after.does.answers or not after.does.process:
        why = after.does.problem if after.does else ""
        raise HostError("dockerd stopped answering: %s" % (why or "it is gone"))
    for file in plan.files:
        now = host.read(file.path) if host.stat(file.path) else None
        if now != file.after:
            raise HostError("%s was changed by somebody else meanwhile" % file.path)
    # The daemon that runs shows what nobody could know of one that did not.
    problems = wrong(after, [one for one in CONTROLS if one.blocks])
    if problems:
        raise HostError(" ".join(problems))
    manifest = plan.manifest
    manifest.transaction = kept.token
    manifest.applied = {
        "identity": after.does.process.identity,
        "data": after.told.data,
        "words": [word.text for word in after.told.words[1:]],
        "digests": after.digests,
    }
    for path in (instance.spare_path, instance.manifest_path):
        journal.announce(instance, host, kept, path, manifest.dump())
        host.write(path, manifest.dump(), 0o600)
