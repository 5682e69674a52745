# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon's TLS files hold, as plain facts, and the authorities' keys on the host.

Without the cryptography library OpenSSL still says whether the files can serve; the rest
stays unread, and says so.
"""

from __future__ import annotations

import base64
import itertools
import posixpath
import re
import ssl
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Iterable, NamedTuple

from .errors import HostError
from .host import Host
from .instance import Instance
from .names import collect, own_names
from .told import Told

# A block as Go's encoding/pem takes it, headers included.
_BLOCK = re.compile(
    rb"^-----BEGIN ([^\r\n]+)-----[ \t]*\r?\n"
    rb"((?:(?!-----(?:BEGIN|END) ).*\n)*)"
    rb"-----END \1-----[ \t]*\r?$",
    re.M,
)
# The elliptic curves that Go's crypto/x509 knows.
_GO_CURVES = tuple("ecdsa-" + curve for curve in ("p224", "p256", "p384", "p521"))
_HOLDERS = (".pem", ".key", ".crt")  # names of files that may hold a key or its certificate
_HOLDERS_LIMIT = 64
_HOLDER_SIZE = 64 * 1024  # bytes
_AUTHORITY_NAME = re.compile(r"(^|[^a-z])(ca|root|authority|issuer)([^a-z]|$)", re.I)


class Block(NamedTuple):
    """A block of a PEM file, RFC 1421."""

    kind: str  # as its first line names it
    der: bytes
    headers: bool  # such as those of an encrypted key

    @property
    def private(self) -> bool:
        """Whether Go's crypto/tls takes it for a private key."""
        return (" " + self.kind).endswith(" PRIVATE KEY")


@dataclass(frozen=True)
class Certificate:
    """One certificate in a file."""

    path: str
    subject: str  # RFC 4514
    issuer: str
    not_before: datetime  # with its time zone
    not_after: datetime
    names: tuple  # subject alternative names, as certificates.names has them
    usages: tuple  # extended key usages; none where it does not restrict them
    authority: bool
    key_type: str  # in the words of certificates.KEY_TYPES; unusual where Go does not know it
    strong: bool  # such a key is strong enough, and one that dockerd takes
    hash: str  # of its signature, such as sha256; empty where the signature has none
    fingerprint: str  # SHA-256, lower-case hexadecimal


@dataclass
class Tls:
    """The TLS files of one instance at one moment; empty where TLS is off."""

    time: datetime | None = None  # of reading, with its time zone
    predicted: bool = False  # the files are still to be made: there is nothing to see yet
    server: list = field(default_factory=list)  # of Certificate, in tlscert, the leaf first
    authorities: list = field(default_factory=list)  # of Certificate, in tlscacert
    unreadable: list = field(default_factory=list)  # files that could not be read, and why
    unparsed: list = field(default_factory=list)  # what in them is no certificate, and why
    lacking: str = ""  # what keeps us from looking into any of them
    leaf: bytes = b""  # the first certificate in tlscert, DER
    refused: str = ""  # the directive whose file dockerd does not take
    problem: str = ""  # and why
    breaks: list = field(default_factory=list)  # subjects in tlscert that did not sign the former
    trusted: bool = False  # the authority of the leaf is one that the daemon lets clients in by
    authority_keys: dict = field(default_factory=dict)  # path -> whose key lies there
    locked_keys: list = field(default_factory=list)  # paths: encrypted, and named like such a key
    unsearched: list = field(default_factory=list)  # where such a key could lie unseen, and why
    names: tuple = ()  # names and, on a running host, addresses of the host

    @property
    def unread(self) -> list[str]:
        """Everything that could not be seen in the files."""
        return [*self.unreadable, *self.unparsed, *filter(None, [self.lacking])]


def read_tls(instance: Instance, host: Host, told: Told, now: datetime | None = None) -> Tls:
    """Everything about the TLS files; what is broken in them is part of the answer."""
    tls = Tls(now or datetime.now(timezone.utc))
    if not told.tls:
        return tls
    # A service runs in /, systemd.exec(5) WorkingDirectory=.
    paths = {name: posixpath.join("/", path) for name, path in told.tls_files.items()}
    if any(map(host.predicted, paths.values())):
        tls.predicted = True
        return tls
    contents = {}
    refusal = None  # the directive whose file dockerd does not take, and why
    for name, path in paths.items():
        where = "%s (%s)" % (name, told.where(name))
        try:
            status = host.stat(path)
            if status and status.kind != "file":
                tls.unreadable.append("%s: %s is no regular file" % (where, path))
                refusal = name, "%s is no regular file" % path
                continue
            contents[name] = host.read(path)
        except FileNotFoundError:
            tls.unreadable.append("%s: %s is not there" % (where, path))
        except HostError as error:
            tls.unreadable.append("%s: %s" % (where, error))
    tls.leaf = leaf(contents.get("tlscert", b""))
    # Costs more than all the rest of a judgement, hence not before it is needed.
    from . import certificates as library

    if library.MISSING is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the library means to refuse some day
            refusal = _look_into(tls, library, host, instance, paths, contents) or refusal
    else:
        tls.lacking = "install python3-cryptography (%s)" % library.MISSING
        refusal = _ask_openssl(host, {name: paths[name] for name in contents}) or refusal
    unset = [name for name in ("tlscert", "tlskey") if name not in paths]
    if unset:
        refusal = unset[0], "TLS is on, and no file is given"
        tls.unreadable.append("%s: %s" % refusal)
    if refusal:
        tls.refused = refusal[0]
        tls.problem = "%s (%s): %s" % (refusal[0], told.where(refusal[0]), refusal[1])
    tls.names = _names(host) if told.tcp else ()
    return tls


def _names(host: Host) -> tuple:
    try:
        return collect(host, []) if host.live else tuple(own_names(host))
    except HostError:
        return ()


def blocks(data: bytes) -> list[Block]:
    """The blocks of a PEM file; what is no base64 is passed over, as Go's encoding/pem does."""
    found = []
    for match in _BLOCK.finditer(data):
        lines = match.group(2).split(b"\n")
        body = list(itertools.dropwhile(lambda line: b":" in line, lines))
        try:
            der = base64.b64decode(b"".join(b"".join(body).split()), validate=True)
        except ValueError:
            continue
        kind = match.group(1).decode("ascii", "replace")
        found.append(Block(kind, der, headers=len(body) < len(lines)))
    return found


def leaf(data: bytes) -> bytes:
    """The first certificate of a PEM file as DER; empty where there is none."""
    return next((block.der for block in blocks(data) if block.kind == "CERTIFICATE"), b"")


def _ask_openssl(host: Host, paths: dict) -> tuple[str, str] | None:
    """A key that is another certificate's, which OpenSSL sees as dockerd does.

    For the rest it takes other files than Go's crypto/tls, and proves nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # a weak key is a finding, but dockerd starts with it
    if "tlscert" not in paths or "tlskey" not in paths:
        return None
    try:
        certificate, key = host.real(paths["tlscert"]), host.real(paths["tlskey"])
        # dockerd takes no passphrase; without one given here OpenSSL would ask the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "tlscert", "the key in tlskey is not the certificate's"
    except (HostError, OSError, ValueError):
        pass
    return None


# -- with the library


def _look_into(
    tls: Tls, library, host: Host, instance: Instance, paths: dict, contents: dict
) -> tuple[str, str] | None:
    """The facts; the directive whose file dockerd does not take, and why."""
    chain = _certificates(library, blocks(contents.get("tlscert", b"")), paths.get("tlscert", ""))
    # Go passes over an authority with headers.
    bare = [block for block in blocks(contents.get("tlscacert", b"")) if not block.headers]
    anchors = _certificates(library, bare, paths.get("tlscacert", ""))
    if chain and chain[0].facts:
        tls.server = [entry.facts for entry in chain if entry.facts]
    tls.authorities = [entry.facts for entry in anchors if entry.facts]
    tls.unparsed = [entry.error for entry in [*chain, *anchors] if entry.error]
    for name, found in (("tlscert", chain), ("tlscacert", anchors)):
        if name in contents and not found:
            tls.unparsed.append("%s holds no certificate in PEM form" % paths[name])
    servers = [entry.one for entry in chain if entry.facts]
    issuers = [entry.one for entry in anchors if entry.facts]
    tls.breaks = [
        library.describe(upper)["subject"]
        for lower, upper in zip(servers, servers[1:])
        if not library.signed_by(lower, upper)
    ]
    # Go trusts a leaf that stands in tlscacert itself, whoever signed it.
    tls.trusted = bool(servers) and (servers[0] in issuers or library.chains_to(servers, issuers))
    _search(tls, library, _holders(tls, host, instance, paths.values()), host, [*chain, *anchors])
    return _refusal(tls, library, chain, contents)


class _Parsed(NamedTuple):
    """A certificate of the library and the facts on it, or why there are none."""

    one: object = None
    facts: Certificate | None = None
    error: str = ""


def _certificates(library, found: list[Block], path: str) -> list[_Parsed]:
    read = []
    for block in found:
        if block.kind != "CERTIFICATE":
            continue
        try:
            pem = ssl.DER_cert_to_PEM_cert(block.der).encode()
            one = library.certificates(pem, path)[0]
            read.append(_Parsed(one, _facts(library, one, path)))
        except Exception as error:  # the library has no one class for malformed input
            read.append(_Parsed(error=str(error)))
    return read


def _facts(library, one, path: str) -> Certificate:
    about = library.describe(one)
    kind = about["key_type"]
    if library.public_bytes(one.public_key()) not in one.tbs_certificate_bytes:
        # Explicit curve parameters, or RSA for PSS alone, which are nothing to Go.
        kind = "unusual " + kind
    try:
        digest = one.signature_hash_algorithm
    except Exception:  # a kind of signature that the library does not know
        digest = None
    return Certificate(
        path=path,
        subject=about["subject"],
        issuer=about["issuer"],
        not_before=library.not_before(one),
        not_after=library.not_after(one),
        names=tuple(about["sans"]),
        usages=tuple(about["usages"]),
        authority=library.is_authority(one),
        key_type=kind,
        strong=library.strong(kind),
        hash=digest.name if digest else "",
        fingerprint=about["fingerprint"],
    )


def _refusal(tls: Tls, library, chain: list, contents: dict) -> tuple[str, str] | None:
    """The rules of Go's crypto/tls X509KeyPair and crypto/x509 AppendCertsFromPEM.

    Of the chain only the leaf must be sound, and of the authorities any one.
    """
    if "tlscert" in contents:
        if not chain:
            return "tlscert", "it holds no certificate in PEM form"
        if chain[0].error:
            return "tlscert", chain[0].error
        kind = chain[0].facts.key_type
        if not (kind.startswith("rsa-") or kind == "ed25519" or kind in _GO_CURVES):
            return "tlscert", "dockerd cannot serve with a key of kind %s" % kind
        if "tlskey" in contents:
            mismatch = _mismatch(library, chain[0].one, contents["tlskey"])
            if mismatch:
                return "tlskey", mismatch
    if "tlscacert" in contents and not any(
        facts.key_type in _GO_CURVES or "ecdsa-" not in facts.key_type for facts in tls.authorities
    ):
        return "tlscacert", "it holds no certificate that dockerd can read"
    return None


def _mismatch(library, one, data: bytes) -> str:
    """Why the first key in a PEM file is not that of a certificate; empty where it is."""
    keys = [block for block in blocks(data) if block.private]
    if not keys:
        return "it holds no private key in PEM form"
    try:
        public = _public(library, keys[0])
    except Exception as error:
        # Not in the words of the library, which may quote what it read.
        return "it holds no private key that can be read (%s)" % type(error).__name__
    if public is None:
        return "the private key is encrypted, and dockerd takes no passphrase"
    if library.public_bytes(public) != library.public_bytes(one.public_key()):
        return "it is not the key of the first certificate in tlscert"
    return ""


@lru_cache(maxsize=8)  # to load an RSA key costs more than to judge all the rest
def _public(library, block: Block):
    """The public half of a private key in any encoding, whatever its block says; None if locked."""
    try:
        return library.serialization.load_der_private_key(block.der, None).public_key()
    except TypeError:  # PKCS #8 that wants a password
        return None
    except ValueError:
        if block.headers:  # those of a key that is encrypted as a whole, RFC 1423
            return None
        raise


def _holders(tls: Tls, host: Host, instance: Instance, paths: Iterable[str]) -> list[str]:
    """The files in which people leave keys, where they leave them."""
    homes = (posixpath.join(home, ".docker") for home in ("/root", instance.user.home))
    found = []
    for directory in dict.fromkeys([*map(posixpath.dirname, paths), "/etc/docker", *homes]):
        try:
            host.stat(directory)
        except HostError as error:
            tls.unsearched.append(str(error))
        names = [name for name in host.list(directory) if name.lower().endswith(_HOLDERS)]
        found += [posixpath.join(directory, name) for name in names]
    if len(found) > _HOLDERS_LIMIT:
        tls.unsearched.append("%d files that may hold keys" % len(found))
    return found[:_HOLDERS_LIMIT]


def _search(tls: Tls, library, holders: list[str], host: Host, known: list[_Parsed]) -> None:
    """Look for private keys of authorities."""
    keys = []
    for path in holders:
        try:
            status = host.stat(path)
            if not status or status.kind != "file" or status.size > _HOLDER_SIZE:
                continue
            data = host.read(path)
        except (FileNotFoundError, HostError) as error:
            tls.unsearched.append(str(error))
            continue
        found = blocks(data)
        known = known + _certificates(library, found, path)
        for block in [block for block in found if block.private]:
            try:
                public = _public(library, block)
            except Exception:
                continue  # no key
            if public is not None:
                keys.append((path, public))
            elif _AUTHORITY_NAME.search(posixpath.basename(path)):
                tls.locked_keys.append(path)
    for path, public in keys:
        own = library.public_bytes(public)
        for one, facts in [(entry.one, entry.facts) for entry in known if entry.facts]:
            if library.public_bytes(one.public_key()) == own:
                if facts.authority:
                    tls.authority_keys[path] = facts.subject
            elif library.signed_with(one, public):
                tls.authority_keys[path] = facts.issuer
