# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the lab, seen from outside: its disk kept and put back, its state read.

Hardly anything but the modules runs in the host itself: files are read through /proc/PID/root of
its first process, and the daemon is asked on its unix socket there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from hosts import ENVIRONMENT, Host
from machine import STATE, LabError, remove

HERE = Path(__file__).resolve().parent

# Everything that a run may write to, and what others write there meanwhile.
TREES = ("etc", "var/lib/hardened-docker", "var/lib/systemd/linger", "root", "home", "usr/local")
VOLATILE = (
    *(
        "etc/docker/key.json",
        "home/alice/.config/docker/key.json",
        "etc/.pwd.lock",
        "etc/.updated",
        "etc/ld.so.cache",
        "etc/machine-id",
    ),
    *("etc/subuid-", "etc/subgid-", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-"),
    *("etc/resolv.conf", "root/.ansible", "root/.ssh", "root/.cache", "root/.bash_history"),
)
MANIFESTS = ("/manifest.json", "/manifest.spare.json")
BOOTED = ("running", "degraded")
PORTS = (2375, 2376, 2377)
ALIVE_SECONDS = 15.0
BOOT_SECONDS = 60.0
SETTLE_SECONDS = 40.0
CONTAINERS = ("survivor", "keeper")  # without a restart policy, and with one
INJECT = (HERE / "inject.py").read_text(encoding="utf-8")


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Target:
    """One host. ``users`` have daemons of their own, beside the system's."""

    def __init__(self, name: str) -> None:
        self.host = Host(name)
        self.name, self.release, self.address = name, self.host.release, str(self.host.address)
        self.users: tuple[str, ...] = ()
        self.modules = STATE / "faults" / "modules" / name  # what Ansible sends along
        self._leader = 0
        self._orders: socket.socket | None = None
        self._injector: subprocess.Popen | None = None

    # -- its power and its disk

    @property
    def leader(self) -> int:
        """The machine's id of the host's first process. Raises LabError where it is down."""
        if not self._leader or not os.path.exists("/proc/%d/root/etc" % self._leader):
            self._leader = self.host.leader() or 0
        if not self._leader:
            raise LabError("%s is down" % self.name)
        return self._leader

    @property
    def root(self) -> Path:
        """The host's root directory, with everything that is mounted in it."""
        return Path("/proc/%d/root" % self.leader)

    def cut(self) -> None:
        """Cut the power."""
        self.host.bury(self.host.kill())
        self._leader = 0
        self._dismiss()

    def boot(self) -> None:
        """Boot from the disk, until systemd says that it is up."""
        deadline = time.monotonic() + BOOT_SECONDS
        self.host.boot()
        while time.monotonic() < deadline:
            with contextlib.suppress(LabError):
                if self.run("systemctl", "is-system-running", "--wait").strip() in BOOTED:
                    return
            time.sleep(0.05)
        raise LabError("%s does not boot" % self.name)

    def save(self, name: str) -> None:
        """Keep the disk of a host without power under a name."""
        place = self._saved(name)
        remove(place)
        place.mkdir(parents=True)
        for part in ("upper", "plain"):
            subprocess.run(["cp", "-a", self.host.directory / part, place / part], check=True)

    def load(self, name: str) -> None:
        """Put a kept disk in; the power is cut first."""
        self.cut()
        place = self._saved(name)
        for part in ("upper", "work"):
            remove(self.host.directory / part)
        (self.host.directory / "work").mkdir()
        remove(self.host.directory / "plain")
        for part in ("upper", "plain"):
            subprocess.run(["cp", "-a", place / part, self.host.directory / part], check=True)

    def saved(self, name: str) -> bool:
        return (self._saved(name) / "plain").is_dir()

    def _saved(self, name: str) -> Path:
        return STATE / "faults" / "disks" / self.name / name

    # -- commands in it

    def run(self, *words: str, check: bool = False) -> str:
        """What a command prints in the host. Raises LabError where it fails, to ``check``."""
        done = self.host.run(*words)
        if check and done.returncode:
            raise LabError("%s: %s: %s" % (self.name, " ".join(words), done.stderr.strip()))
        return done.stdout

    def module(self, module: str, profile: str, params: str, strike: dict) -> Ran:
        """Run a module of ours, with an order to strike."""
        order = {"module": module, "profile": profile, "params": params, **strike}
        reader, writer = os.pipe()
        ran = Ran()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            with os.fdopen(reader, encoding="utf-8", errors="replace") as report:
                try:
                    given = [out.fileno(), err.fileno(), writer]
                    socket.send_fds(self._served(), [json.dumps(order).encode()], given)
                finally:
                    os.close(writer)
                for line in report:
                    word, kind, thing = line.rstrip("\n").split("\t", 2)
                    ran.events.append("%s %s" % (kind, thing))
                    if word == "strike":
                        ran.struck = len(ran.events)
                        if strike["kind"] == "cut":
                            self.cut()
            answer = b"-9"
            if self._orders:
                with contextlib.suppress(ConnectionError):
                    answer = self._orders.recv(64) or answer
            out.seek(0)
            err.seek(0)
            ran.rc, ran.out, ran.err = int(answer), out.read(), err.read()
        return ran

    def _served(self) -> socket.socket:
        """The socket of a process in the host that runs modules, started where there is none."""
        if self._orders:
            return self._orders
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        modules = self.root / "run/faults"
        shutil.rmtree(modules, ignore_errors=True)
        shutil.copytree(self.modules, modules)
        log = (STATE / "faults" / ("%s.log" % self.name)).open("w")
        self._injector = subprocess.Popen(
            self.host.command("python3", "-c", INJECT, str(theirs.fileno()), "/run/faults"),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        log.close()
        ours.settimeout(300)
        if ours.recv(64) != b"ready":
            words = (STATE / "faults" / ("%s.log" % self.name)).read_text()
            raise LabError("%s: the injector did not start: %s" % (self.name, words))
        if not any(self.modules.rglob("*.pyc")):  # compiled by the host's own Python
            shutil.rmtree(self.modules)
            shutil.copytree(modules, self.modules)
        self._orders = ours
        return ours

    def _dismiss(self) -> None:
        """End the process that runs modules."""
        if self._orders:
            self._orders.close()
            self._injector.wait()
        self._orders = None

    # -- what is true of it

    def settle(self) -> None:
        """Wait until systemd has no jobs left."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self.idle() and time.monotonic() < deadline:
            time.sleep(0.2)

    def idle(self) -> bool:
        """Tell whether no manager has jobs, and no daemon is on its way."""
        return all(self._idle(self.systemctl(user)) for user in ("", *self.users))

    def _idle(self, systemctl: list[str]) -> bool:
        call = " ".join(systemctl)
        state = call + " show docker.service --property=ActiveState --value"
        jobs = call + " list-jobs --no-legend --plain"
        shown = self.run("sh", "-c", "%s; %s" % (state, jobs)).split()
        return len(shown) == 1 and shown[0] in ("active", "inactive", "failed")

    def systemctl(self, user: str) -> list[str]:
        """The command for the manager that starts a daemon: the system's, or a user's."""
        if not user:
            return ["systemctl"]
        runtime = "XDG_RUNTIME_DIR=/run/user/%d" % self.uid(user)
        return ["runuser", "--user=" + user, "--", "env", runtime, "systemctl", "--user"]

    def uid(self, user: str) -> int:
        """The number of a user of the host."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            if line.startswith(user + ":"):
                return int(line.split(":")[2])
        return 0

    def ask(
        self, url: str, method: str = "GET", timeout: float = 10, user: str = ""
    ) -> tuple[int, bytes]:
        """Ask a daemon on its unix socket; status 0 where nobody answers."""
        place = "run/user/%d" % self.uid(user) if user else "run"
        connection = Unix("%s/%s/docker.sock" % (self.root, place), timeout)
        try:
            connection.request(method, url)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def alive(self, seconds: float = ALIVE_SECONDS) -> bool:
        """Tell whether all daemons answer, now or within some seconds."""
        deadline = time.monotonic() + seconds
        while True:
            if all(self.ask("/_ping", user=user)[0] == 200 for user in ("", *self.users)):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def come_back(self, seconds: float = ALIVE_SECONDS) -> bool:
        """Tell whether the containers with a restart policy run, now or within some seconds."""
        deadline = time.monotonic() + seconds
        while not all(self.process("keeper", user) for user in ("", *self.users)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def start_containers(self) -> None:
        """Run our containers that do not run. Raises LabError where one cannot."""
        for name in CONTAINERS:
            status, body = self.ask("/containers/%s/start" % name, "POST", 60)
            if status not in (204, 304):
                raise LabError("%s: %s does not start: %s" % (self.name, name, body[:300]))

    def containers(self) -> dict[str, int]:
        """The process of each container of the system's daemon; 0 where it does not run."""
        return {name: self.process(name) for name in CONTAINERS}

    def process(self, name: str, user: str = "") -> int:
        """The process of a container; 0 where it does not run."""
        status, body = self.ask("/containers/%s/json" % name, user=user)
        state = json.loads(body)["State"] if status == 200 else {}
        return state.get("Pid", 0) if state.get("Running") else 0

    def serves(self) -> dict[int, bool]:
        """Tell of each port whether somebody there speaks TLS."""
        return {port: handshake(self.address, port) for port in PORTS}

    def exposed(self) -> list[str]:
        """TCP ports that give the API to a stranger, asked from another machine."""
        found = []
        for port in PORTS:
            for secure in (False, True):
                if stranger(self.address, port, secure):
                    found.append(
                        "%s on %d" % ("TLS without a certificate" if secure else "plain HTTP", port)
                    )
        return found

    def files(self) -> dict[str, str]:
        """Every file of the host that a run may write: path -> mode, owner and digest."""
        root, found = self.root, {}
        for tree in TREES:
            for path, directories, names in os.walk(root / tree):
                shown = os.path.relpath(path, root)
                directories[:] = [
                    one
                    for one in directories
                    if "%s/%s" % (shown, one) not in VOLATILE and not shown.endswith("/.local")
                ]
                for name in names + directories:
                    one = "%s/%s" % (shown, name)
                    if one not in VOLATILE:
                        with contextlib.suppress(FileNotFoundError):
                            found[one] = fingerprint(os.path.join(path, name), one)
        for path in (root / "run").glob("hardened-docker-*.json"):
            found["run/%s" % path.name] = "left"
        return found


class Ran:
    """A module's run: its events, and what it said in the end."""

    def __init__(self) -> None:
        self.events: list = []
        self.struck = 0  # the number of the event that was struck
        self.rc = 0
        self.out = self.err = ""

    @property
    def result(self) -> dict:
        """Its answer; of a module that gave none, that it failed."""
        with contextlib.suppress(ValueError):
            return json.loads(self.out[self.out.index("{") :])
        return {"failed": True}

    @property
    def crashed(self) -> str:
        """What is known of a module that failed without a message; empty where it did not."""
        result = self.result
        if not result.get("failed") or result.get("msg"):
            return ""
        return str(result.get("exception") or self.err.strip() or "status %d" % self.rc)[-2000:]


def fingerprint(path: str, shown: str) -> str:
    """Mode, owner and content of a file. Of a key only that it is there: each run makes another."""
    status = os.lstat(path)
    about = "%06o %d:%d" % (status.st_mode, status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return "%s -> %s" % (about, os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return about
    data = Path(path).read_bytes()
    if shown.endswith(".pem"):
        return "%s %s" % (about, "PEM" if data.startswith(b"-----BEGIN") else data[:20])
    if shown.startswith("var/lib/hardened-docker/") and shown.endswith(MANIFESTS):
        with contextlib.suppress(ValueError):
            manifest = json.loads(data)
            for one in ("applied", "transaction"):  # of this very process, and run
                manifest.pop(one, None)
            data = json.dumps(manifest, sort_keys=True).encode()
    return "%s %s" % (about, hashlib.sha256(data).hexdigest()[:16])


def _client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(address: str, port: int) -> bool:
    """Tell whether a listener speaks TLS."""
    try:
        with socket.create_connection((address, port), 2) as plain:
            with _client().wrap_socket(plain) as secure:
                return bool(secure.getpeercert(True))
    except (OSError, ValueError):
        return False


def stranger(address: str, port: int, secure: bool) -> bool:
    """Tell whether a client without a certificate gets an answer from the API."""
    try:
        with socket.create_connection((address, port), 2) as plain:
            connection = _client().wrap_socket(plain) if secure else plain
            with connection:
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
    except (OSError, ValueError):
        return False
