# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests, authorities, leaves and bundles.

Two authorities live on the controller: ``servers`` signs daemons, ``clients`` signs those
who may drive them. A leaf's key is made where it is used; only its request travels. Every
judgement takes the time as an argument, so that it can be made for any moment.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import posixpath
import re
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from .errors import DockerdError, HostError, Refused
from .host import Host

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    MISSING = None
except ImportError as error:
    MISSING = str(error)

# What both sides take: Go's crypto/tls has Ed25519 since 1.13, in TLS 1.2 and 1.3.
KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")
PURPOSES = ("servers", "clients")

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
_DURATION = re.compile(r"([0-9]{1,10})([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_CENTURY = timedelta(days=36500)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_GUESTS = ("veth", "tun")  # kinds of the ports of containers and of virtual machines
_UNSTABLE = ("temporary", "deprecated", "tentative", "dadfailed")  # flags of ip-address(8)
_COMMON_NAME_LIMIT = 64  # ub-common-name, RFC 5280 appendix A
_CHAIN_LIMIT = 8  # certificates between a leaf and its authority


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


def san(text: str, variable: str) -> str:
    """A subject alternative name in its one spelling: an address or a DNS name.

    Raises Refused naming ``variable`` and what is wrong, for whatever a TLS client in Go
    would never match.
    """
    name = str(text).strip().lower()
    try:
        address = ipaddress.ip_address(name)
        if getattr(address, "scope_id", None):
            raise Refused("%s: %r: an address in a certificate has no zone." % (variable, text))
        # Python versions spell a mapped address differently; its IPv4 form is what clients call.
        return str(getattr(address, "ipv4_mapped", None) or address)
    except ValueError:
        pass
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    host = labels[1:] if labels[0] == "*" and len(labels) > 2 else labels
    if "://" in name or "/" in name:
        why = "is a URL or a network; give the name or the address alone"
    elif name.startswith(("dns:", "ip:")):
        why = "has a prefix; give the name or the address alone"
    elif ":" in name or "[" in name:
        why = "has a port or brackets, or is no IPv6 address; give the name or the address alone"
    elif not name.isascii():
        why = "is not ASCII; write an international name in its xn-- form"
    elif len(name) > 253 or not all(_LABEL.fullmatch(label) for label in host):
        why = "is neither a DNS name nor an IP address"
    elif host[-1].isdigit():
        why = "looks like an IPv4 address and is none"
    else:
        return name
    raise Refused("%s: %r %s." % (variable, text, why))


def sans(texts: list, variable: str) -> tuple:
    """Subject alternative names, each once, DNS names before addresses. Raises Refused."""
    return tuple(sorted({san(text, variable) for text in texts}, key=_san_order))


def _san_order(name: str) -> tuple:
    try:
        address = ipaddress.ip_address(name)
        return 1, address.version, int(address), ""
    except ValueError:
        return 0, 0, 0, name


def collect(host: Host, names: list) -> tuple:
    """The names and addresses by which a host is reached, with ``names`` from the inventory.

    They come from the host itself and never from DNS, so that a resolver which is down
    does not change a certificate. Left out are addresses that nobody calls or that do not
    last: link-local, temporary and deprecated ones, and those of container bridges.
    Raises HostError where the addresses cannot be read.
    """
    found = ["localhost", "127.0.0.1", "::1", *names, *own_names(host), *_addresses(host)]
    return tuple(sorted({one for one in map(_collected, found) if one}, key=_san_order))


def own_names(host: Host) -> list:
    """What a host calls itself: its name, and the one that /etc/hosts puts first, hosts(5)."""
    name = _line(host, "/proc/sys/kernel/hostname") or _line(host, "/etc/hostname")
    found = [name] if name else []
    for line in _text(host, "/etc/hosts").splitlines():
        fields = line.split("#")[0].lower().split()
        if name and name in fields[1:]:
            found.append(fields[1])
    return found


def _addresses(host: Host) -> list:
    path = "%s:/usr/sbin:/sbin" % os.environ.get("PATH", "/usr/bin:/bin")
    listed = host.run(["ip", "-details", "-json", "address", "show"], env={"PATH": path})
    try:
        interfaces = [one for one in json.loads(listed.out) if one]
        kinds = {one["ifname"]: one.get("linkinfo", {}).get("info_kind") for one in interfaces}
        # A bridge that holds a port of the machine is its way to the world; one without, or
        # with ports of containers and virtual machines alone, is theirs.
        outward = {one.get("master") for one in interfaces if kinds[one["ifname"]] not in _GUESTS}
        found = []
        for interface in interfaces:
            name = interface["ifname"]
            if name == "lo" or (kinds[name] == "bridge" and name not in outward):
                continue
            for address in interface["addr_info"]:
                if address["scope"] == "global" and not any(map(address.get, _UNSTABLE)):
                    found.append(address["local"])
        return found
    except (ValueError, TypeError, KeyError, AttributeError):
        raise HostError(
            "The host's addresses cannot be read by 'ip -details -json address show': %s. Install "
            "iproute2, or set dockerd_tls_collect_sans to false and name the host in "
            "dockerd_tls_server_sans." % (listed.words[:200] or "no answer")
        ) from None


def _collected(text: str) -> str | None:
    # An inventory's alias need not be a name that a certificate can hold.
    try:
        name = san(text, "")
        return None if _link_local(name) else name
    except Refused:
        return None


def _link_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_link_local
    except ValueError:
        return False


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path).decode("utf-8", "replace")
    except (FileNotFoundError, HostError):
        return ""


def _line(host: Host, path: str) -> str:
    return _text(host, path).strip().lower()


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


# How long a leaf lives and how early it is renewed, unless told.
DEFAULTS = {"server": ("90d", "30d"), "client": ("30d", "10d")}


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


# -- reading


def need() -> None:
    """Raises HostError where the cryptography library is missing."""
    if MISSING is not None:
        raise HostError(
            "The Python library cryptography is missing: %s. Install the package "
            "python3-cryptography (dockerd_tls_packages does it) for the Python that runs this."
            % MISSING,
            missing="cryptography",
        )


@contextmanager
def _parsing(path: str, what: str):
    need()
    try:
        yield
    except DockerdError:
        raise
    except Exception as error:  # the library has no one class for malformed input
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DockerdError("%s holds no %s that can be read: %s" % (path, what, reason)) from error


def certificates(data: bytes, path: str) -> list:
    """The certificates of a PEM file, in its order; at least one.

    Raises DockerdError naming ``path``.
    """
    with _parsing(path, "certificate"):
        found = [x509.load_pem_x509_certificate(pem) for pem in _CERTIFICATE.findall(data)]
        if not found:
            raise DockerdError("%s holds no certificate in PEM form" % path)
        for certificate in found:
            describe(certificate)
        return found


def key(data: bytes, path: str, passphrase: str | None = None):
    """The private key of a PEM file. Raises DockerdError naming ``path``, never its content."""
    with _parsing(path, "private key"):
        secret = passphrase.encode() if passphrase else None
        try:
            return serialization.load_pem_private_key(data, secret)
        except TypeError:
            if secret:
                why = "is not encrypted, though a passphrase was given"
            else:
                why = "is encrypted, and no passphrase was given"
        except Exception as error:
            if secret and b"ENCRYPTED" in data:
                why = "does not open with the passphrase that was given"
            else:
                # The library's words may quote what it read.
                raise DockerdError(
                    "%s holds no private key that can be read (%s)" % (path, type(error).__name__)
                ) from None
        raise DockerdError("%s %s" % (path, why))


def request(data: bytes, path: str):
    """A certificate request whose signature holds. Raises DockerdError naming ``path``."""
    with _parsing(path, "certificate request"):
        found = x509.load_pem_x509_csr(data)
        if not found.is_signature_valid:
            raise DockerdError("%s: the request is not signed by its own key" % path)
        return found


def not_after(certificate) -> datetime:
    """The last second of a certificate, with its time zone."""
    if hasattr(certificate, "not_valid_after_utc"):  # since cryptography 42
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def not_before(certificate) -> datetime:
    """The first second of a certificate, with its time zone."""
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=timezone.utc)


def moment(time: datetime) -> str:
    """A point in time in RFC 3339, UTC, to the second."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def fingerprint(certificate) -> str:
    """The SHA-256 of a certificate, in lower-case hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def key_type(public) -> str:
    """The kind of a public key, in the words of KEY_TYPES where it is one of them."""
    if isinstance(public, rsa.RSAPublicKey):
        return "rsa-%d" % public.key_size
    if isinstance(public, ec.EllipticCurvePublicKey):
        curve = public.curve.name
        return "ecdsa-" + (curve.replace("secp", "p")[:-2] if curve.endswith("r1") else curve)
    return type(public).__name__.lstrip("_").replace("PublicKey", "").lower()


def names(holder) -> tuple:
    """The subject alternative names of a certificate or a request, as :func:`sans` has them."""
    extension = _extension(holder, "SubjectAlternativeName")
    found = []
    for name in extension or ():
        kind = type(name).__name__
        value = str(name.value).lower()
        found.append(value if kind in ("DNSName", "IPAddress") else "%s:%s" % (kind, value))
    return tuple(sorted(found, key=_san_order))


def _extension(holder, kind: str):
    try:
        return holder.extensions.get_extension_for_class(getattr(x509, kind)).value
    except x509.ExtensionNotFound:
        return None


def _usages(certificate) -> tuple:
    extension = _extension(certificate, "ExtendedKeyUsage") or ()
    known = {
        ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    }
    return tuple(sorted(known.get(oid, oid.dotted_string) for oid in extension))


def is_authority(certificate) -> bool:
    """Whether a certificate may sign others, RFC 5280 section 4.2.1.9."""
    basic = _extension(certificate, "BasicConstraints")
    usage = _extension(certificate, "KeyUsage")
    return bool(basic and basic.ca and (usage is None or usage.key_cert_sign))


def describe(certificate) -> dict:
    """What people want to know of a certificate, as plain data."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "sans": list(names(certificate)),
        "usages": list(_usages(certificate)),
        "key_type": key_type(certificate.public_key()),
        "not_before": moment(not_before(certificate)),
        "not_after": moment(not_after(certificate)),
        "fingerprint": fingerprint(certificate),
    }


def pem(*found) -> bytes:
    """Certificates in PEM form, and nothing else that stood in their file."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)


def public_bytes(public) -> bytes:
    """A public key in its one encoding, to be compared."""
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed_by(certificate, issuer) -> bool:
    """Whether ``issuer`` is an authority and signed the certificate, whatever their dates."""
    if certificate.issuer != issuer.subject or not is_authority(issuer):
        return False
    return signed_with(certificate, issuer.public_key())


def signed_with(certificate, public) -> bool:
    """Whether the private half of a key signed the certificate, whoever holds it."""
    signed = (certificate.signature, certificate.tbs_certificate_bytes)
    try:
        algorithm = certificate.signature_hash_algorithm
        if isinstance(public, rsa.RSAPublicKey):
            # RSASSA-PSS is known to cryptography 41 and later only.
            pad = getattr(certificate, "signature_algorithm_parameters", padding.PKCS1v15())
            public.verify(*signed, pad, algorithm)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(*signed, ec.ECDSA(algorithm))
        elif isinstance(public, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            public.verify(*signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def chains_to(chain: list, anchors: list) -> bool:
    """Whether a leaf, the first of ``chain``, leads to one of the anchors."""
    current = chain[0]
    for _step in range(_CHAIN_LIMIT):
        if any(signed_by(current, anchor) for anchor in anchors):
            return True
        above = [one for one in chain[1:] if one is not current and signed_by(current, one)]
        if not above:
            return False
        current = above[0]
    return False


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
            % (certificate.issuer.rfc4514_string() or "nobody", _subjects(issuers))
        )
    wanted = "serverAuth" if leaf.usage == "server" else "clientAuth"
    if _usages(certificate) != (wanted,):
        faults.append(
            "the leaf's extended key usage is %s, wanted is %s alone"
            % (" and ".join(_usages(certificate)) or "not set", wanted)
        )
    basic, usage = _extension(certificate, "BasicConstraints"), _extension(certificate, "KeyUsage")
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


def _subjects(found: list) -> str:
    return ", ".join(one.subject.rfc4514_string() for one in found) or "(there is none yet)"


def _judge_key(certificate, leaf: Leaf) -> list:
    kind = key_type(certificate.public_key())
    if leaf.ours and kind != leaf.key_type:
        return ["the leaf's key is %s, dockerd_tls_key_type is %s" % (kind, leaf.key_type)]
    if not strong(kind):
        return ["the leaf's key is %s, too weak or unknown to dockerd" % kind]
    return []


def strong(kind: str) -> bool:
    """Whether a kind of key is strong enough, and one that Go's crypto/tls takes."""
    rsa_bits = int(kind[4:]) if kind.startswith("rsa-") else 0
    return rsa_bits >= 2048 or kind in (*KEY_TYPES, "ecdsa-p521")


def _judge_names(certificate, leaf: Leaf) -> list:
    has, wants = set(names(certificate)), set(leaf.sans)
    faults = []
    missing = sorted(wants - has, key=_san_order)
    surplus = sorted(has - wants, key=_san_order) if leaf.ours else []
    if missing:
        faults.append("the leaf does not name %s" % ", ".join(missing))
    if surplus:
        faults.append("the leaf names %s, not wanted any more" % ", ".join(surplus))
    if leaf.usage == "server" and not has and not missing:
        faults.append("the leaf has no subject alternative name, without which no client trusts it")
    common = [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if leaf.ours and common != [leaf.common_name]:
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
            faults.append("%s: %s is no authority" % (leaf.trust, _subjects([authority])))
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
        if _read(host, path) != data
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


def _read(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except FileNotFoundError:
        return None


def _present_key(host: Host, leaf: Leaf) -> tuple:
    """The key on the host if it can stay, and else None and why not."""
    data = _read(host, leaf.key)
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


def _hash(private):
    if isinstance(private, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    return hashes.SHA256()


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
    data = _read(host, leaf.pending)
    try:
        private = None if data is None else key(data, leaf.pending)
        right = private is not None and key_type(private.public_key()) == leaf.key_type
        return private if right else None
    except DockerdError:
        return None


def make_request(private, leaf: Leaf) -> bytes:
    """The request for a leaf, in PEM form."""
    need()
    builder = x509.CertificateSigningRequestBuilder(_subject(leaf.common_name))
    for extension, critical in _leaf_extensions(private.public_key(), leaf.usage, leaf.sans):
        builder = builder.add_extension(extension, critical)
    return builder.sign(private, _hash(private)).public_bytes(serialization.Encoding.PEM)


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
        host.write(leaf.key, key_pem(private), leaf.modes[leaf.key], leaf.uid, leaf.gid)
    host.write(leaf.certificate, pem(*chain), leaf.modes[leaf.certificate], leaf.uid, leaf.gid)
    host.remove(leaf.pending)
    plan.chain = chain
    plan.signed = True


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


# -- authorities


def outside(host: Host, path: str, variable: str) -> list:
    """The bundle of an outside authority. Raises Refused naming ``variable``."""
    try:
        bundle = certificates(host.read(path), path)
    except FileNotFoundError:
        raise Refused("%s: %s is not there." % (variable, path)) from None
    except DockerdError as error:
        raise Refused("%s: %s." % (variable, error)) from None
    for one in bundle:
        if not is_authority(one):
            raise Refused("%s: %s: %s is no authority." % (variable, path, _subjects([one])))
    return bundle


def hand_out(host: Host, path: str, request_pem: bytes, check: bool) -> bool:
    """Write a request for an outside authority, unless the same is there; whether it changed.

    Two requests are the same where key, subject and names are, because a signature with
    ECDSA is new each time. An empty request is one whose key is not made yet.
    """

    def content(found) -> tuple:
        return public_bytes(found.public_key()), found.subject, names(found)

    try:
        there = content(request(host.read(path), path))
        if request_pem and there == content(request(request_pem, "the new request")):
            return False
    except (FileNotFoundError, DockerdError):
        pass
    if not check:
        host.write(path, request_pem, 0o644, os.geteuid(), os.getegid())
    return True


def read_back(
    host: Host, path: str, request_pem: bytes, leaf: Leaf, issuers: list, now: datetime
) -> tuple:
    """The leaf an outside authority left for a request, or None and why there is none."""
    try:
        data = host.read(path)
        if not request_pem:
            return None, "%s is there, but the key for it is not made yet" % path
        public = request(request_pem, "the new request").public_key()
        verdict = judge(certificates(data, path), public, leaf, issuers, now)
    except FileNotFoundError:
        return None, "%s is not there yet" % path
    except DockerdError as error:
        return None, str(error)
    if verdict.reasons:
        return None, "%s does not answer it: %s" % (path, "; ".join(verdict.reasons))
    return data, ""


def _subject(name: str):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(**on):
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


def _leaf_extensions(public, usage: str, wanted: tuple) -> list:
    purpose = (
        ExtendedKeyUsageOID.SERVER_AUTH if usage == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    )
    encipher = isinstance(public, rsa.RSAPublicKey)
    extensions = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True, key_encipherment=encipher), True),
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


@dataclass(frozen=True)
class Authority:
    """An authority of ours: its trust bundle, and the key of the bundle's first certificate.

    The first certificate signs, all of them are trusted: an authority is rotated by putting
    a new certificate in front of the old one, and later taking the old one away.
    """

    purpose: str  # servers or clients
    path: str  # of the bundle
    bundle: tuple
    private: object = field(repr=False)

    @classmethod
    def paths(cls, directory: str, purpose: str) -> tuple:
        """The paths of an authority's bundle and key."""
        own = posixpath.join(directory, purpose)
        return posixpath.join(own, "ca.pem"), posixpath.join(own, "ca-key.pem")

    @classmethod
    def load(
        cls, host: Host, directory: str, purpose: str, passphrase: str | None, now: datetime
    ) -> Authority | None:
        """The authority in a directory, None where there is none.

        Raises Refused for half an authority, one that is open to others, expired, or no
        authority at all, and DockerdError for what cannot be read.
        """
        bundle_path, key_path = cls.paths(directory, purpose)
        bundle, private = _read(host, bundle_path), _read(host, key_path)
        if bundle is None and private is None:
            return None
        if bundle is None or private is None:
            there, gone = (key_path, bundle_path) if bundle is None else (bundle_path, key_path)
            raise Refused(
                "%s is there and %s is not: half an authority signs nothing. Restore the missing "
                "file from your backup; if no host trusts this authority yet, remove %s and a new "
                "one is made." % (there, gone, there)
            )
        mode = host.stat(key_path).mode
        if mode & 0o077:
            raise Refused(
                "%s has mode %04o: others on this machine could sign as the %s authority. If it "
                "was read by nobody, chmod 0600 it; else remove both files and start anew."
                % (key_path, mode, purpose)
            )
        chain = certificates(bundle, bundle_path)
        try:
            secret = key(private, key_path, passphrase)
        except DockerdError as error:
            raise Refused("%s. See dockerd_tls_authority_passphrase." % error) from None
        for one in chain:
            if not is_authority(one):
                raise Refused(
                    "%s: %s is no authority (CA) certificate, but stands in the bundle that is "
                    "trusted." % (bundle_path, _subjects([one]))
                )
        signer = chain[0]
        if public_bytes(signer.public_key()) != public_bytes(secret.public_key()):
            raise Refused(
                "%s is not the key of the first certificate in %s. The first one signs; put "
                "its key there." % (key_path, bundle_path)
            )
        if not not_before(signer) <= now <= not_after(signer):
            raise Refused(
                "%s is valid from %s to %s, and it is %s on the controller. Correct the clock or "
                "put a new authority in front of it."
                % (bundle_path, moment(not_before(signer)), moment(not_after(signer)), moment(now))
            )
        return cls(purpose, bundle_path, tuple(chain), secret)

    @classmethod
    def make(
        cls,
        host: Host,
        directory: str,
        purpose: str,
        passphrase: str | None,
        lifetime: timedelta,
        skew: timedelta,
        now: datetime,
    ) -> Authority:
        """Make an authority and keep it in a directory; the caller sees that nobody else does."""
        private = make_key("ecdsa-p256")
        public = private.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        subject = _subject("Docker %s authority %s" % (purpose, identifier.digest.hex()[:8]))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - skew)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), True)
            .add_extension(identifier, False)
        )
        certificate = builder.sign(private, _hash(private))
        bundle_path, key_path = cls.paths(directory, purpose)
        owner = (os.geteuid(), os.getegid())
        host.make_directory(posixpath.dirname(bundle_path), 0o700)
        # Key before certificate: where a certificate is, its key is.
        host.write(key_path, key_pem(private, passphrase), 0o600, *owner)
        host.write(bundle_path, pem(certificate), 0o644, *owner)
        return cls(purpose, bundle_path, (certificate,), private)

    @property
    def signer(self):
        """The certificate whose key signs."""
        return self.bundle[0]

    def refusal(self, usage: str, lifetime: timedelta, now: datetime) -> str:
        """Why no leaf of this lifetime can be signed; empty where it can."""
        ends = not_after(self.signer)
        if now + lifetime <= ends:
            return ""
        return (
            "%s ends %s, in %s, before a leaf of %s (%s) would. Put a new authority in front "
            "of it, or shorten the leaf's life."
            % (
                self.path,
                moment(ends),
                span(ends - now),
                variable(usage, "lifetime"),
                span(lifetime),
            )
        )

    def sign(self, request_pem: bytes, leaf: Leaf, now: datetime) -> bytes:
        """The leaf for a request, in PEM form.

        Of the request only the key and the names are taken; the names must be
        ``leaf.sans`` and the key of ``leaf.key_type``. Raises Refused.
        """
        asked = request(request_pem, "the request of %s" % leaf.name)
        public = asked.public_key()
        refusal = self.refusal(leaf.usage, leaf.lifetime, now)
        if refusal:
            raise Refused(refusal)
        if key_type(public) != leaf.key_type or set(names(asked)) != set(leaf.sans):
            raise Refused(
                "The request of %s is for a key of %s and the names %s; asked for were %s and %s."
                % (
                    leaf.name,
                    key_type(public),
                    ", ".join(names(asked)) or "none",
                    leaf.key_type,
                    ", ".join(leaf.sans) or "none",
                )
            )
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(leaf.common_name))
            .issuer_name(self.signer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - leaf.skew, not_before(self.signer)))
            .not_valid_after(now + leaf.lifetime)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(_authority_identifier(self.signer), False)
        )
        for extension, critical in _leaf_extensions(public, leaf.usage, leaf.sans):
            builder = builder.add_extension(extension, critical)
        return pem(builder.sign(self.private, _hash(self.private)))


def missing(host: Host, directory: str) -> list:
    """Which authorities of a directory have no bundle yet."""
    return [one for one in PURPOSES if host.stat(Authority.paths(directory, one)[0]) is None]


def make_missing(
    host: Host,
    directory: str,
    passphrase: str | None,
    lifetime: timedelta,
    skew: timedelta,
    now: datetime,
    check: bool,
) -> list:
    """Make the authorities that a directory lacks; the files that were, or would be, written.

    Raises Refused, before anything is made, for half an authority.
    """
    lacking = [
        one
        for one in missing(host, directory)
        if Authority.load(host, directory, one, passphrase, now) is None
    ]
    files = [path for one in lacking for path in Authority.paths(directory, one)]
    ignore = posixpath.join(directory, ".gitignore")
    # Somebody else's directory keeps its own rules for git, and its mode.
    fresh = not set(host.list(directory)) - {".lock"}
    if fresh:
        files.append(ignore)
    if not check:
        if fresh:
            host.make_directory(directory, 0o700)
            host.write(ignore, b"*\n", 0o644, os.geteuid(), os.getegid())
        for one in lacking:
            Authority.make(host, directory, one, passphrase, lifetime, skew, now)
    return sorted(files)


def _authority_identifier(signer):
    identifier = _extension(signer, "SubjectKeyIdentifier")
    if identifier is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
