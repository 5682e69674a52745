# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can reach the API over the network, wherever the listener comes from."""

from __future__ import annotations

from ..findings import NOT_RUNNING, Control, Verdict, broken, not_applicable, unknown
from ..snapshot import Snapshot
from ..told import Told


def _none(told: Told) -> Verdict:
    if told.wrapper:
        return unknown("the unit runs %s, which may have dockerd listen anywhere" % told.wrapper)
    return not_applicable("nothing listens on TCP")


def _verified(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.document is None:
        return unknown("daemon.json cannot be read")
    if not told.tcp:
        return _none(told)
    if told.verifies:
        return broken([])
    if not told.tls:
        lacks = "it is plain HTTP"
        if told.environment.get("DOCKER_TLS_VERIFY"):
            lacks += ", for DOCKER_TLS_VERIFY alone turns nothing on"
    elif told.setting("tlsverify") is False:
        lacks = "it asks its clients for no certificate"
    else:
        lacks = "without tlscacert it takes any client that the system's store trusts"
    return broken(["%s (%s): %s" % (one.address, one.origin, lacks) for one in told.tcp])


def _refuses(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    if not snapshot.told.tcp:
        return _none(snapshot.told)
    served = snapshot.does.served
    strangers = [
        "%s answered a client without a certificate" % address
        for address, (dummy, answered) in served.items()
        if answered
    ]
    missed = [one.address for one in snapshot.told.tcp if one.address not in served]
    if missed and not strangers:
        return unknown("could not be reached from the host itself: %s" % ", ".join(missed))
    return broken(strangers)


CONTROLS = [
    Control(
        "listener-verified",
        "Every TCP listener verifies its clients",
        "critical",
        "Whoever reaches an API that verifies nobody is root on the host.",
        "Give dockerd_listen, and let dockerd_tls issue the certificates; an empty dockerd_listen"
        " closes TCP.",
        _verified,
        {"1.6": "2.7", "1.7": "2.7", "1.8": "2.8"},
        blocks=True,
    ),
    Control(
        "listener-refuses-strangers",
        "No TCP listener answers a client without a certificate",
        "critical",
        "What the listener does counts, not what its configuration says.",
        "Run the dockerd role, which closes or secures the listener.",
        _refuses,
        {"1.6": "2.7", "1.7": "2.7", "1.8": "2.8"},
    ),
]
