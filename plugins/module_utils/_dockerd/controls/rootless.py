# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons that belong to users, and what they stand on."""

from __future__ import annotations

from typing import Callable

from .. import ground, ranges
from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..told import Place

# What role dockerd sets and a rootless daemon better has not: the value, the engine from which on
# it may, and why.
NEVER = (99,)
FUTILE = {
    "live-restore": (
        True,
        NEVER,
        "its containers live in its namespaces, and are killed with them",
    ),
    # moby 28.0 is the first that asks rootlesskit itself for a port.
    "userland-proxy": (False, (28, 0), "published ports reach the host by that proxy alone"),
}
PRIVATE = 0o077
# Drivers that keep the host's network out of reach, and need no help of a program with setuid.
NETWORKS = ("slirp4netns", "pasta", "vpnkit", "gvisor-tap-vsock")


def _theirs(judge: Callable[[Snapshot], Verdict]) -> Callable[[Snapshot], Verdict]:
    """A rule for rootless daemons only."""

    def either(snapshot: Snapshot) -> Verdict:
        if not snapshot.instance.rootless:
            return not_applicable("this is the system's daemon")
        return judge(snapshot)

    return either


def _running(judge: Callable[[Snapshot, dict], Verdict]) -> Callable[[Snapshot], Verdict]:
    """A rule on the words that the running rootlesskit was started with."""

    def either(snapshot: Snapshot) -> Verdict:
        if not snapshot.ground.rootlesskit:
            return unknown("no rootlesskit runs that could be looked at")
        return judge(snapshot, _words(snapshot))

    return _theirs(either)


def _words(snapshot: Snapshot) -> dict:
    """Flags of rootlesskit by name; without a value they are true."""
    found = {}
    for word in snapshot.ground.rootlesskit[1:]:
        if not word.startswith("--"):
            break
        name, equals, value = word[2:].partition("=")
        found[name] = value if equals else "true"
    return found


def _remap(snapshot: Snapshot) -> Verdict:
    told, name = snapshot.told, "userns-remap"
    if told.setting(name) in (None, ""):
        return passed("no userns-remap")
    return failed(
        "%s: %s (%s)" % (name, "it is in a user namespace already", told.where(name)),
        told.place(name),
    )


def _futile(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    found = [
        name
        for name, (value, until, dummy) in FUTILE.items()
        if told.setting(name) is value and (told.version or ()) < until
    ]
    return broken(
        ["%s: %s (%s)" % (name, FUTILE[name][2], told.where(name)) for name in found],
        [told.place(name) for name in found],
    )


def _ids(snapshot: Snapshot) -> Verdict:
    found = snapshot.ground
    short = [
        "%s has fewer than %d ids for %s" % (path, ranges.NEEDED, snapshot.instance.user.name)
        for path, own in found.ranges.items()
        if not ranges.enough(own)
    ]
    shared = ["%s share ids" % lines for lines in found.conflicts]
    own = ["%d-%d" % (one.start, one.end - 1) for one in found.ranges.get(ground.SUBIDS[0], [])]
    return broken(short + shared, map(Place, ground.SUBIDS), ", ".join(own))


def _linger(snapshot: Snapshot) -> Verdict:
    if snapshot.ground.linger:
        return passed("linger is on")
    return failed("%s has no linger" % snapshot.instance.user.name)


def _delegation(snapshot: Snapshot) -> Verdict:
    found = snapshot.ground
    if found.unified is None:
        return unknown("the host is not running")
    if not found.unified:
        return not_applicable("cgroups are v1 here, and nothing of them can be delegated")
    missing = [name for name in ground.CONTROLLERS if name not in found.controllers]
    if missing:
        return failed("the user's manager has no %s" % ", ".join(missing))
    return passed(", ".join(found.controllers))


def _limits(snapshot: Snapshot) -> Verdict:
    if not snapshot.does or not snapshot.does.answers:
        return unknown("the daemon does not answer")
    driver = snapshot.does.info.get("CgroupDriver")
    if driver == "none":
        return failed("the cgroup driver is none")
    return passed("the cgroup driver is %s" % driver)


def _loopback(snapshot: Snapshot, words: dict) -> Verdict:
    if words.get("disable-host-loopback") == "true":
        return passed("--disable-host-loopback")
    return failed("rootlesskit runs without --disable-host-loopback")


def _network(snapshot: Snapshot, words: dict) -> Verdict:
    network = words.get("net", "host")
    problems = [] if network in NETWORKS else ["the network driver is %s" % network]
    if words.get("detach-netns") == "true":
        problems.append("dockerd itself is in the host's network (--detach-netns)")
    return broken(problems, good=network)


def _socket(snapshot: Snapshot) -> Verdict:
    directory = snapshot.ground.runtime
    path = snapshot.instance.socket_path.rpartition("/")[0]
    if directory is None:
        return unknown("%s is not there" % path)
    if directory.uid != snapshot.instance.user.uid or directory.mode & PRIVATE:
        evidence = "%s has mode %04o and belongs to user %d" % (path, directory.mode, directory.uid)
        return failed(evidence, Place(path))
    return passed("%s %04o" % (path, directory.mode))


def _beside(snapshot: Snapshot) -> Verdict:
    if not snapshot.ground.system:
        return unknown("nobody can say whether the system's daemon runs")
    if snapshot.ground.system in ("active", "activating", "reloading"):
        return failed("the system's docker.service is %s" % snapshot.ground.system)
    return passed("the system's docker.service is %s" % snapshot.ground.system)


CONTROLS = [
    Control(
        "rootless-userns-remap",
        "A rootless daemon remaps no users",
        "high",
        "dockerd exits: nothing can be remapped where all of it is in a user namespace already.",
        "Take userns-remap out of the options of dockerd_rootless_users.",
        _theirs(_remap),
        {},
        starts=True,
    ),
    Control(
        "rootless-directives",
        "A rootless daemon has no directive that does other there than it is for",
        "low",
        "Who relies on it has not what they think: containers die, or their ports lead nowhere.",
        "Take it out of dockerd_rootless_options and of the options of dockerd_rootless_users.",
        _theirs(_futile),
        {},
    ),
    Control(
        "rootless-ids",
        "The user has 65,536 subordinate ids that are nobody else's",
        "high",
        "With fewer, images do not unpack; with shared ones, one user's containers can touch"
        " another's files.",
        "Let role dockerd_rootless choose the ranges, or mend /etc/subuid and /etc/subgid.",
        _theirs(_ids),
        {},
    ),
    Control(
        "rootless-linger",
        "The daemon starts at boot",
        "medium",
        "Without linger it starts when its user logs in, and its containers end when they log out.",
        "Let role dockerd_rootless set it, or run loginctl enable-linger.",
        _theirs(_linger),
        {},
    ),
    Control(
        "rootless-delegation",
        "The user's manager has every cgroup controller that containers need",
        "medium",
        "A limit whose controller is not delegated does nothing, and nobody says so.",
        "Let role dockerd_rootless delegate cpu, cpuset, io, memory and pids, and restart"
        " user@UID.service.",
        _theirs(_delegation),
        {},
    ),
    Control(
        "rootless-limits",
        "Limits of containers are enforced",
        "medium",
        "With cgroup driver none, --memory, --cpus and --pids-limit do nothing.",
        "Boot the host with cgroups v2: systemd.unified_cgroup_hierarchy=1 for the kernel.",
        _theirs(_limits),
        {},
    ),
    Control(
        "rootless-loopback",
        "Containers do not reach what listens on the host's loopback",
        "high",
        "Services there often ask nobody who they are, because they trust the host.",
        "Take DOCKERD_ROOTLESS_ROOTLESSKIT_DISABLE_HOST_LOOPBACK=false out of the unit's drop-ins.",
        _running(_loopback),
        {},
    ),
    Control(
        "rootless-network",
        "The daemon and its containers have a network of their own",
        "medium",
        "In the host's network a container listens and connects as the host itself; lxc-user-nic"
        " has setuid.",
        "Leave DOCKERD_ROOTLESS_ROOTLESSKIT_NET to slirp4netns or pasta, and keep"
        " DOCKERD_ROOTLESS_ROOTLESSKIT_DETACH_NETNS=false, which role dockerd_rootless sets.",
        _running(_network),
        {},
    ),
    Control(
        "rootless-socket",
        "The socket lies in a directory that is the user's alone",
        "high",
        "Whoever reaches the socket has the user's files and containers.",
        "chmod 0700 the directory; systemd-logind makes it so at the start of the user's manager.",
        _theirs(_socket),
        {},
    ),
    Control(
        "rootless-beside",
        "No daemon with root runs beside it",
        "low",
        "Whoever is in the docker group is still root, and few remember which daemon a command"
        " talks to.",
        "Set dockerd_rootless_exclusive: true where the users' daemons are enough.",
        _theirs(_beside),
        {},
    ),
]
