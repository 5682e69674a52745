# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaves: what is wanted of one, whether it is so, and how it comes to be.

A leaf's key is made where it is used; only its request travels. Every judgement takes the time
as an argument, so that it can be made for any moment.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import posixpath
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from . import pair
from .certificates import (
    certificates,
    chains_to,
    describe,
    extension_of,
    is_authority,
    key,
    key_type,
    moment,
    names,
    need,
    not_after,
    not_before,
    pem,
    public_bytes,
    strong,
    subjects,
    usages,
)
from .errors import DockerdError, HostError, Refused
from .host import READ_LIMIT, Host, Stat
from .names import san_order

with suppress(ImportError):  # certificates.MISSING says so
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DURATION = re.compile(r"([0-9]{1,10})([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_CENTURY = timedelta(days=36500)
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_COMMON_NAME_LIMIT = 64  # ub-common-name, RFC 5280 appendix A

# How long a leaf lives and how early it is renewed, unless told.
DEFAULTS = {"server": ("90d", "30d"), "client": ("30d", "10d")}


# -- what is asked for


def duration(text: str, variable: str) -> timedelta:
    """A span of time: a number and one of s, m, h, d, w, y (365 days), as ``90d``.

    Raises Refused naming ``variable``.
    """
    match = _DURATION.fullmatch(str(text).strip())
    seconds = int(match.group(1)) * _SECONDS[match.group(2)] if match else 0
    if not 0 < seconds <= _CENTURY.total_seconds():
        raise Refused(
            "%s: %r is no span of time between a second and a century. Write a number and one "
            "of s, m, h, d, w, y, like 90d." % (variable, text)
        )
    return timedelta(seconds=seconds)


def span(length: timedelta) -> str:
    """A span of time in words, in its largest unit, rounded down."""
    seconds = int(abs(length).total_seconds())
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    name, unit = next(one for one in units if seconds >= one[1] or one[1] == 1)
    return "%d %s%s" % (seconds // unit, name, "" if seconds // unit == 1 else "s")


def common_name(text: str | None, inventory_name: str) -> str:
    """A server's common name, which is the inventory name unless told. Raises Refused."""
    if text and len(text) > _COMMON_NAME_LIMIT:
        raise Refused(
            "dockerd_tls_server_common_name: %r has more than the %d characters that a common "
            "name holds. Put long names into dockerd_tls_server_sans." % (text, _COMMON_NAME_LIMIT)
        )
    return text or inventory_name[:_COMMON_NAME_LIMIT]


def client_name(text: str) -> str:
    """A client's name, fit for a file name and a common name. Raises Refused."""
    if not _CLIENT.fullmatch(str(text)):
        raise Refused(
            "dockerd_tls_clients: %r is no client name. It becomes a directory and the common "
            "name of a certificate: 1 to 64 letters, digits, and _ . @ - after the first." % text
        )
    return str(text)


def clients_at(clients: list, groups: dict, host: str) -> list:
    """The clients who live on a host of the inventory; on the controller where ``host`` is empty.

    ``clients`` is dockerd_tls_clients; the ``hosts`` of a client are names of hosts and groups,
    ``groups`` Ansible's variable of that name. All clients are looked at, wherever they live:
    raises Refused for a place that the inventory does not have.
    """
    known = {*groups, *(name for members in groups.values() for name in members)}
    found = []
    for client in clients:
        if "hosts" not in client:
            found += [] if host else [client]
            continue
        places = client["hosts"]
        # A word where a list belongs is a list of one, as it is for all of Ansible's options.
        places = [one.strip() for one in places.split(",")] if isinstance(places, str) else places
        if not isinstance(places, (list, tuple)):
            raise Refused(
                "dockerd_tls_clients: hosts of client %s is no list. Leave it out for a client on "
                "the controller." % client.get("name")
            )
        for one in places:
            if one not in known:
                raise Refused(
                    "dockerd_tls_clients: client %s lives on %s, which is neither a host nor a "
                    "group of the inventory. %s"
                    % (client.get("name"), one, _nearest(str(one), known))
                )
        if any(host == one or host in groups.get(one, ()) for one in places) and host:
            found.append(client)
    return found


def _nearest(name: str, known: set) -> str:
    near = difflib.get_close_matches(name, sorted(map(str, known)), 1)
    return "Did you mean %s?" % near[0] if near else "Patterns are not taken here."


@dataclass(frozen=True)
class Leaf:
    """What one leaf must be, and where it and its key live."""

    name: str  # of the request, unique among those of one run
    usage: str  # server or client
    certificate: str  # path
    key: str  # path
    trust: str  # path of the other side's authorities
    common_name: str = ""
    sans: tuple = ()
    key_type: str = "ecdsa-p256"
    lifetime: timedelta = timedelta(days=90)
    renew_before: timedelta = timedelta(days=30)
    skew: timedelta = timedelta(minutes=5)  # by which clocks may differ
    ours: bool = True  # made by our authority, which gives exactly what was asked for
    uid: int = 0
    gid: int = 0
    extra: dict = field(default_factory=dict)  # path to bytes, kept beside the leaf

    @property
    def modes(self) -> dict:
        """The permission bits of each of its files."""
        server = {self.key: 0o400, self.certificate: 0o444, self.trust: 0o444}
        client = {self.key: 0o600, self.certificate: 0o600, self.trust: 0o600}
        own = server if self.usage == "server" else client
        return {**own, **dict.fromkeys(self.extra, 0o600)}

    @property
    def directory(self) -> tuple:
        """The directory of the leaf and its permission bits."""
        return posixpath.dirname(self.certificate), 0o755 if self.usage == "server" else 0o700

    @property
    def pending(self) -> str:
        """Where a new key waits for its leaf."""
        return self.key + ".new"

    def variable(self, name: str) -> str:
        """The role's variable for a property, to be named in messages."""
        return variable(self.usage, name)


def variable(usage: str, name: str) -> str:
    """The role's variable for a property of a server's or a client's leaf."""
    if (usage, name) == ("server", "renew_before"):
        return "dockerd_tls_renew_before"
    return "dockerd_tls_%s_%s" % (usage, name)


def wanted(options: dict) -> dict:
    """What a module's options say of every leaf of a task, as :class:`Leaf` takes it.

    Raises Refused for what is no span of time, or spans that do not fit each other.
    """
    usage = options["usage"]
    lifetime, renew_before = DEFAULTS[usage]
    lifetime = duration(options["lifetime"] or lifetime, variable(usage, "lifetime"))
    renew_before = duration(
        options["renew_before"] or renew_before, variable(usage, "renew_before")
    )
    skew = duration(options["clock_skew"], "dockerd_tls_clock_skew")
    check_times(usage, lifetime, renew_before, skew)
    return {
        "usage": usage,
        "key_type": options["key_type"],
        "lifetime": lifetime,
        "renew_before": renew_before,
        "skew": skew,
        "ours": options["provider"] == "authority",
    }


def check_times(usage: str, lifetime: timedelta, renew_before: timedelta, skew: timedelta) -> None:
    """Raises Refused where a leaf would have to be renewed as soon as it is made."""
    if renew_before + skew >= lifetime:
        raise Refused(
            "%s (%s) and dockerd_tls_clock_skew (%s) must together be shorter than %s (%s), "
            "or each run would make a new leaf."
            % (
                variable(usage, "renew_before"),
                span(renew_before),
                span(skew),
                variable(usage, "lifetime"),
                span(lifetime),
            )
        )


def check_clock(host_time: datetime, controller_time: datetime, skew: timedelta) -> None:
    """Raises Refused where a host's clock and the controller's are too far apart."""
    apart = host_time - controller_time
    if abs(apart) > skew:
        raise Refused(
            "The clock of this host is %s %s the controller's (%s against %s); "
            "dockerd_tls_clock_skew allows %s. Certificates made now would be refused or live "
            "too long. Set the clock (timedatectl set-ntp true)."
            % (
                span(apart),
                "ahead of" if apart > timedelta(0) else "behind",
                moment(host_time),
                moment(controller_time),
                span(skew),
            )
        )


def environment(directory: str, docker_host: str | None) -> bytes:
    """The environment of a Docker client, for a shell and for systemd's EnvironmentFile."""
    lines = ["DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=%s" % shlex.quote(directory)]
    if docker_host:
        lines.insert(0, "DOCKER_HOST=%s" % shlex.quote(docker_host))
    return ("\n".join(lines) + "\n").encode()


# -- judging


@dataclass(frozen=True)
class Verdict:
    """Why a leaf must be replaced: what makes it unfit now, and whether it ends soon."""

    faults: tuple
    due: str | None = None

    @property
    def reasons(self) -> list:
        """Everything that speaks for a new leaf, in words; none where it is good."""
        return list(self.faults) + ([self.due] if self.due else [])


def judge(chain: list, public, leaf: Leaf, issuers: list | None, now: datetime) -> Verdict:
    """Hold a leaf, the first of ``chain``, against what is wanted.

    ``public`` is the key it must carry, ``issuers`` the authorities that may have signed it
    (None: not asked). The rules are Go's crypto/x509 where dockerd and its clients verify,
    and stricter in one: exactly one extended key usage, so that no server's key is a client.
    """
    certificate = chain[0]
    faults = []
    ends, left = not_after(certificate), not_after(certificate) - now
    if public_bytes(certificate.public_key()) != public_bytes(public):
        faults.append("the key does not match the leaf")
    if left < timedelta(0):
        faults.append("the leaf expired %s ago (%s)" % (span(left), moment(ends)))
    if now < not_before(certificate):
        faults.append("the leaf is not valid before %s" % moment(not_before(certificate)))
    if issuers is not None and not chains_to(chain, issuers):
        faults.append(
            "the leaf is signed by %s, not by the present authority %s"
            % (certificate.issuer.rfc4514_string() or "nobody", subjects(issuers))
        )
    wanted = "serverAuth" if leaf.usage == "server" else "clientAuth"
    if usages(certificate) != (wanted,):
        faults.append(
            "the leaf's extended key usage is %s, wanted is %s alone"
            % (" and ".join(usages(certificate)) or "not set", wanted)
        )
    basic, usage = (
        extension_of(certificate, "BasicConstraints"),
        extension_of(certificate, "KeyUsage"),
    )
    if basic and basic.ca:
        faults.append("the leaf is itself an authority")
    if usage and not usage.digital_signature:
        faults.append("the leaf's key usage has no digitalSignature")
    faults += _judge_key(certificate, leaf)
    faults += _judge_names(certificate, leaf)
    if leaf.ours and left > leaf.lifetime + leaf.skew:
        faults.append(
            "the leaf ends in %s, later than %s (%s) allows"
            % (span(left), leaf.variable("lifetime"), span(leaf.lifetime))
        )
    due = None
    if timedelta(0) <= left <= leaf.renew_before:
        due = "the leaf expires in %s, inside %s (%s)" % (
            span(left),
            leaf.variable("renew_before"),
            span(leaf.renew_before),
        )
    return Verdict(tuple(faults), due)


def _judge_key(certificate, leaf: Leaf) -> list:
    kind = key_type(certificate.public_key())
    if leaf.ours and kind != leaf.key_type:
        return ["the leaf's key is %s, dockerd_tls_key_type is %s" % (kind, leaf.key_type)]
    if not strong(kind):
        return ["the leaf's key is %s, too weak or unknown to dockerd" % kind]
    return []


def _judge_names(certificate, leaf: Leaf) -> list:
    has, wants = set(names(certificate)), set(leaf.sans)
    faults = []
    missing = sorted(wants - has, key=san_order)
    surplus = sorted(has - wants, key=san_order) if leaf.ours else []
    if missing:
        faults.append("the leaf does not name %s" % ", ".join(missing))
    if surplus:
        faults.append("the leaf names %s, not wanted any more" % ", ".join(surplus))
    if leaf.usage == "server" and not has and not missing:
        faults.append("the leaf has no subject alternative name, without which no client trusts it")
    common = [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    # A client is known by it, authorization plugins for one.
    if (leaf.ours or leaf.usage == "client") and common != [leaf.common_name]:
        faults.append("the leaf's common name is %s, wanted is %s" % (common, leaf.common_name))
    return faults


def examine(host: Host, leaf: Leaf, now: datetime) -> Verdict:
    """Judge a leaf, key and trust that somebody else keeps on the host; changes nothing.

    Raises DockerdError where one of them is missing or cannot be read.
    """
    found = {}
    for path in leaf.modes:
        try:
            found[path] = host.read(path)
        except FileNotFoundError:
            raise Refused(
                "%s is not there. With dockerd_tls_provider 'files' it must be, and is named by "
                "dockerd_tls_server_certificate, dockerd_tls_server_key or "
                "dockerd_tls_server_trust." % path
            ) from None
    chain = certificates(found[leaf.certificate], leaf.certificate)
    verdict = judge(chain, key(found[leaf.key], leaf.key).public_key(), leaf, None, now)
    faults = list(verdict.faults)
    for authority in certificates(found[leaf.trust], leaf.trust):
        if not is_authority(authority):
            faults.append("%s: %s is no authority" % (leaf.trust, subjects([authority])))
    for path, allowed in ((leaf.key, 0o700), (leaf.certificate, 0o755), (leaf.trust, 0o755)):
        status = host.stat(path)
        if status.uid != leaf.uid or status.mode & ~allowed:
            faults.append(
                "%s has mode %04o and belongs to %s; nobody but root may %s it"
                % (
                    path,
                    status.mode,
                    host.user(status.uid),
                    "read" if allowed == 0o700 else "write",
                )
            )
    return Verdict(tuple(faults), verdict.due)


# -- one leaf on its host


@dataclass
class Plan:
    """What must change on the host for one leaf to be as wanted."""

    leaf: Leaf
    reasons: list  # for a new certificate
    usable: bool  # what is there serves until the new one comes
    key: object  # the private key in use, None where one must be made
    chain: list  # the certificates in use
    contents: dict  # path to bytes, written whole
    repairs: dict  # path to permission bits; owner and bits are set, content stays
    key_waits: bool  # a new key was made by a former run
    leftover: bool  # a new key that nobody waits for
    before: str  # what is there, for people to read
    signed: bool = False  # the new certificate is in place

    @property
    def new_key(self) -> bool:
        """Whether the certificate comes with another key than the present one."""
        return self.key is None

    @property
    def files(self) -> list:
        """The paths that are written or repaired."""
        paths = set(self.contents) | set(self.repairs)
        if self.reasons:
            paths.add(self.leaf.certificate)
        if self.new_key:
            paths.add(self.leaf.key)
        return sorted(paths)

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.files or self.leftover)

    @property
    def begun(self) -> bool:
        """Whether there is anything to do before the certificate comes."""
        settled = self.usable and bool(self.contents or self.repairs or self.leftover)
        return settled or (self.new_key and not self.key_waits)

    @property
    def waits(self) -> bool:
        """Whether a certificate is still to come."""
        return bool(self.reasons) and not self.signed


def check_authority(host: Host, leaf: Leaf, trust: list, issuers: list, now: datetime) -> None:
    """Raises Refused where the place belongs to other authorities than those at hand.

    ``trust`` are all certificates of the other side's authority, ``issuers`` all of the one that
    signs this leaf; both are empty where there is none yet. Another operator may have made them:
    with ours in their place, whoever is let in now would be locked out.
    """
    chain, trusted = (_readable(host, path) for path in (leaf.certificate, leaf.trust))
    if trusted and not {_identity(one) for one in trusted} & {_identity(one) for one in trust}:
        found = "%s trusts %s, and at hand is %s" % (
            leaf.trust,
            subjects(trusted),
            subjects(trust),
        )
    elif (
        chain
        and not chains_to(chain, issuers)
        and not_before(chain[0]) <= now <= not_after(chain[0])
    ):
        found = "%s is signed by %s, and at hand is %s" % (
            leaf.certificate,
            chain[0].issuer.rfc4514_string() or "nobody",
            subjects(issuers),
        )
    else:
        return
    raise Refused(
        "Another authority is at work here: %s. With the one at hand, whoever is let in now would "
        "be locked out. Nothing was made or written. Bring the other one back from your backup or "
        "from whoever set this up (dockerd_tls_authority_directory; with an outside authority "
        "dockerd_tls_external_server_authority and dockerd_tls_external_client_authority). If it "
        "is to go for good, set dockerd_tls_replace_authority: true." % found
    )


def _readable(host: Host, path: str) -> list:
    """The certificates of a file; none where it is not there, or no daemon could read it."""
    try:
        return certificates(host.read(path), path)
    except (FileNotFoundError, DockerdError):
        return []


def _identity(authority) -> tuple:
    """What an authority's signatures are checked with, however often its certificate is renewed."""
    return authority.subject, public_bytes(authority.public_key())


def plan(
    host: Host, leaf: Leaf, trust: bytes, issuers: list | None, now: datetime, refusal: str = ""
) -> Plan:
    """Hold a leaf's files against what is wanted; reads only.

    ``issuers`` is None where there is no authority yet. ``refusal`` says why nothing can be
    signed at present; it is raised as Refused if something had to be.
    """
    private, reasons = _present_key(host, leaf)
    chain, usable = [], False
    if private is not None:
        try:
            chain = certificates(host.read(leaf.certificate), leaf.certificate)
            verdict = judge(chain, private.public_key(), leaf, issuers or [], now)
            reasons += verdict.reasons
            usable = not verdict.faults
        except FileNotFoundError:
            reasons.append("%s is not there" % leaf.certificate)
        except DockerdError as error:
            reasons.append(str(error))
    if reasons and refusal:
        raise Refused("%s A new leaf is needed: %s." % (refusal, "; ".join(reasons)))
    contents = {
        path: data
        for path, data in {leaf.trust: trust, **leaf.extra}.items()
        if read(host, path) != data
    }
    repairs = {}
    coming = set(contents) | ({leaf.certificate} if reasons else set())
    coming |= {leaf.key} if private is None else set()
    for path, mode in (leaf.directory, *leaf.modes.items()):
        status = host.stat(path)
        as_wanted = status and (status.mode, status.uid, status.gid) == (mode, leaf.uid, leaf.gid)
        if status and path not in coming and not as_wanted:
            repairs[path] = mode
    return Plan(
        leaf=leaf,
        reasons=reasons,
        usable=usable,
        key=private,
        chain=chain,
        contents=contents,
        repairs=repairs,
        key_waits=private is None and _waiting_key(host, leaf) is not None,
        leftover=private is not None and host.stat(leaf.pending) is not None,
        before=_picture(host, leaf, chain),
    )


def _picture(host: Host, leaf: Leaf, chain: list) -> str:
    lines = _about(describe(chain[0])) if chain else []
    for path in (leaf.directory[0], *leaf.modes):
        status = host.stat(path)
        if status:
            owner = (host.user(status.uid), host.group(status.gid))
            content = None if path == leaf.key or status.kind != "file" else host.read(path)
            lines.append(_file(path, status.mode, owner, content))
    return "".join(line + "\n" for line in lines)


def expected(host: Host, plan: Plan) -> str:
    """What will be there once a plan is carried out, in the form of ``plan.before``."""
    leaf = plan.leaf
    owner = (host.user(leaf.uid), host.group(leaf.gid))
    if plan.waits:
        about = {
            "subject": "CN=" + leaf.common_name,
            "sans": leaf.sans,
            "key_type": leaf.key_type,
            "not_after": "%s after it is signed" % span(leaf.lifetime),
            "fingerprint": "known when it is signed",
        }
    else:
        about = describe(plan.chain[0])
    lines = [*_about(about), _file(*leaf.directory, owner, None)]
    for path, mode in leaf.modes.items():
        content = plan.contents.get(path)
        if content is None and path != leaf.key and not (plan.waits and path == leaf.certificate):
            content = host.read(path)
        lines.append(_file(path, mode, owner, content))
    return "".join(line + "\n" for line in lines)


def _about(description: dict) -> list:
    shown = ("subject", "sans", "key_type", "not_after", "fingerprint")
    values = [(name, description[name]) for name in shown]
    return [
        "%s: %s" % (name, value if isinstance(value, str) else ", ".join(value))
        for name, value in values
    ]


def _file(path: str, mode: int, owner: tuple, content: bytes | None) -> str:
    digest = "" if not content else " sha256:" + hashlib.sha256(content).hexdigest()[:16]
    return "%s: %04o %s:%s%s" % (path, mode, *owner, digest)


def read(host: Host, path: str) -> bytes | None:
    """The bytes of a file, None where it is not there. Raises HostError where it is unreadable."""
    try:
        return host.read(path)
    except FileNotFoundError:
        return None


def _present_key(host: Host, leaf: Leaf) -> tuple:
    """The key on the host if it can stay, and else None and why not."""
    data = read(host, leaf.key)
    if data is None:
        return None, ["%s is not there" % leaf.key]
    need()
    try:
        private = key(data, leaf.key)
        kind = key_type(private.public_key())
    except DockerdError as error:
        return None, [str(error)]
    if kind != leaf.key_type:
        return None, ["%s is %s, dockerd_tls_key_type is %s" % (leaf.key, kind, leaf.key_type)]
    return private, []


def prepare(host: Host, plan: Plan) -> bytes:
    """Make what a signature needs: the key, kept beside the live one, and the request.

    The live pair stays as it is until :func:`install`. A key that a former run left waiting
    is used again, so that a request which was already handed out stays good.
    """
    leaf = plan.leaf
    private = plan.key
    if private is None:
        private = _waiting_key(host, leaf)
    if private is None:
        private = make_key(leaf.key_type)
        _make_directory(host, leaf)
        host.write(leaf.pending, key_pem(private), leaf.modes[leaf.key], leaf.uid, leaf.gid)
    return make_request(private, leaf)


def request_at_hand(host: Host, plan: Plan) -> bytes:
    """The request that :func:`prepare` would return; empty where its key must be made first."""
    private = plan.key or _waiting_key(host, plan.leaf)
    return make_request(private, plan.leaf) if private else b""


def _waiting_key(host: Host, leaf: Leaf):
    data = read(host, leaf.pending)
    if data is None:
        return None
    try:
        private = key(data, leaf.pending)
    except DockerdError:
        return None
    return private if key_type(private.public_key()) == leaf.key_type else None


def install(host: Host, plan: Plan, answer: bytes, issuers: list, now: datetime) -> None:
    """Put a signed leaf in place, after judging it by the host's own clock and key.

    Raises Refused with the former files untouched.
    """
    leaf = plan.leaf
    private = plan.key or _waiting_key(host, leaf)
    if private is None:
        raise Refused("%s: the key that was made for the leaf is gone. Run again." % leaf.pending)
    chain = certificates(answer, "the answer to the request of %s" % leaf.name)
    verdict = judge(chain, private.public_key(), leaf, issuers, now)
    if verdict.reasons:
        raise Refused(
            "The leaf that came for %s is turned down, nothing was replaced: %s."
            % (leaf.name, "; ".join(verdict.reasons))
        )
    settle(host, plan)
    if plan.new_key:
        for path, data in ((leaf.key, key_pem(private)), (leaf.certificate, pem(*chain))):
            ready = host.beside(path, pair.NEXT)
            host.write(ready, data, leaf.modes[path], leaf.uid, leaf.gid)
        if not complete(host, leaf)[1]:
            words = "%s: somebody else put another pair in place meanwhile, which stays"
            raise HostError(words % leaf.certificate, path=leaf.certificate)
    else:
        host.write(leaf.certificate, pem(*chain), leaf.modes[leaf.certificate], leaf.uid, leaf.gid)
    host.remove(leaf.pending)
    plan.chain = chain
    plan.signed = True


def complete(host: Host, leaf: Leaf, check: bool = False) -> tuple[Host, list]:
    """Put a certificate and its key in place that were decided on, see pair.py.

    Returns the host with them in place, in check mode, too, and their paths, if there were any.
    Raises HostError.
    """
    paths = [host.real(leaf.certificate), host.real(leaf.key)]
    try:
        if check and pair.decided(*paths):
            return _Completed(host, leaf), [leaf.certificate, leaf.key]
        if check or not pair.complete(*paths):
            return host, []
    except OSError as error:
        place = leaf.certificate
        raise HostError("%s: %s" % (place, error.strerror), path=place) from error
    return host, [leaf.certificate, leaf.key]


class _Completed(Host):
    """A host as it will be when what was decided is in place."""

    def __init__(self, host: Host, leaf: Leaf) -> None:
        super().__init__(host.root, host.viewer, host.ours)
        names = {path: host.beside(path, pair.NEXT) for path in (leaf.key, leaf.certificate)}
        known = host._ready if isinstance(host, _Completed) else {}
        self._ready = {**known, **{one: name for one, name in names.items() if host.stat(name)}}

    def read(self, path: str, limit: int = READ_LIMIT) -> bytes:
        return super().read(self._ready.get(path, path), limit)

    def stat(self, path: str) -> Stat | None:
        return super().stat(self._ready.get(path, path))


def advance(
    host: Host, plan: Plan, answer: bytes | None, issuers: list | None, now: datetime
) -> bytes | None:
    """Carry a plan out as far as it goes; the request to be signed where that is not the end."""
    if plan.reasons and answer:
        install(host, plan, answer, issuers, now)
        return None
    if not plan.reasons or plan.usable:
        settle(host, plan)
    return prepare(host, plan) if plan.reasons else None


def settle(host: Host, plan: Plan) -> None:
    """Everything but the key and the certificate: trust, extra files, owners and modes."""
    leaf = plan.leaf
    _make_directory(host, leaf)
    for path, data in plan.contents.items():
        host.write(path, data, leaf.modes[path], leaf.uid, leaf.gid)
    for path, mode in plan.repairs.items():
        host.own(path, mode, leaf.uid, leaf.gid)
    if plan.leftover:
        host.remove(leaf.pending)


def _make_directory(host: Host, leaf: Leaf) -> None:
    path, mode = leaf.directory
    if host.stat(path) is None:
        host.make_directory(path, mode)
        host.own(path, mode, leaf.uid, leaf.gid)


# -- keys and requests


def make_key(kind: str):
    """A new private key of one of KEY_TYPES."""
    need()
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    return ec.generate_private_key({"ecdsa-p256": ec.SECP256R1, "ecdsa-p384": ec.SECP384R1}[kind]())


def key_pem(private, passphrase: str | None = None) -> bytes:
    """A private key in PKCS #8 PEM form, encrypted where there is a passphrase."""
    encryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def signature_hash(private):
    """What a key signs the digest of; None where it takes the whole, RFC 8410."""
    if isinstance(private, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    return hashes.SHA256()


def make_request(private, leaf: Leaf) -> bytes:
    """The request for a leaf, in PEM form."""
    need()
    builder = x509.CertificateSigningRequestBuilder(subject_named(leaf.common_name))
    for extension, critical in leaf_extensions(private.public_key(), leaf.usage, leaf.sans):
        builder = builder.add_extension(extension, critical)
    return builder.sign(private, signature_hash(private)).public_bytes(serialization.Encoding.PEM)


def subject_named(name: str):
    """The subject that is nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def key_usage(**on):
    """The extension with these usages on, RFC 5280 section 4.2.1.3."""
    usages = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: on.get(usage, False) for usage in usages})


def leaf_extensions(public, usage: str, wanted: tuple) -> list:
    """The extensions of a leaf and its request, each with whether it is critical."""
    purpose = (
        ExtendedKeyUsageOID.SERVER_AUTH if usage == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    )
    encipher = isinstance(public, rsa.RSAPublicKey)
    extensions = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(digital_signature=True, key_encipherment=encipher), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]
    if wanted:
        extensions.append((x509.SubjectAlternativeName([_general(name) for name in wanted]), False))
    return extensions


def _general(name: str):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
