# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host: systemd-nspawn over an overlay, told from its processes and its directory.

Nothing about a running host is written down, so nothing can be out of date after a kill: its
processes carry its directory in their arguments, its mounts and cgroups carry its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import rootfs
from machine import (
    BRIDGE,
    DOMAIN,
    GATEWAY,
    HOSTS,
    MARK,
    NETWORK,
    STATE,
    LabError,
    alive,
    mounts,
    processes,
    remove,
    run,
    unmount,
)

# overlay2 cannot stand on an overlay: what holds containers is a plain directory, bound in.
PLAIN = ("var/lib/docker", "var/lib/containerd", "home", "srv")
NAME = re.compile(rf"({'|'.join(rootfs.RELEASES)})([1-9]\d?)")
KEY = STATE / "id_ed25519"
NSPAWN_REBOOT = 133  # systemd-nspawn --keep-unit ends with it when the host asks for a reboot
BOOT_SECONDS = 90
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": os.environ.get("TERM", "dumb"),
}


def key(path: Path, comment: str) -> str:
    """Return the public half of an ssh key, made if it is not there yet."""
    if not path.with_suffix(".pub").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if path.exists() else None
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def existing() -> list:
    """Return the hosts that run or left something behind, by name."""
    names = {entry.name for entry in HOSTS.iterdir()} if HOSTS.is_dir() else set()
    for root in hierarchies():
        names |= {entry.name for entry in root.glob(f"{MARK}/*")}
    for _pid, words in processes():
        for word in words:
            if word.startswith(f"--directory={HOSTS}/"):
                names.add(word[len(f"--directory={HOSTS}/") :].split("/")[0])
    return sorted(
        (Host(name) for name in names if NAME.fullmatch(name)), key=lambda host: host.address
    )


def hierarchies() -> list:
    """Return the roots of the machine's cgroup hierarchies: several with v1, one with v2."""
    return [Path(point) for point, kind in mounts() if kind in ("cgroup", "cgroup2")]


def discard(those: list) -> None:
    """End hosts, all at a time because the kernel takes its time with each."""
    for host, doomed in [(host, host.kill()) for host in those]:
        host.bury(doomed)
        remove(host.directory)


def systemd_runs() -> bool:
    """Tell whether this machine's first process is systemd, sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


class Host:
    """One host; ``name`` is a release and a number, such as ``trixie1``.

    :raises LabError: the name is none.
    """

    def __init__(self, name: str):
        match = NAME.fullmatch(name)
        if not match:
            raise LabError(
                f"{name}: no such host; a name is one of {', '.join(rootfs.RELEASES)} "
                "and a number from 1 to 99"
            )
        self.name = name
        self.release = match.group(1)
        self.address = NETWORK[256 * rootfs.RELEASES[self.release]["version"] + int(match.group(2))]
        self.machine = f"{MARK}-{name}"
        self.unit = f"{self.machine}.service"
        self.directory = HOSTS / name
        self.root = self.directory / "root"
        self.console = self.directory / "console.log"
        # One for each host: in a common one they would share slices, limits and kills.
        self.cgroups = [root / MARK / name for root in hierarchies()]

    @property
    def known(self) -> str:
        """The host's line in known_hosts."""
        public = key(STATE / "keys" / self.name, self.name)
        return f"{self.address},{self.name},{self.name}.{DOMAIN} {public}\n"

    def _nspawn(self) -> list:
        """Return the ids of the processes on the machine that hold the host."""
        mark = f"--directory={self.root}"
        return sorted(pid for pid, words in processes() if mark in words)

    def leader(self):
        """Return the id, as the machine sees it, of the host's first process, or None."""
        holders = self._nspawn()
        for entry in os.listdir("/proc") if holders else ():
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    status = Path("/proc", entry, "status").read_text()
                    parent = int(re.search(r"^PPid:\t(\d+)", status, re.M).group(1))
                    ids = re.search(r"^NSpid:\t(.*)", status, re.M).group(1).split()
                    if parent in holders and len(ids) > 1 and ids[-1] == "1":
                        return int(entry)
        return None

    def running(self) -> bool:
        """Tell whether the host is there, booting or booted."""
        return os.path.ismount(self.root) and bool(self._nspawn())

    def start(self, everyone: list) -> None:
        """Boot the host as new; ``everyone`` lists the hosts that its /etc/hosts names."""
        HOSTS.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in ("upper", "work", "root", *(f"plain/{path}" for path in PLAIN)):
            (self.directory / path).mkdir(parents=True)
        self._mount()
        self._personalise(everyone)
        self.boot()

    def boot(self) -> None:
        """Boot the host from the disk that it has.

        :raises LabError: it runs, or has no disk.
        """
        if self.running():
            raise LabError(f"{self.name} is running already")
        if not (self.directory / "upper" / "etc").is_dir():
            raise LabError(f"{self.name} has no disk to boot from: lab.py up")
        self._mount()
        command = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
            *("--kill-signal=SIGRTMIN+3", f"--directory={self.root}"),
            *(f"--machine={self.machine}", f"--hostname={self.name}"),
            *(f"--network-bridge={BRIDGE}", "--capability=all", "--system-call-filter=@known"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
            *(f"--bind={self.directory / 'plain' / path}:/{path}" for path in PLAIN),
            *("/bin/sh", "/usr/local/sbin/lab-init"),
            *(f"{self.address}/{NETWORK.prefixlen}", str(GATEWAY)),
        ]
        environment = dict(ENVIRONMENT)
        if self.release not in ("bookworm", "trixie"):  # systemd 258 and later boot on v2 only
            environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"
        self.console.touch()
        if systemd_runs():
            self._start_unit(command, environment)
        else:
            self._start_process(command, environment)

    def _mount(self) -> None:
        if os.path.ismount(self.root):
            return
        lower = rootfs.build(self.release)
        options = f"lowerdir={lower},upperdir={self.directory}/upper,workdir={self.directory}/work"
        done = run("mount", "-t", "overlay", "overlay", "-o", options, self.root, check=False)
        if done.returncode != 0:
            raise LabError(
                f"{self.directory}: no overlay can be mounted here ({done.stderr.strip()}). Its "
                "file system must be a plain one such as ext4 or xfs: set LAB_DIR to a directory "
                "on one"
            )

    def _personalise(self, everyone: list) -> None:
        shutil.copy(rootfs.HERE / "init.sh", self.root / "usr/local/sbin/lab-init")
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "machine-id").write_text(hashlib.md5(self.machine.encode()).hexdigest() + "\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
        self.introduce(everyone)
        public = key(STATE / "keys" / self.name, self.name)
        private = etc / "ssh" / "ssh_host_ed25519_key"
        shutil.copy(STATE / "keys" / self.name, private)
        private.chmod(0o600)
        private.with_suffix(".pub").write_text(f"{public}\n")
        ssh = self.root / "root" / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        (ssh / "authorized_keys").write_text(key(KEY, "lab") + "\n")

    def introduce(self, everyone: list) -> None:
        """Add the hosts that its /etc/hosts does not name yet."""
        path = self.root / "etc" / "hosts"
        text = path.read_text()
        with path.open("a") as file:
            for host in everyone:
                line = f"{host.address} {host.name}.{DOMAIN} {host.name}\n"
                if line not in text:
                    file.write(line)

    def _start_unit(self, command: list, environment: dict) -> None:
        """Start under the machine's systemd, which gives the host a cgroup of its own."""
        run(
            *("systemd-run", "--quiet", "--collect", "--service-type=exec"),
            f"--unit={self.unit}",
            *("--property=Delegate=yes", "--property=KillMode=mixed"),
            *("--property=TasksMax=infinity", "--property=Restart=no"),
            f"--property=RestartForceExitStatus={NSPAWN_REBOOT}",
            f"--property=SuccessExitStatus={NSPAWN_REBOOT}",
            f"--property=StandardOutput=append:{self.console}",
            f"--property=StandardError=append:{self.console}",
            *(f"--setenv={name}={value}" for name, value in environment.items()),
            *command,
        )

    def _start_process(self, command: list, environment: dict) -> None:
        """Start without systemd: a shell does what a unit does, starting again on a reboot."""
        for group in self.cgroups:
            _make_cgroup(group)
        enter = "".join(f"echo $$ > {group}/cgroup.procs && " for group in self.cgroups)
        loop = f'{enter} until "$@" || [ $? -ne {NSPAWN_REBOOT} ]; do :; done'
        with self.console.open("ab") as console:
            subprocess.Popen(
                ["sh", "-c", loop, "sh", *command],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def kill(self) -> list:
        """Pull the plug; return the ids of the processes that are dying of it."""
        leader = self.leader()
        doomed = self._nspawn()
        if leader:  # all processes of its namespace die with it, and none sees another die before
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        if systemd_runs():
            run("systemctl", "kill", "--signal=KILL", self.unit, check=False)
        for group in self.cgroups:  # the host outlives a systemd-nspawn that is killed
            for path, _directories, _files in os.walk(group):
                with contextlib.suppress(OSError):
                    doomed += map(int, Path(path, "cgroup.procs").read_text().split())
        doomed = list(dict.fromkeys(doomed))
        for pid in doomed:  # oldest first: the loop that would start the host again
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return doomed

    def bury(self, doomed: list) -> None:
        """Take away what the killed host had on the machine; its disk and its ssh key stay.

        :raises LabError: it does not die.
        """
        deadline = time.monotonic() + 30
        while self._nspawn() or any(map(alive, doomed)):
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: its processes {doomed} survive SIGKILL")
            time.sleep(0.05)
        if systemd_runs():
            run("systemctl", "stop", self.unit, check=False)
        run("ip", "link", "delete", f"vb-{self.machine}", check=False)
        for group in self.cgroups:
            _remove_cgroup(group)
        # What a killed systemd-nspawn of systemd 255 and later mounts there bars its next start.
        for parent in ("/run/systemd/nspawn", "/run/systemd/nspawn/unix-export"):
            remove(Path(parent, self.machine))
        unmount(self.root)

    def wait(self) -> str:
        """Wait until systemd has booted and ssh and docker are up; return systemd's verdict.

        :raises LabError: the host died or did not get there.
        """
        begun = time.monotonic()
        while time.monotonic() < begun + BOOT_SECONDS:
            # A process that is being started has no arguments to be known by for a moment.
            if not self.running() and time.monotonic() > begun + 1:
                break
            state = self.state()
            if state in ("running", "degraded"):
                active = self.run("systemctl", "is-active", "ssh.service", "docker.service")
                if active.returncode == 0:
                    return state
                break
            time.sleep(0.1)
        words = self.console.read_text(errors="replace").splitlines()[-15:]
        if self.leader():
            failed = self.run("systemctl", "--no-pager", "status", "ssh.service", "docker.service")
            words += failed.stdout.splitlines()
        raise LabError("\n".join([f"{self.name}: did not boot to ssh and docker:", *words]))

    def state(self) -> str:
        """Return the word of ``systemctl is-system-running``, or what is true before it speaks."""
        if not self.leader():
            return "starting" if self.running() else "down"
        return self.run("systemctl", "is-system-running").stdout.strip() or "starting"

    def command(self, *words: str) -> list:
        """Return a command line that runs a command in the host, without ssh.

        :raises LabError: the host is not running.
        """
        leader = self.leader()
        if not leader:
            raise LabError(f"{self.name} is not running: lab.py up")
        # Systemd refuses to deal with a process whose cgroup is outside the host's.
        join = []
        for line in Path("/proc", str(leader), "cgroup").read_text().splitlines():
            _number, controllers, group = line.split(":", 2)
            for root in hierarchies():
                if root.name == controllers.replace("name=", "") or (
                    not controllers and (root / "cgroup.controllers").exists()
                ):
                    join.append(f"echo $$ > {root}{group}/cgroup.procs;")
        enter = f'nsenter --target={leader} --all --root --wd -- "$@"'
        return ["sh", "-c", f"{' '.join(join)} exec {enter}", "sh", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """Run a command in the host; its failure is the caller's matter."""
        return subprocess.run(
            self.command(*words),
            check=False,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _make_cgroup(group: Path) -> None:
    """Make a cgroup two levels below its hierarchy's root, with every controller usable in it."""
    while not group.exists():
        # The lab's own goes with the last of its hosts, which may be at this moment.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            group.parent.mkdir(exist_ok=True)
            group.mkdir()
    for path in (group.parent, group):
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group, and none can enter
            if (path / name).exists() and not (path / name).read_text().strip():
                (path / name).write_text((path.parent / name).read_text())
        if (path / "cgroup.controllers").exists():  # v2: handed down one by one
            for controller in (path.parent / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):
                    (path.parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove_cgroup(group: Path) -> None:
    for path, _directories, _files in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    with contextlib.suppress(OSError):
        group.parent.rmdir()  # goes with its last host
