# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which daemons a host has, and where their configuration, units, sockets and data live."""

from __future__ import annotations

from dataclasses import dataclass

from .host import Host, User

SYSTEM_UNITS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)


# What systemd gives services, systemd.exec(5).
SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYSTEM = "/etc/systemd/system"
ROOT = User("root", 0, 0, "/root")


@dataclass(frozen=True)
class Instance:
    """One Docker daemon. The defaults are the system's, as every packaging has it."""

    name: str = "system"
    service: str = "docker.service"
    socket: str = "docker.socket"
    tls_socket: str = "docker-tls.socket"
    config_path: str = "/etc/docker/daemon.json"
    socket_path: str = "/run/docker.sock"
    unit_directory: str = SYSTEM
    state_directory: str = "/var/lib/hardened-docker/system"
    registry_directory: str = "/etc/docker/certs.d"
    data_root: str = "/var/lib/docker"
    search: tuple[str, ...] = SYSTEM_UNITS  # where systemd looks for its units, systemd.unit(5)
    user: User = ROOT

    @property
    def rootless(self) -> bool:
        """Whether the daemon runs as a user of its own."""
        return self.user.uid != 0

    @property
    def runtime(self) -> str:
        """Where the sockets of the owner's manager are, pam_systemd(8)."""
        return "/run/user/%d" % self.user.uid

    def command(self, *argv: str, **environment: str) -> list[str]:
        """A command with the rights of the daemon's owner, who may have a hand in ``environment``.

        It counts only once root is left behind: with PATH or LD_PRELOAD runuser would run the
        user's code as root. Nothing of root's own, such as the tokens of a run, goes the other way.
        """
        words = ["%s=%s" % pair for pair in environment.items()]
        if not self.rootless:
            return ["env", *words, *argv] if words else [*argv]
        clean = ["env", "--ignore-environment", "LC_ALL=C", "PATH=%s" % SERVICE_PATH]
        owner = ["runuser", "--user=%s" % self.user.name, "--", "env"]
        return [*clean, *owner, "XDG_RUNTIME_DIR=%s" % self.runtime, *words, *argv]

    def systemctl(self, *words: str) -> list[str]:
        """systemctl for the manager that runs the daemon; root's is not that of its users."""
        return self.command("systemctl", *(["--user"] if self.rootless else []), *words)

    def variable(self, name: str) -> str:
        """What the operator's variable of that name is called for this instance."""
        return ("dockerd_rootless_%s" if self.rootless else "dockerd_%s") % name

    @property
    def units(self) -> tuple[str, ...]:
        """The service and its sockets; a rootless daemon has none but the service."""
        return tuple(filter(None, (self.service, self.socket, self.tls_socket)))

    def dropin(self, unit: str, name: str) -> str:
        """Where a drop-in of ours for ``unit`` lies."""
        return "%s/%s.d/%s" % (self.unit_directory, unit, name)

    @property
    def start_link(self) -> str:
        """What systemctl enable makes of a user's service."""
        return "%s/default.target.wants/%s" % (self.unit_directory, self.service)

    @property
    def service_dropin(self) -> str:
        """What the operator's template says of the service."""
        return self.dropin(self.service, "hardened.conf")

    @property
    def socket_dropin(self) -> str:
        """What the operator's template says of the unix socket."""
        return self.dropin(self.socket, "hardened.conf")

    @property
    def command_dropin(self) -> str:
        """The command line without the flags that conflict; last in order, so that it holds."""
        return self.dropin(self.service, "zz-hardened-command.conf")

    @property
    def listen_dropin(self) -> str:
        """The unix socket's listeners without the TCP ones somebody added."""
        return self.dropin(self.socket, "zz-hardened-listen.conf")

    @property
    def tls_socket_path(self) -> str:
        """The unit that listens on TCP."""
        return "%s/%s" % (self.unit_directory, self.tls_socket)

    @property
    def _key(self) -> str:
        """What is kept of this daemon goes by this name: system, or the number of its user."""
        return self.state_directory.rpartition("/")[2]

    @property
    def program_path(self) -> str:
        """The program that guards each start of dockerd and recovers at boot."""
        return "%s/hardened-docker.pyz" % self.state_directory

    @property
    def recovery(self) -> str:
        """The unit that recovers at boot; root's, whoever has the daemon."""
        return "hardened-docker-recovery-%s.service" % self._key

    @property
    def recovery_path(self) -> str:
        """Where it lies."""
        return "%s/%s" % (SYSTEM, self.recovery)

    @property
    def rescue(self) -> str:
        """The unit that brings a daemon back which failed while its change was cut off.

        A user's manager cannot call one of root's.
        """
        return "" if self.rootless else "hardened-docker-rescue-%s.service" % self._key

    @property
    def rescue_path(self) -> str:
        """Where it lies."""
        return "%s/%s" % (SYSTEM, self.rescue)

    @property
    def guard_dropin(self) -> str:
        """What calls them: of the service, or of the manager that starts a user's daemon."""
        if self.rootless:
            return "%s/user@%d.service.d/hardened-recovery.conf" % (SYSTEM, self.user.uid)
        return self.dropin(self.service, "hardened-guard.conf")

    @property
    def safety(self) -> tuple[str, ...]:
        """All of the above, in the order in which they are of use. They are root's."""
        rescue = [self.rescue_path] if self.rescue else []
        return (self.program_path, self.recovery_path, *rescue, self.guard_dropin)

    @property
    def written(self) -> tuple[str, ...]:
        """Every unit and drop-in that may be ours."""
        listening = (self.socket_dropin, self.tls_socket_path, self.listen_dropin)
        own = (self.service_dropin, self.command_dropin)
        return (*self.safety[1:], *own, *(listening if self.socket else ()))

    @property
    def lock_path(self) -> str:
        """Held by the one run that may change this daemon.

        It stays until the host goes down, and so tells what this boot has changed from what a
        former one left.
        """
        return "/run/hardened-docker-%s.lock" % self._key

    @property
    def expected_path(self) -> str:
        """What a run expects dockerd to read, while it starts dockerd."""
        return "/run/hardened-docker-%s.json" % self._key

    @property
    def manifest_path(self) -> str:
        """What we own on this host."""
        return "%s/manifest.json" % self.state_directory

    @property
    def spare_path(self) -> str:
        """The same once more, for where that is damaged."""
        return "%s/manifest.spare.json" % self.state_directory

    @property
    def journal_directory(self) -> str:
        """The former state, kept while a transaction runs."""
        return "%s/transaction" % self.state_directory


def rootless(user: User) -> Instance:
    """A user's own daemon, as moby contrib/dockerd-rootless-setuptool.sh lays it out."""
    settings = "%s/.config" % user.home
    return Instance(
        name="user:%s" % user.name,
        socket="",
        tls_socket="",
        config_path="%s/docker/daemon.json" % settings,
        socket_path="/run/user/%d/docker.sock" % user.uid,
        unit_directory="%s/systemd/user" % settings,
        state_directory="/var/lib/hardened-docker/%d" % user.uid,
        registry_directory="%s/docker/certs.d" % settings,
        data_root="%s/.local/share/docker" % user.home,
        search=(
            "%s/systemd/user" % settings,
            "/etc/systemd/user",
            "/run/systemd/user",
            "%s/.local/share/systemd/user" % user.home,
            "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user",
        ),
        user=user,
    )


def discover(host: Host) -> list[Instance]:
    """Every daemon of a host: the system's, and those of its users.

    A user has one where a unit of that user's manager says so, or wants it at its start, or its
    socket is there. The system's is left out where it was masked in favour of theirs.
    """
    found = [
        instance
        for instance in map(rootless, host.users())
        if instance.rootless
        and (
            instance.service in host.list(instance.unit_directory)
            or instance.service in host.list(instance.unit_directory + "/default.target.wants")
            or instance.socket_path.rpartition("/")[2]
            in host.list("/run/user/%d" % instance.user.uid)
        )
    ]
    system = Instance()
    masked = host.link("%s/%s" % (system.unit_directory, system.service)) == "/dev/null"
    return found if found and masked else [system, *found]
