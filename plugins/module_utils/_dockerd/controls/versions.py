# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the versions of engine, runtime and client prove, and what they do not."""

from __future__ import annotations

from ..directives import parse_version
from ..drift import UPGRADED
from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..vulnerabilities import COMPONENTS, ENGINE, OLDEST_MAINTAINED, PACKAGES, known, plain

UP_TO_DATE = {"1.6": "1.2.2", "1.7": "1.2.2", "1.8": "1.2.2"}
TRUST_ENDS = "2026-12-08"  # the end of notary.docker.io, docker/docs PR 25382
TRUST_REMOVED = (29, 0)  # the first client without content trust


def _upstream(snapshot: Snapshot) -> bool:
    """Whether the engine is Docker's own build; containerd.io and its runc come with it."""
    does = snapshot.does
    version = does.components.get(COMPONENTS[ENGINE], "")
    return "Community" in does.platform and plain(version)


def _components(judge, upstream: bool):
    """A control on the components that Docker built, or on those that somebody else did."""

    def either(snapshot: Snapshot) -> Verdict:
        does = snapshot.does
        if does is None:
            return not_applicable("only a running daemon tells its versions")
        if COMPONENTS[ENGINE] not in does.components:
            return unknown("dockerd did not tell its versions. %s" % does.problem)
        chosen = {
            component: does.components[name]
            for component, name in COMPONENTS.items()
            if name in does.components
            and (_upstream(snapshot) and plain(does.components[name])) == upstream
        }
        if not chosen:
            return not_applicable(
                "the engine is a distribution's, and its number proves nothing"
                if upstream
                else "the engine is Docker's own build, which its number describes"
            )
        return judge(chosen)

    return either


def _holes(versions: dict) -> Verdict:
    problems = [
        "%s %s has %s: %s (fixed in %s)"
        % (component, version, hole.id, hole.effect, hole.remedy(version))
        for component, version in versions.items()
        for hole in known(component, version)
    ]
    return broken(problems, good=_listed(versions))


def _backports(versions: dict) -> Verdict:
    suggested = {
        component: [hole.id for hole in known(component, version)]
        for component, version in versions.items()
    }
    doubts = [
        "%s %s (package %s) by its number alone: %s"
        % (component, versions[component], PACKAGES[component], ", ".join(holes))
        for component, holes in suggested.items()
        if holes
    ]
    if doubts:
        return unknown("ask your distribution; %s" % "; ".join(doubts))
    return passed(_listed(versions))


def _listed(versions: dict) -> str:
    return ", ".join("%s %s" % pair for pair in versions.items())


def _supported(versions: dict) -> Verdict:
    if ENGINE not in versions:
        return not_applicable("how long a distribution cares for its package is its own matter")
    version = versions[ENGINE]
    if parse_version(version) < OLDEST_MAINTAINED:
        return failed("Docker mends engine %d and newer, not %s" % (*OLDEST_MAINTAINED, version))
    return passed("engine %s" % version)


def _restarted(snapshot: Snapshot) -> Verdict:
    """Debian's docker.io, for one, is upgraded without a restart of the daemon."""
    does = snapshot.does
    if does is None or not does.process:
        return not_applicable("no dockerd runs here")
    if not does.process.executable:
        return unknown("/proc/%d/exe cannot be read" % does.process.pid)
    if does.process.replaced:
        return failed("%s (process %d)" % (UPGRADED, does.process.pid))
    return passed(does.process.executable)


def _trust(snapshot: Snapshot) -> Verdict:
    trust = snapshot.trust
    places = [*trust.daemon, *trust.users]
    if not places:
        return not_applicable("DOCKER_CONTENT_TRUST is set nowhere on this host")
    written = ", ".join("%s line %d" % place[:2] for place in trust.users)
    problems = [
        "%s: dockerd has no content trust, so that it does nothing there" % place.path
        for place in trust.daemon
    ]
    doubt = ""
    if trust.users:
        try:
            version = parse_version(trust.client)
        except ValueError:
            version, doubt = (), "the docker client's version is not known (%s)" % written
        if version >= TRUST_REMOVED:
            problems.append("%s: client %s ignores it" % (written, trust.client))
        elif version and not trust.server:
            problems.append(
                "%s: Docker Hub's notary ends on %s and with it every signed pull of client %s;"
                " no DOCKER_CONTENT_TRUST_SERVER is set" % (written, TRUST_ENDS, trust.client)
            )
    if doubt and not problems:
        return unknown(doubt)
    return broken(problems, places, "%s, client %s" % (written, trust.client))


CONTROLS = [
    Control(
        "engine-holes",
        "Neither engine nor runtime has a known hole that its version proves",
        "high",
        "What is public is what is tried first.",
        "Install the version named, or a newer one, from the packages that dockerd_packages names.",
        _components(_holes, upstream=True),
        UP_TO_DATE,
    ),
    Control(
        "engine-backports",
        "A distribution's engine and runtime have the fixes of known holes",
        "low",
        "A distribution mends holes under an old number, so that the number proves nothing.",
        "Look the ids up in your distribution's security tracker, keep its updates installed, and"
        " accept the answer with a waiver that ends.",
        _components(_backports, upstream=False),
        UP_TO_DATE,
    ),
    Control(
        "engine-supported",
        "Docker still mends this engine",
        "medium",
        "The next hole of a release that has ended stays open.",
        "Install a maintained release, from the packages that dockerd_packages names.",
        _components(_supported, upstream=True),
        UP_TO_DATE,
    ),
    Control(
        "engine-restarted",
        "The dockerd that runs is the one that is installed",
        "high",
        "An upgrade that mends a hole does nothing for a daemon that goes on.",
        "Restart the daemon; the roles do, where that stops no container.",
        _restarted,
        UP_TO_DATE,
    ),
    Control(
        "content-trust",
        "Where content trust is asked for, it is enforced",
        "high",
        "Images are believed to be signed while nobody looks.",
        "Remove DOCKER_CONTENT_TRUST, pin images by digest, and verify signatures before a"
        " deployment (cosign, notation); a private Notary serves clients before 29.",
        _trust,
        {"1.6": "4.5", "1.7": "4.5", "1.8": "4.5"},
    ),
]
