# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root file systems, one for each Debian release: built once, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import CACHE, LabError, locked, mirrors, remove, run, say

HERE = Path(__file__).resolve().parent

PACKAGES = (
    "ca-certificates curl dbus-user-session docker.io iproute2 iptables openssh-server openssl "
    "procps python3 python3-apt python3-cryptography rootlesskit slirp4netns sudo systemd-sysv "
    "uidmap busybox-static"
).split()

# Packages beyond PACKAGES, whether there is a security suite, and options for apt.
RELEASES = {
    "bookworm": {"version": 12, "packages": [], "security": True, "options": []},
    "trixie": {"version": 13, "packages": ["docker-cli"], "security": True, "options": []},
    "forky": {
        "version": 14,
        "packages": ["docker-cli"],
        "security": False,
        # The release file of testing may be past its date when its mirror is.
        "options": ['--aptopt=Acquire::Check-Valid-Until "false"'],
    },
}


def path(release: str) -> Path:
    """Return where a release's root file system lives; the name changes with the recipe."""
    recipe = hashlib.sha256(repr((PACKAGES, RELEASES[release])).encode())
    recipe.update((HERE / "rootfs.sh").read_bytes())
    return CACHE / f"{release}-{recipe.hexdigest()[:12]}"


def build(release: str) -> Path:
    """Return the root file system of a release, built if it is not in the cache.

    :raises LabError: mmdebstrap failed; the message holds its last words.
    """
    root = path(release)
    with locked(CACHE / f"{release}.lock"):
        if not root.is_dir():
            _build(release, root)
    return root


def build_all(releases: set) -> None:
    """Build what is missing of these, side by side.

    :raises LabError: as :func:`build`.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(build, sorted(releases)))


def _build(release: str, root: Path) -> None:
    facts = RELEASES[release]
    archive, security = mirrors()
    sources = [f"deb {archive} {release} main"]
    if security and facts["security"]:
        sources.append(f"deb {security} {release}-security main")
    partial = CACHE / f"{release}.partial"
    remove(partial)
    (partial / "tmp").mkdir(parents=True)
    say(f"{release}: building its root file system (about a minute, once)")
    hook = "sh " + shlex.quote(str(HERE / "rootfs.sh")) + ' "$1"'
    started = time.monotonic()
    done = run(
        # In namespaces that die with this process, a killed build leaves files and nothing else.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("env", f"TMPDIR={partial}/tmp", "mmdebstrap", "--quiet", "--mode=root"),
        "--variant=minbase",
        '--aptopt=Acquire::Retries "5"',
        f"--include={','.join(PACKAGES + facts['packages'])}",
        f"--customize-hook={hook}",
        *facts["options"],
        *(release, partial / "root", *sources),
        check=False,
    )
    if done.returncode != 0:
        words = "\n".join(done.stderr.splitlines()[-15:])
        remove(partial)
        raise LabError(f"{release}: mmdebstrap ended with {done.returncode}:\n{words}")
    os.rename(partial / "root", root)
    remove(partial)
    size = int(run("du", "-sm", root).stdout.split()[0])
    say(f"{release}: built in {time.monotonic() - started:.0f} s, {size} MB")


def clear() -> None:
    """Empty the cache of everything this module puts there."""
    ours = re.compile(rf"({'|'.join(RELEASES)})(-[0-9a-f]{{12}}|\.partial|\.lock)")
    for entry in sorted(CACHE.iterdir()) if CACHE.is_dir() else ():
        if ours.fullmatch(entry.name):
            remove(entry)
