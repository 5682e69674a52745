# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that the daemon serves and trusts, and the keys that belong elsewhere."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Callable

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
from ..told import Listener, Place

SOON = timedelta(days=14)  # less than dockerd_tls_renew_before, so a renewal has been missed
WEAK_HASHES = ("md5", "sha1")
LOCAL = ("localhost", "127.0.0.1", "::1")
ANY_USAGE = "2.5.29.37.0"  # anyExtendedKeyUsage, RFC 5280 section 4.2.1.12


def _off(snapshot: Snapshot) -> Verdict | None:
    """Why there is no certificate to judge; None where there is one."""
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    if not snapshot.told.tls:
        return not_applicable("TLS is off")
    if snapshot.tls.predicted:
        return not_applicable("the certificates are still to be issued")
    return None


def _seen(problems: Callable[[Snapshot], list]) -> Callable[[Snapshot], Verdict]:
    """A control from a function that finds (path, what is wrong), where all could be read."""

    def control(snapshot: Snapshot) -> Verdict:
        off = _off(snapshot)
        if off:
            return off
        found = problems(snapshot)
        if not found and snapshot.tls.unread:
            return unknown("; ".join(snapshot.tls.unread))
        return broken(
            ["%s: %s" % problem for problem in found],
            [Place(path) for path in dict.fromkeys(path for path, dummy in found)],
        )

    return control


def _usable(snapshot: Snapshot) -> Verdict:
    off = _off(snapshot)
    if off:
        return off
    tls = snapshot.tls
    if tls.problem:
        return failed(tls.problem, snapshot.told.place(tls.refused))
    unseen = [*tls.unreadable, *filter(None, [tls.lacking])]
    return unknown("; ".join(unseen)) if unseen else passed()


def _served(snapshot: Snapshot) -> Verdict:
    if snapshot.does is None:
        return not_applicable(NOT_RUNNING)
    certificate = snapshot.tls.leaf
    if not certificate or not snapshot.does.served:
        return not_applicable("no TLS listener")
    return broken(
        [
            "%s serves another certificate than %s" % (address, snapshot.told.setting("tlscert"))
            for address, (served, dummy) in snapshot.does.served.items()
            if served != certificate
        ],
        [snapshot.told.place("tlscert")],
    )


def _dates(snapshot: Snapshot) -> list:
    tls = snapshot.tls
    found = []
    for one in [*tls.server, *tls.authorities]:
        if tls.time < one.not_before:
            found.append((one.path, "%s begins on %s" % (one.subject, one.not_before.date())))
        elif tls.time > one.not_after:
            found.append((one.path, "%s ended on %s" % (one.subject, one.not_after.date())))
    return found


def _ending(snapshot: Snapshot) -> list:
    tls = snapshot.tls
    return [
        (one.path, "%s ends on %s" % (one.subject, one.not_after.date()))
        for one in [*tls.server, *tls.authorities]
        if timedelta(0) <= one.not_after - tls.time < SOON
    ]


def _usage(snapshot: Snapshot) -> list:
    """Judged as Go's crypto/x509 does: no extended key usage at all allows every one.

    A leaf that could be a client is harmless where nobody trusts its authority for clients, as
    with one from a public authority, so that it counts only where this daemon does.
    """
    tls, found = snapshot.tls, []
    for leaf in tls.server[:1]:
        usages = leaf.usages or (ANY_USAGE,)
        if not {"serverAuth", ANY_USAGE} & set(usages):
            what = "its extended key usage is %s, so that no client takes it for a server's"
            found.append((leaf.path, what % ", ".join(leaf.usages)))
        if {"clientAuth", ANY_USAGE} & set(usages) and tls.trusted and snapshot.told.verifies:
            what = "its extended key usage is %s: its key drives every daemon that trusts %s"
            named = ", ".join(leaf.usages) or "not restricted"
            found.append((leaf.path, what % (named, leaf.issuer)))
    return found


def _address(name: str):
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _loopback(name: str) -> bool:
    address = _address(name)
    return address.is_loopback if address else name in LOCAL


def _named(names: tuple, wanted: str) -> bool:
    """Whether a client that calls ``wanted`` finds it among the names, RFC 6125 section 6.4."""
    address = _address(wanted)
    if address:
        return str(address) in names
    return wanted.lower() in names or "*." + wanted.lower().partition(".")[2] in names


def _bound(listener: Listener) -> str:
    """The one address at which a listener is called; empty where it is bound to all."""
    address = _address(listener.host)
    if not listener.host or (address and address.is_unspecified):
        return ""
    return listener.host


def _names(snapshot: Snapshot) -> Verdict:
    off = _off(snapshot)
    tls, told = snapshot.tls, snapshot.told
    if off or not told.tcp:
        return off or not_applicable("nothing listens on TCP")
    if not tls.server:
        return unknown("; ".join(tls.unread))
    leaf = tls.server[0]
    problems = []
    for listener in told.tcp:
        bound = _bound(listener)
        called = LOCAL if _loopback(bound) else (bound,)
        if bound and not any(_named(leaf.names, name) for name in called):
            problems.append("%s, at which it listens (%s)" % (bound, listener.origin))
    own = [name for name in tls.names if not _loopback(name)]
    if not all(map(_bound, told.tcp)) and not any(_named(leaf.names, name) for name in own):
        if snapshot.does is None and leaf.names and not problems:
            return not_applicable(NOT_RUNNING)  # its addresses
        problems.append("any name or address of this host: %s" % ", ".join(own))
    evidence = "%s names %s" % (leaf.path, ", ".join(leaf.names) or "nothing")
    if problems:
        return failed("%s, not %s" % (evidence, "; ".join(problems)), Place(leaf.path))
    return passed(evidence)


def _chain(snapshot: Snapshot) -> list:
    tls = snapshot.tls
    path = str(snapshot.told.setting("tlscert"))
    found = [(path, "%s did not sign the certificate before it" % name) for name in tls.breaks]
    found += [
        (one.path, "%s is no authority, and trusted like one" % one.subject)
        for one in tls.authorities
        if not one.authority
    ]
    return found


def _strength(snapshot: Snapshot) -> list:
    tls = snapshot.tls
    found = [
        (one.path, "%s has a key of kind %s" % (one.subject, one.key_type))
        for one in [*tls.server, *tls.authorities]
        if not one.strong
    ]
    # Nobody looks at the signature of what is trusted by itself.
    found += [
        (one.path, "%s is signed with %s" % (one.subject, one.hash))
        for one in tls.server
        if one.hash in WEAK_HASHES and one.subject != one.issuer
    ]
    return found


def _authority_key(snapshot: Snapshot) -> Verdict:
    off = _off(snapshot)
    if off:
        return off
    tls = snapshot.tls
    if tls.authority_keys:
        return broken(
            ["%s is the private key of %s" % one for one in tls.authority_keys.items()],
            map(Place, tls.authority_keys),
        )
    unseen = ["%s is encrypted, and named like an authority's" % one for one in tls.locked_keys]
    unseen += [*tls.unsearched, *tls.unread]
    return unknown("; ".join(unseen)) if unseen else passed()


def _apart(snapshot: Snapshot) -> list:
    if not snapshot.tls.trusted:
        return []
    return [
        (leaf.path, "%s signed it, and lets clients in" % leaf.issuer)
        for leaf in snapshot.tls.server[:1]
    ]


def _verifying(judge: Callable[[Snapshot], Verdict]) -> Callable[[Snapshot], Verdict]:
    def control(snapshot: Snapshot) -> Verdict:
        off = _off(snapshot)
        if not off and not snapshot.told.verifies:
            return not_applicable("no authority is named that lets clients in")
        return off or judge(snapshot)

    return control


_ISSUE = "Run the dockerd_tls role, which issues %s."

CONTROLS = [
    Control(
        "certificate-usable",
        "The server's certificate, key and client authority fit together",
        "critical",
        "dockerd does not start with a key of another certificate or an authority it cannot read.",
        "Run the dockerd_tls role, which issues and installs them together; without it, mend the"
        " files of dockerd_tls_server_certificate, _key and _trust.",
        _usable,
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
    Control(
        "certificate-valid",
        "Every certificate that the daemon serves or trusts is within its dates",
        "high",
        "Outside its dates a leaf is refused by every client, and an authority lets nobody in.",
        "Set the clock, or run the dockerd_tls role, which renews within dockerd_tls_renew_before;"
        " an authority needs a successor in dockerd_tls_authority_directory.",
        _seen(_dates),
        {},
    ),
    Control(
        "certificate-expires-soon",
        "No certificate ends within 14 days",
        "medium",
        "Renewal begins dockerd_tls_renew_before (30 days) ahead, so this one has been missed.",
        "Run the dockerd_tls role regularly; an authority needs a successor in"
        " dockerd_tls_authority_directory.",
        _seen(_ending),
        {},
    ),
    Control(
        "certificate-usage",
        "The server's certificate is good for a server, and for no client of this daemon",
        "high",
        "A server's key that is also a client's drives every daemon that trusts its authority.",
        _ISSUE % "leaves with serverAuth alone; take others out of dockerd_tls_server_certificate",
        _seen(_usage),
        {},
    ),
    Control(
        "certificate-names",
        "The server's certificate names this host as clients call it",
        "medium",
        "Who calls a name that is not in the certificate is refused, or learns not to verify.",
        "Keep dockerd_tls_collect_sans: true; add other names to dockerd_tls_server_sans.",
        _names,
        {},
    ),
    Control(
        "certificate-chain",
        "Each certificate in tlscert signed the one before it, and tlscacert holds authorities",
        "medium",
        "Clients cannot follow a broken chain, and a leaf in tlscacert is a client by itself.",
        _ISSUE % "the chain in order; with dockerd_tls_provider files, mend"
        " dockerd_tls_server_certificate and dockerd_tls_server_trust",
        _seen(_chain),
        {},
    ),
    Control(
        "certificate-strong",
        "No key and no signature is weak, or unknown to dockerd",
        "high",
        "RSA below 2048 bits and signatures with MD5 or SHA-1 can be forged, and DSA, Ed448 and"
        " other curves are refused in the handshake.",
        _ISSUE % "keys of dockerd_tls_key_type and signs with SHA-256",
        _seen(_strength),
        {},
    ),
    Control(
        "authority-key-absent",
        "No private key of an authority lies on this host",
        "critical",
        "Whoever breaks into this host could then make certificates for every other.",
        "Move the key off this host and start a new authority; those of dockerd_tls stay on the"
        " controller, in dockerd_tls_authority_directory.",
        _authority_key,
        {},
    ),
    Control(
        "authorities-apart",
        "The authority that lets clients in did not sign this server's certificate",
        "medium",
        "With one authority for both, a mistake in one extended key usage makes a server a client.",
        _ISSUE % "leaves from two authorities; with an outside one, give"
        " dockerd_tls_external_server_authority and dockerd_tls_external_client_authority apart",
        _verifying(_seen(_apart)),
        {},
    ),
]
