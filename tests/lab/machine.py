# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that carries the lab: settings, packages, network, and what is mounted or runs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("LAB_DIR") or REPOSITORY / ".lab").absolute()
CACHE = Path(os.environ.get("LAB_CACHE") or STATE / "cache").absolute()
HOSTS = STATE / "hosts"

# What is ours on the machine carries this mark, so that the labs of two checkouts keep apart.
_digest = hashlib.sha256(str(STATE).encode()).hexdigest()
MARK = f"hdlab-{_digest[:6]}"
BRIDGE = os.environ.get("LAB_BRIDGE") or "hdlab0"
BRIDGE_MAC = "02:" + ":".join(_digest[n : n + 2] for n in range(0, 10, 2))
# RFC 2544 keeps 198.18.0.0/15 for tests between devices: no real network has it.
try:
    NETWORK = ipaddress.IPv4Network(os.environ.get("LAB_NETWORK") or "198.18.0.0/16")
    if NETWORK.prefixlen > 16:
        raise ValueError("it takes a /16 or wider")
except ValueError as problem:
    sys.exit(f"lab: LAB_NETWORK is no network for the lab: {problem}")
GATEWAY = NETWORK[1]
DOMAIN = "lab.test"
INOTIFY_INSTANCES = 1024

TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "mount": "mount",
    "nsenter": "util-linux",
}

_started = time.monotonic()


class LabError(Exception):
    """The lab cannot do what was asked; the message says why and what helps."""


def say(text: str) -> None:
    """Print a progress line with the seconds since the program started."""
    print(f"lab {time.monotonic() - _started:6.1f} s  {text}", flush=True)


def run(*command: object, check: bool = True) -> subprocess.CompletedProcess:
    """Run a command; its standard output and error are text.

    :raises LabError: the command failed and ``check`` is set.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done


@contextlib.contextmanager
def locked(path: Path):
    """Hold an exclusive lock, which a killed holder gives up by dying."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require() -> None:
    """Check that this machine can carry the lab; install missing packages where that is possible.

    :raises LabError: it cannot; the message names what is missing.
    """
    if not sys.platform.startswith("linux"):
        raise LabError(
            f"the lab boots Linux hosts in namespaces and cannot run on {sys.platform}: "
            "use a Linux machine or virtual machine, or an inventory of your own"
        )
    if os.geteuid() != 0:
        raise LabError("the lab needs root for namespaces, mounts and a bridge: run it with sudo")
    for path in (STATE, CACHE):
        if re.search(r"[\s:,\\]", str(path)):
            raise LabError(
                f"{path}: mount options cannot hold a path with a blank, colon, comma or "
                "backslash: set LAB_DIR or LAB_CACHE to another directory"
            )
    missing = sorted(
        {p for tool, p in TOOLS.items() if not (shutil.which(tool) or os.path.exists(tool))}
    )
    if missing:
        install(missing)


def install(packages: list) -> None:
    """Install packages with apt-get.

    :raises LabError: there is no apt-get, or it failed.
    """
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise LabError(
            f"missing Debian packages: {names}. This machine has no apt-get: install what they "
            "hold with its own package manager"
        )
    say(f"installing {names}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    command = ("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if run(*command, check=False).returncode != 0:
        run("apt-get", "update")
        run(*command)


def mirrors() -> tuple:
    """Return the addresses of the Debian archive and of its security archive (or None).

    They are the machine's own, unless ``LAB_MIRROR`` holds one or both.

    :raises LabError: the machine's apt knows no Debian archive.
    """
    given = os.environ.get("LAB_MIRROR", "").split()
    if given:
        return given[0], given[1] if len(given) > 1 else None
    found = {}
    with contextlib.suppress(OSError):
        system = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.M))
        if system.get("ID") == "debian":
            form = "$(REPO_URI) $(RELEASE) $(CODENAME)"
            codename = system.get("VERSION_CODENAME")
            for line in run("apt-get", "indextargets", "--format", form).stdout.splitlines():
                address, *names = line.split()
                for name in names:
                    found.setdefault(name.replace(f"{codename}", "SUITE", 1), address)
    if not found.get("SUITE"):
        raise LabError(
            "apt on this machine has no Debian archive to build hosts from: "
            'set LAB_MIRROR="ARCHIVE-URL [SECURITY-ARCHIVE-URL]"'
        )
    return found["SUITE"], found.get("SUITE-security")


def raise_limits() -> None:
    """Raise the one limit of the kernel that a dozen hosts reach.

    The inotify instances of root count over all hosts: each has about ten, the default is 128.
    """
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    value = int(limit.read_text())
    if value < INOTIFY_INSTANCES:
        try:
            limit.write_text(f"{INOTIFY_INSTANCES}\n")
            say(f"raised fs.inotify.max_user_instances from {value} to {INOTIFY_INSTANCES}")
        except OSError as error:
            say(f"{limit} stays {value} ({error.strerror}): enough for {value // 11} hosts")


def network_up() -> None:
    """Make the bridge, or mend what is there of it.

    :raises LabError: the bridge cannot be made, or the network is another interface's.
    """
    if _bridge_is_left():
        run("ip", "link", "delete", BRIDGE)
    if Path("/sys/class/net", BRIDGE).exists() and not _bridge_is_ours():
        raise LabError(
            f"{BRIDGE} is another lab's, or no bridge of a lab: take that lab down with lab.py of "
            "its checkout, or set LAB_BRIDGE and LAB_NETWORK for this one"
        )
    route = run("ip", "-o", "route", "show", "root", NETWORK, check=False).stdout
    foreign = [line for line in route.splitlines() if f"dev {BRIDGE} " not in line + " "]
    if foreign:
        raise LabError(f"{NETWORK} is in use here ({foreign[0].strip()}): set LAB_NETWORK")
    if not Path("/sys/class/net", BRIDGE).exists():
        run("ip", "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge")
    run("ip", "address", "replace", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    _firewall("-I")


def network_down() -> None:
    """Take the bridge away."""
    if _bridge_is_ours():
        _firewall("-D")
        run("ip", "link", "delete", BRIDGE)


def _bridge_is_ours() -> bool:
    place = Path("/sys/class/net", BRIDGE)
    return (place / "bridge").exists() and (place / "address").read_text().strip() == BRIDGE_MAC


def _bridge_is_left() -> bool:
    """Tell whether it is what is left of another checkout's lab, whose hosts are dead."""
    place = Path("/sys/class/net", BRIDGE)
    ours = BRIDGE.startswith("hdlab") and (place / "bridge").exists()
    return ours and not _bridge_is_ours() and not any((place / "brif").iterdir())


def _firewall(action: str) -> None:
    """Insert (-I) or delete (-D) a rule that lets hosts reach each other.

    Where Docker runs on the machine, bridged packets go through its FORWARD chain, which drops.
    """
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not (switch.exists() and switch.read_text().strip() == "1" and shutil.which("iptables")):
        return
    rule = ("FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT")
    there = run("iptables", "-w", "-C", *rule, check=False).returncode == 0
    if there != (action == "-I"):
        run("iptables", "-w", action, *rule)


def mounts() -> list:
    """Return (mount point, file system type) of everything mounted, in order of mounting."""
    rows = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        rows.append((before.split()[4], after.split()[0]))
    return rows


def unmount(path: Path) -> None:
    """Unmount what is mounted at a path or below it."""
    for point, _kind in reversed(mounts()):
        if point == str(path) or point.startswith(f"{path}/"):
            run("umount", "--lazy", point)


def remove(path: Path) -> None:
    """Remove a file tree of ours, with whatever a killed run left mounted in it."""
    unmount(path)
    run("rm", "-rf", "--one-file-system", path)


def processes() -> list:
    """Return (process id, argument list) of every process that still has arguments."""
    rows = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                rows.append((int(entry), [os.fsdecode(word) for word in words]))
    return rows


def alive(pid: int) -> bool:
    """Tell whether a process still runs; a zombie does not, however late it is reaped."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
