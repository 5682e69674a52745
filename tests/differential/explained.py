# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dockerd refuses because of the machine that runs this, and differences that are known."""

from __future__ import annotations

import re

# dockerd's words -> what this machine or its packages lack, which no directory of files tells.
MACHINE = (
    ("cannot assign requested address", "the address to listen on is none of this machine's"),
    ("failed to lookup |lookup .* (connection refused|no such host)", "no name service here"),
    ("only supported for backingFS XFS", "the data root is no XFS"),
    (
        "graphdriver: driver not supported$",
        "Debian's 20.10 has no devicemapper, the kernel no aufs",
    ),
    ("discovery service not supported", "Debian's 20.10 is built without discovery services"),
    (
        'logging plugin gcplogs: plugin "gcplogs" not found',
        "Debian's 28.5 is built without gcplogs",
    ),
)
# Our words where we do not know, the words of a dockerd that refuses for that very reason, and why
# a directory of files cannot know it.
UNKNOWABLE = (
    (
        "plugins-present: plugins can be found on a running host only",
        "authorization plugin: plugin .* not found",
        "an authorization plugin is found by its socket, which only a running host has",
    ),
    (
        "host-provides: log-driver .* whether a plugin answers",
        "error looking up logging plugin",
        "a log driver's plugin is found by its socket, which only a running host has",
    ),
)
# dockerd's words, or ours -> why we differ.
KNOWN = (
    (
        r"--(ip|default-gateway|default-gateway-v6|host-gateway-ip)[= ] ?in .* an IP address",
        "Debian builds 26.1 with pflag 1.0.6, which takes an empty address; upstream's 1.0.5 does"
        " not",
    ),
)


def machine(answer: dict) -> str:
    """Why this machine, and no configuration, keeps dockerd from starting; empty if it does not."""
    if answer["starts"]:
        return ""
    return next((why for words, why in MACHINE if re.search(words, answer["words"])), "")


def unknowable(evidence: list, answer: dict) -> str:
    """Why nobody could know this from a directory; empty where our reason is not the right one."""
    for ours, theirs, why in UNKNOWABLE:
        if all(re.match(ours, one) for one in evidence):
            if answer["starts"] or re.search(theirs, answer["words"]):
                return why
    return ""


def why(evidence: list, answer: dict) -> str:
    """The explanation of a difference; empty where there is none."""
    text = "\n".join([answer["words"], *evidence])
    known = next((reason for words, reason in KNOWN if re.search(words, text)), "")
    return machine(answer) or unknowable(evidence, answer) or known
