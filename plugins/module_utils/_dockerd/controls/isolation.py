# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps containers from each other and from the host: CIS chapter 2."""

from __future__ import annotations

import json

from ..findings import Control, Verdict, failed, not_applicable, passed
from ..snapshot import Snapshot
from .rules import chapter_two, directive_is, equal, readable, security_options, unwanted


def _icc(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("bridge") == "none":
        return not_applicable("there is no default bridge")
    told = directive_is("icc", False, True)(snapshot)
    if told.status != "passed" or snapshot.does is None:
        return told
    if snapshot.does.bridge.get("com.docker.network.bridge.enable_icc") == "true":
        return failed(
            "icc is false, but the live bridge still says enable_icc: true; it is made anew when"
            " dockerd starts without containers on it"
        )
    return told


def _seccomp(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.setting("seccomp-profile") == "unconfined":
        return failed(
            "seccomp-profile is unconfined (%s)" % told.where("seccomp-profile"),
            told.place("seccomp-profile"),
        )
    if snapshot.seccomp is not None:
        return _profile(snapshot)
    options = security_options(snapshot)
    if any("seccomp" in option and "unconfined" in option for option in options):
        return failed("/info says %s" % ", ".join(options))
    return passed()


def _profile(snapshot: Snapshot) -> Verdict:
    """A profile in a file, docs.docker.com/engine/security/seccomp."""
    told = snapshot.told
    where = "seccomp-profile is %s (%s)" % (
        told.setting("seccomp-profile"),
        told.where("seccomp-profile"),
    )
    try:
        action = json.loads(snapshot.seccomp)["defaultAction"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return failed("%s: no container starts with what is in it" % where)
    if action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
        return failed("%s: it allows every call that it does not name" % where)
    return passed("%s: %s by default" % (where, action))


def _userns(snapshot: Snapshot) -> Verdict:
    if snapshot.instance.rootless:
        return passed("a rootless daemon is in a user namespace itself")
    told = snapshot.told
    user = str(told.setting("userns-remap") or "").partition(":")[0]
    if user in ("", "root", "0"):  # with root, moby switches it off again
        return failed("containers have the host's user ids", told.place("userns-remap"))
    if snapshot.does and snapshot.does.answers:
        if not any(option.startswith("name=userns") for option in security_options(snapshot)):
            return failed("userns-remap is told (%s), not done" % told.where("userns-remap"))
    return passed("userns-remap is %s" % told.setting("userns-remap"))


CONTROLS = readable(
    [
        Control(
            "icc",
            "Containers on the default bridge cannot reach each other",
            "medium",
            "One broken container is otherwise a neighbour of all others.",
            "Keep icc: false, the default of dockerd_profile.",
            _icc,
            chapter_two("2.2", "2.2"),
        ),
        Control(
            "iptables",
            "dockerd sets its packet filter rules",
            "high",
            "Without them containers are neither isolated nor their ports filtered.",
            "Remove iptables: false and ip6tables: false.",
            unwanted({"iptables": equal(False), "ip6tables": equal(False)}),
            chapter_two("2.4", "2.4"),
        ),
        Control(
            "forwarding",
            "dockerd drops packets that were not asked for",
            "medium",
            "Each of these lets the network reach containers past their published ports.",
            "Take the directive named out of dockerd_options.",
            unwanted(
                {
                    "allow-direct-routing": equal(True),
                    "ip-forward-no-drop": equal(True),
                    "bridge-accept-fwmark": lambda value: value and "is %s" % value,
                }
            ),
            {},
        ),
        Control(
            "no-new-privileges",
            "Containers cannot gain privileges",
            "medium",
            "A setuid program in an image is otherwise a way to root in the container.",
            "Keep no-new-privileges: true, the default of dockerd_profile.",
            directive_is("no-new-privileges", True, False),
            chapter_two("2.14", "2.15"),
        ),
        Control(
            "seccomp",
            "Containers run under a seccomp profile",
            "critical",
            "Without one a container reaches every system call of the kernel.",
            "Remove seccomp-profile: unconfined.",
            _seccomp,
            chapter_two("2.17", "2.18"),
        ),
        Control(
            "userns-remap",
            "Root in a container is nobody on the host",
            "low",
            "Without a user namespace, root that leaves a container is root outside.",
            "Set dockerd_profile: level2, or userns-remap in dockerd_options.",
            _userns,
            chapter_two("2.9", "2.10"),
        ),
        Control(
            "namespaces",
            "Containers have namespaces of their own by default",
            "medium",
            "A shared namespace shows a container what its neighbours do.",
            "Keep default-ipc-mode and default-cgroupns-mode private in dockerd_options.",
            unwanted(
                {
                    "default-ipc-mode": lambda value: value == "shareable" and "is shareable",
                    "default-cgroupns-mode": lambda value: value == "host" and "is host",
                }
            ),
            {},
        ),
        Control(
            "node-resource-interface",
            "No plugin of the node resource interface changes containers",
            "medium",
            "Such a plugin may add mounts and hooks, which is root on the host.",
            "Take nri-opts out of dockerd_options.",
            unwanted(
                {
                    "nri-opts": lambda value: (
                        isinstance(value, dict) and value.get("enable") is True and "enables it"
                    )
                }
            ),
            {},
        ),
    ]
)
