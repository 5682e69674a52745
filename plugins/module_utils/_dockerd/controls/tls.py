# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that the daemon serves and trusts."""

from __future__ import annotations

from ..findings import (
    NOT_RUNNING,
    Control,
    Verdict,
    broken,
    failed,
    not_applicable,
    passed,
    unknown,
)
from ..snapshot import Snapshot


def _pair(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.document is None:
        return unknown("daemon.json cannot be read")
    if told.setting("tls") is None and told.setting("tlsverify") is None:
        return not_applicable("TLS is off")
    return failed(snapshot.pair_problem) if snapshot.pair_problem else passed()


def _served(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    certificate = snapshot.leaves.get(str(snapshot.told.setting("tlscert")))
    if not certificate or not snapshot.does.served:
        return not_applicable("no TLS listener")
    return broken(
        [
            "%s serves another certificate than %s" % (address, snapshot.told.setting("tlscert"))
            for address, (served, dummy) in snapshot.does.served.items()
            if served != certificate
        ]
    )


CONTROLS = [
    Control(
        "certificate-usable",
        "The server's certificate, key and client authority fit together",
        "critical",
        "dockerd does not start with a key of another certificate or an authority it cannot read.",
        "Run the dockerd_tls role, which issues and installs them together.",
        _pair,
        {},
        starts=True,
    ),
    Control(
        "certificate-served",
        "The certificate on disk is the one that is served",
        "high",
        "dockerd reads certificates at start only; a renewed one that is not served expires.",
        "Run the dockerd role, which restarts the daemon.",
        _served,
        {},
    ),
]
