# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known holes of the engine, containerd and runc, as data.

Only those of medium severity and above that the daemon's own work exposes. Sources are the
advisories of the projects and their release notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ENGINE, CONTAINERD, RUNC = "engine", "containerd", "runc"
# A component's name in GET /version, and what distributions call its package.
COMPONENTS = {ENGINE: "Engine", CONTAINERD: "containerd", RUNC: "runc"}
PACKAGES = {ENGINE: "docker.io or moby-engine", CONTAINERD: "containerd", RUNC: "runc"}
# Docker mends its newest major release alone; 28 ended in November 2025.
OLDEST_MAINTAINED = (29,)

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(?:-(?:alpha|beta|rc)\.?(\d+))?")


@dataclass(frozen=True)
class Vulnerability:
    """One row. ``fixed`` holds the first good version of each branch that got the fix."""

    id: str
    component: str
    fixed: tuple[str, ...]
    effect: str
    source: str
    since: str = "0"

    def affects(self, version: str) -> bool:
        """Whether this version has the hole.

        A branch (major.minor) that got a fix of its own is good from there on. Any other version
        is good only beyond the newest fix: 27.0.3 has what 26.1.5 and 27.1.1 mend.
        """
        mine = order(version)
        fixes = [order(fix) for fix in self.fixed]
        if mine < order(self.since) or mine >= max(fixes):
            return False
        return not any(_branch(fix) == _branch(mine) and mine >= fix for fix in fixes)

    def remedy(self, version: str) -> str:
        """The nearest version without the hole."""
        return min((fix for fix in self.fixed if order(fix) > order(version)), key=order)


def order(version: str) -> tuple:
    """A version as something to compare; a release candidate comes before its release.

    Raises ValueError where there is no version.
    """
    found = _VERSION.match(version)
    if not found:
        raise ValueError("%r is no version" % version)
    numbers = tuple(int(part) for part in found.group(1).split("."))
    candidate = int(found.group(2)) if found.group(2) else float("inf")
    return ((*numbers, 0, 0)[:3], candidate)


def _branch(ordered: tuple) -> tuple:
    return ordered[0][:2]


def plain(version: str) -> bool:
    """Whether a version is upstream's: a number without what a distribution adds to it."""
    return bool(_VERSION.fullmatch(version))


def known(component: str, version: str) -> list[Vulnerability]:
    """The holes that a component of this version has. Raises ValueError as :func:`order`."""
    return [one for one in TABLE if one.component == component and one.affects(version)]


TABLE = (
    Vulnerability(
        "CVE-2024-23651, CVE-2024-23652, CVE-2024-23653",
        ENGINE,
        ("25.0.2",),
        "a build reads and removes files of the host and gains privileges",
        "GHSA-m3r6-h7wv-7xxv, GHSA-4v98-7qmw-rqr8, GHSA-wr6v-9f75-vh2g",
        since="18.09",
    ),
    Vulnerability(
        "CVE-2024-24557",
        ENGINE,
        ("24.0.9", "25.0.2"),
        "an image poisons the cache of the classic builder",
        "GHSA-xw73-rw38-6vjc",
    ),
    Vulnerability(
        "CVE-2024-29018",
        ENGINE,
        ("23.0.11", "25.0.5", "26.0.0-rc3"),
        "containers on an internal network reach DNS servers outside",
        "GHSA-mq39-4gv4-mvpx",
    ),
    Vulnerability(
        "CVE-2024-32473",
        ENGINE,
        ("26.0.2",),
        "containers on an IPv4 network get IPv6 addresses and listen there",
        "GHSA-x84c-p2g9-rqv9",
        since="26.0.0",
    ),
    Vulnerability(
        "CVE-2024-41110",
        ENGINE,
        ("19.03.16", "20.10.28", "23.0.15", "24.0.10", "25.0.6", "26.0.3", "26.1.5", "27.1.1"),
        "a request with an empty body passes authorization plugins",
        "GHSA-v23v-6jw2-98fq",
        since="19.03",
    ),
    Vulnerability(
        "CVE-2025-54388",
        ENGINE,
        ("28.3.3",),
        "a reload of firewalld opens ports published on loopback to the network",
        "GHSA-x4rx-4gw3-53p4",
        since="28.2.0",
    ),
    Vulnerability(
        "CVE-2026-34040",
        ENGINE,
        ("29.3.1",),
        "a request with an oversized body passes authorization plugins",
        "GHSA-x744-4wpc-v9h2",
    ),
    Vulnerability(
        "CVE-2026-33997",
        ENGINE,
        ("29.3.1",),
        "a plugin gets privileges that nobody granted at its installation",
        "GHSA-pxq6-2prw-chj9",
    ),
    Vulnerability(
        "CVE-2026-41567",
        ENGINE,
        ("29.5.1",),
        "copying an archive into a container runs its programs as root on the host",
        "GHSA-x86f-5xw2-fm2r",
    ),
    Vulnerability(
        "CVE-2026-41568, CVE-2026-42306",
        ENGINE,
        ("29.5.1",),
        "a container races docker cp to files of the host",
        "GHSA-vp62-88p7-qqf5, GHSA-rg2x-37c3-w2rh",
    ),
    Vulnerability(
        "CVE-2026-17106",
        ENGINE,
        ("29.7.0",),
        "an archive writes outside the directory that it is unpacked into",
        "moby release notes 29.7.0",
    ),
    Vulnerability(
        "CVE-2024-25621",
        CONTAINERD,
        ("1.7.29", "2.0.7", "2.1.5", "2.2.0"),
        "users of the host read and change what lies in its directories",
        "GHSA-pwhc-rpq9-4c8w",
    ),
    Vulnerability(
        "CVE-2024-21626",
        RUNC,
        ("1.1.12",),
        "a container leaves through a leaked file descriptor",
        "GHSA-xr7r-f8xq-vfvv",
    ),
    Vulnerability(
        "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        RUNC,
        ("1.2.8", "1.3.3", "1.4.0-rc.3"),
        "a container leaves by redirecting what is mounted over or written to /proc",
        "GHSA-9493-h29p-rfm2, GHSA-qw9x-cqr3-wc7r, GHSA-cgrx-mc8f-2prm",
    ),
)
