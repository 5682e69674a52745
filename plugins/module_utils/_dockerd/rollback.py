# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The former state put back, by the run that changed it or by the next.

It goes by what is: a roll-back that was itself cut off, at any point, is gone through once more.
What somebody else wrote meanwhile stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from . import config
from . import snapshot as reading
from .activation import (
    await_answer,
    await_live_restore,
    not_loaded,
    restart,
    set_inode,
    set_members,
    start_again,
    systemctl,
)
from .does import data_root
from .drift import RELOAD, gaps, socket_gaps, stale, tcp_gaps
from .errors import HostError, Overtaken
from .host import Host
from .instance import Instance
from .journal import Entry, Journal, forget
from .probe import live_restores, lost_containers
from .recovery import committed, former_members, put_back
from .writing import Change, lay

ATTEMPTS = 3  # how often somebody else may write while the former daemon is started
ASIDE = ".does-not-start"  # where a daemon.json of somebody else goes with which nothing starts


@dataclass
class Restored:
    """What became of a host's former state."""

    lost: list[str] = field(default_factory=list)  # names of containers that did not survive
    foreign: list[str] = field(default_factory=list)  # what became of files that others wrote

    @property
    def notes(self) -> list[str]:
        """The same in words."""
        lost = ["these containers did not survive: %s" % ", ".join(self.lost)] if self.lost else []
        return [*self.foreign, *lost]


def restore(instance: Instance, host: Host, journal: Journal, timeout: float) -> Restored:
    """Put the former state back: files byte for byte, and a daemon that has read them.

    Raises HostError where that cannot be done whole; what can be done is done, and the journal
    stays for the next run.
    """
    if committed(journal, instance, host):
        forget(instance, host, journal)
        return Restored()
    restored = Restored()
    for attempt in range(1, ATTEMPTS + 1):
        changes, foreign = put_back(host, journal)
        restored.foreign = ["%s was changed by somebody else, and stays" % one for one in foreign]
        one = _Rollback(instance, host, journal, changes, timeout)
        try:
            restored.lost = one.carry_out()
        except HostError:
            overtaken = not one.give_back() or put_back(host, journal)[1] != foreign
            if attempt == ATTEMPTS or not (overtaken or journal.config_path in foreign):
                raise
            if not overtaken:
                _put_aside(host, journal)
            continue
        break
    if host.stat(journal.config_path + ASIDE):
        restored.foreign.append(
            "dockerd does not start with what somebody else wrote to %s; it is in %s%s"
            % (journal.config_path, journal.config_path, ASIDE)
        )
    forget(instance, host, journal)
    return restored


def _put_aside(host: Host, journal: Journal) -> None:
    """Move a daemon.json with which the daemon does not start out of the way of the former one."""
    path, former = journal.config_path, journal.former(journal.config_path)
    data, status = host.read(path), host.stat(path)
    if not former or not status:
        return
    host.write(path + ASIDE, data, status.mode, status.uid, status.gid)
    if former.data is None:
        host.remove(path, data)
    else:
        host.write(path, former.data, former.mode, former.uid, former.gid, data)


class _Rollback:
    """One try to bring everything back."""

    def __init__(
        self,
        instance: Instance,
        host: Host,
        journal: Journal,
        changes: list[Change],
        timeout: float,
    ) -> None:
        self.instance, self.host, self.journal = instance, host, journal
        self.timeout = timeout
        path = journal.config_path
        self.others = [change for change in changes if change.wanted.path != path]
        self.told = next((change for change in changes if change.wanted.path == path), None)
        if self.told is None:
            self.told = self._foreign(path)
        self.failures: list[HostError] = []

    def _foreign(self, path: str) -> Change | None:
        """daemon.json as somebody else wrote it, which stays."""
        status = self.host.stat(path)
        if not status:
            return None
        data = self.host.read(path)
        return Change(Entry(path, data, status.mode, status.uid, status.gid), data, foreign=True)

    def give_back(self) -> bool:
        """Leave a file of somebody else as it was found; whether nobody wrote to it since."""
        if self.told and self.told.foreign:
            self._lay(live_restore=None)
        return not any(isinstance(failure, Overtaken) for failure in self.failures)

    def carry_out(self) -> list[str]:
        """Restore all of it. Returns the names of the containers that were lost."""
        instance, host, journal, lost = self.instance, self.host, self.journal, []
        self._reload_units()  # a run that was cut off may have written some and not come to that
        keeps = self._keeps_containers()
        # systemd may start the daemon again at any moment, and one that starts without
        # live-restore stops the containers that it finds; so the former file comes last.
        # Where systemd does not load what is there, what guards it must not stay until the end.
        self._lay(live_restore=True if keeps else None, last=bool(not_loaded(instance, host)))
        if journal.active:
            try:
                self._bring_back(keeps)
            except HostError as error:
                self.failures.append(error)  # of which those before it may be the cause
                raise self._failed() from error
            start_again(instance, host, journal.dependents)
            if keeps and not journal.live_restore:
                # An absent live-restore leaves a running daemon as it is, moby daemon/reload.go.
                self._lay(live_restore=False)
                systemctl(instance, host, "reload", instance.service)
                await_live_restore(instance, host, False)
            lost = lost_containers(instance, host, journal, True)
        else:
            self._leave()
        if journal.enable:
            systemctl(instance, host, "disable", instance.service, check=False)
        self._lay(live_restore=None, last=True)
        # Only now: systemd makes the socket anew where it was down, and nothing here may keep the
        # daemon from starting.
        members = former_members(journal, host)
        if members is not None:
            set_members(host, journal.members[0], members)
        if journal.inode and host.stat(instance.socket_path):
            set_inode(instance, host, journal.inode)
        if self.failures:
            raise self._failed()
        return lost

    def _failed(self) -> HostError:
        """Everything that went wrong, in its order."""
        words = [str(failure).rstrip(".") for failure in self.failures]
        return HostError("; ".join(dict.fromkeys(words)))

    def _keeps_containers(self) -> bool:
        """Whether containers run that the former daemon.json alone would not carry through."""
        journal = self.journal
        now = reading.read(self.instance, self.host)
        does = now.does
        if does and does.answers:
            running = does.containers and not does.swarm
        else:  # nobody can be asked for containers, nor whether somebody made a swarm
            swarm = data_root(self.instance, now.told, does) + "/swarm/docker-state.json"
            running = journal.keeps and not self.host.stat(swarm)
        if not running or journal.by_flag or self.instance.rootless or not self.told:
            return False
        try:
            told = config.parse(self.told.wanted.data or b"").data
        except config.ConfigError:
            return False
        return told.get("live-restore") is not True

    def _lay(self, live_restore: bool | None, last: bool = False) -> None:
        """Write the files, daemon.json with another live-restore than it ends with.

        What guards and recovers goes with the ``last`` of these only.
        """
        instance, host, told = self.instance, self.host, self.told
        changes = [
            change
            for change in self.others
            if last or change.wanted.data is not None or change.wanted.path not in instance.safety
        ]
        if told:
            data = told.wanted.data
            if live_restore is not None:
                former = config.parse(data or b"").data
                data = config.render({**former, "live-restore": live_restore})
            step = replace(told, wanted=replace(told.wanted, data=data))
            changes.append(step)
        self.failures = lay(
            *(instance, host, self.journal, changes, self.journal.flags),
            self._reload_units,
            lambda: systemctl(instance, host, "stop", instance.tls_socket, check=False) and None,
            go_on=True,
        )
        if told:
            told.expected = step.expected

    def _reload_units(self) -> None:
        for manager in dict.fromkeys([self.instance, Instance()]):
            systemctl(manager, self.host, "daemon-reload", check=False)

    def _bring_back(self, keeps: bool) -> None:
        """Have a daemon run that has read what was laid."""
        instance, host, journal = self.instance, self.host, self.journal
        now = reading.read(instance, host)
        does = now.does
        answers = bool(does and does.process and does.answers)
        former = answers and does.process.identity == journal.identity
        found = [gap for gap in (socket_gaps if former else gaps)(now) if gap.need != RELOAD]
        if not found:
            systemctl(instance, host, "reload", instance.service)
            return
        if answers and keeps and not does.info.get("LiveRestoreEnabled"):
            systemctl(instance, host, "reload", instance.service)
            await_live_restore(instance, host, True)
        expected = {self.told.wanted.path: self.told.expected} if self.told else None
        remake = stale(now, found)
        if not journal.former(instance.tls_socket_path) and not tcp_gaps(now):
            # As it was: to stop it would leave TCP closed, were we killed before dockerd starts.
            remake.discard(instance.tls_socket)
        restart(
            *(instance, host, does, remake, self.timeout, expected),
            lambda: self._look_again(keeps, answers),
            must_guard=False,
        )
        await_answer(instance, host)

    def _told_to_keep(self) -> bool:
        """Whether a daemon that starts now keeps the containers that it finds."""
        try:
            told = config.parse(self.host.optional(self.journal.config_path) or b"").data
        except config.ConfigError:
            return True  # with which none starts
        return told.get("live-restore") is True

    def _look_again(self, keeps: bool, answers: bool) -> None:
        """Right before the daemon is stopped. Raises HostError."""
        if not keeps:
            return
        if answers and not live_restores(self.instance, self.host):
            raise HostError(
                "somebody switched live-restore off, and a restart would stop containers"
            )
        if not self._told_to_keep():
            words = [str(failure).rstrip(".") for failure in self.failures]
            raise HostError("; ".join(["a restart would stop containers", *words]))

    def _leave(self) -> None:
        """Nothing answered before, so that there is nothing to come back to."""
        instance, host = self.instance, self.host
        if instance.rootless:
            # Its unit would start it again and again.
            systemctl(instance, host, "stop", instance.service, check=False)
            systemctl(instance, host, "reset-failed", instance.service, check=False)
            return
        now = reading.read(instance, host)
        if now.does and now.does.active(instance.service):
            systemctl(
                instance, host, "restart", instance.service, check=False, timeout=self.timeout
            )
