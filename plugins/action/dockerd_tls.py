# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of dockerd_tls: it signs. An authority's key never leaves it."""

from __future__ import annotations

import fcntl
import posixpath
import re
from contextlib import contextmanager
from datetime import datetime, timezone

from ansible.errors import AnsibleError

from ..module_utils._dockerd import authorities, certificates, leaves, names
from ..module_utils._dockerd.errors import DockerdError, HostError, Refused
from ..module_utils._dockerd.host import Host
from ..modules.dockerd_tls import ARGUMENTS
from ..plugin_utils.gated import Gated, claimed

# What the module has no use for; the passphrase above all must not travel.
CONTROLLER_ONLY = (
    "authority",
    "authority_passphrase",
    "authority_lifetime",
    "server_authority",
    "client_authority",
    "packages",
)
LOCAL = ("localhost", "127.0.0.1", "::1")
CLAIMS_LIMIT = 500  # names and addresses of one host
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?")
# What the module says to this plugin alone.
BETWEEN = {
    "missing": {"type": "str", "returned": "where a library is missing"},
    "manager": {"type": "str", "returned": "where a library is missing"},
    "requests": {
        "type": "list",
        "elements": "dict",
        "returned": "where a leaf waits for its signature",
        "contains": {
            "name": {"type": "str"},
            "request": {"type": "str", "lines": True},
            "sans": {"type": "list", "elements": "str"},
            "usable": {"type": "bool"},
        },
    },
}


class ActionModule(Gated):
    """Runs the module, signs what it asks for, and runs it again with the answers."""

    MODULE = "dockerd_tls"

    def declared(self):
        found = super().declared()
        # What was written on the controller, no host can know.
        del found["controller_files"]
        return {**found, **BETWEEN}

    def answer(self, task_vars):
        required = [
            ("provider", "authority", ("authority",)),
            ("provider", "external", ("authority", "server_authority", "client_authority")),
        ]
        options = self.validate_argument_spec(ARGUMENTS, required_if=required)[1]
        now, check = datetime.now(timezone.utc), self._task.check_mode
        common = _validated(options, str(task_vars["inventory_hostname"]))
        if options["provider"] == "files":
            return self._execute(options, {}, task_vars)
        address = self._templar.template(task_vars.get("ansible_host"))
        known = [str(name) for name in (task_vars["inventory_hostname"], address) if name]
        told = {"names": known}
        for name in ("authority", "server_authority", "client_authority"):
            options[name] = options[name] and self._loader.path_dwim(options[name])
        kind = _Ours if options["provider"] == "authority" else _Outside
        signer = kind(options, options["authority"], now, check)
        told.update(signer.told(common))
        if signer.lacks and not check:
            # No authority comes to be where the host has another one already.
            if not options["replace_authority"]:
                first = self._begin(options, {**told, "look": True}, task_vars)
                if first.get("failed"):
                    return first
            told.update(signer.make(common))
        first = self._begin(options, told, task_vars)
        if first.get("failed"):
            return first
        requests = _asked(first.pop("requests", []), options)
        wanted = {name: _leaf(name, asked, options, common) for name, asked in requests.items()}
        if options["usage"] == "server" and options["collect_sans"]:
            _check_claims(wanted.values(), [*known, *LOCAL, *options["sans"]], task_vars)
        replies = signer.answers(requests, wanted, task_vars["inventory_hostname"])
        if replies:
            told["certificates"] = replies
            sans = next(iter(wanted.values())).sans
            # The names that were signed, should an address have come or gone meanwhile.
            again = {**options, "sans": list(sans), "collect_sans": False}
            second = self._execute(again, told, task_vars)
            first = _merged(first, second, replies)
        first["warnings"] = first.get("warnings", []) + signer.warnings
        first["controller_files"] = signer.files
        # What was signed is never unsaid, whatever became of it on the host.
        first["changed"] = bool(first.get("changed") or signer.files or replies)
        if signer.failures and not first.get("failed"):
            first.update(failed=True, msg=" ".join(signer.failures))
        if signer.files:
            made = {"before": "", "after": "".join(path + "\n" for path in signer.files)}
            header = "files on the controller"
            made.update(before_header=header, after_header=header)
            first["diff"] = [made, *first.get("diff", [])]
        return first

    def _begin(self, options: dict, told: dict, task_vars: dict) -> dict:
        """The first half; where the library is missing it is installed, and asked again."""
        first = self._execute(options, told, task_vars)
        if first.get("missing") != "cryptography" or not options["packages"]:
            return first
        installed = self._install(str(first.get("manager")), options["packages"], task_vars)
        return installed if installed.get("failed") else self._execute(options, told, task_vars)

    def _install(self, manager: str, packages: list, task_vars: dict) -> dict:
        """Only where the library is missing: a host that has it pays for no look-up of packages.

        ansible.builtin.package would let the host name any module, and answer it past the gate.
        """
        if manager not in certificates.MANAGERS:
            raise Refused(
                "This host lacks the Python library cryptography, and has none of %s to install %s:"
                " do that first." % (", ".join(certificates.MANAGERS), ", ".join(packages))
            )
        return self.ask(
            {"name": packages, "state": "present"},
            task_vars,
            "ansible.builtin." + certificates.MANAGERS[manager],
        )

    def _execute(self, options: dict, told: dict, task_vars: dict) -> dict:
        arguments = {
            name: value
            for name, value in options.items()
            if name not in CONTROLLER_ONLY and value is not None
        }
        # As written: a ~ in it is the host's, not the controller's.
        paths = ("directory", "certificate", "key", "trust")
        arguments.update({name: self._task.args[name] for name in paths if name in self._task.args})
        # At each trip, because what came before it may have taken long.
        clock = {"controller_time": datetime.now(timezone.utc).timestamp()}
        return self.ask({**arguments, "exchange": {**clock, **told}}, task_vars)


def _validated(options: dict, name: str) -> dict:
    """What can be judged before anything runs; fills in the common name."""
    certificates.need()
    common = leaves.wanted(options)
    leaves.duration(options["authority_lifetime"], "dockerd_tls_authority_lifetime")
    names.sans(options["sans"], "dockerd_tls_server_sans")
    if options["user"] and not _USER.fullmatch(options["user"]):
        # It becomes part of a path on the controller.
        raise Refused("dockerd_tls_server_user: %r is no name of a user." % options["user"])
    if options["usage"] == "server":
        options["common_name"] = leaves.common_name(options["common_name"], name)
        return common
    if options["provider"] == "files":
        raise Refused(
            "dockerd_tls_clients: with dockerd_tls_provider 'files' nobody signs clients. Use "
            "'authority' or 'external', or take the clients out."
        )
    clients = [leaves.client_name(one["name"]) for one in options["clients"]]
    twice = sorted({one for one in clients if clients.count(one) > 1})
    if twice:
        raise Refused("dockerd_tls_clients: %s is given twice in one place." % ", ".join(twice))
    if not options["directory"] and not all(one["user"] for one in options["clients"]):
        raise Refused("A client without a user needs 'directory' (dockerd_tls_client_directory).")
    return common


def _asked(requests: list, options: dict) -> dict:
    """A host's requests by name. Raises Refused where one is not wanted of this host."""
    server = options["usage"] == "server"
    wanted = [options["common_name"]] if server else [one["name"] for one in options["clients"]]
    asked = [one["name"] for one in requests]
    if len(set(asked)) < len(asked) or not set(asked) <= set(wanted):
        raise Refused(
            "This host asks for certificates of %s; it may have %s. Nothing was signed; look at "
            "who answers there." % (", ".join(sorted(asked)[:10]), ", ".join(wanted))
        )
    return {one["name"]: one for one in requests}


def _leaf(name: str, asked: dict, options: dict, common: dict) -> leaves.Leaf:
    """The controller's own view of a leaf; of the host's words only collected names are taken."""
    server = options["usage"] == "server"
    sans: tuple = ()
    if server:
        sans = names.sans(options["sans"], "dockerd_tls_server_sans")
    if server and options["collect_sans"]:
        if len(asked["sans"]) > CLAIMS_LIMIT:
            raise Refused("This host has more than %d names and addresses." % CLAIMS_LIMIT)
        sans = names.sans([*sans, *asked["sans"]], "What this host calls itself")
    return leaves.Leaf(
        name,
        certificate="",
        key="",
        trust="",
        common_name=options["common_name"] if server else name,
        sans=sans,
        **common,
    )


def _check_claims(wanted, own: list, task_vars: dict) -> None:
    """A host must not get a certificate in the name of another."""
    claims = tuple(name for leaf in wanted for name in leaf.sans)
    if not claims:
        return
    found = names.foreign(claims, own, _others(own[0], task_vars))
    if found:
        raise Refused(
            "This host calls itself %s. A leaf in that name would let it pose as another. Nothing "
            "was signed. If it is meant, say so in dockerd_tls_server_sans."
            % ", ".join("%s (%s)" % one for one in sorted(found.items())[:10])
        )


def _others(own: str, task_vars: dict) -> dict:
    """Every name that the operator has for another host, and which host that is."""
    found = {}
    for other in task_vars["hostvars"]:
        if other == own:
            continue
        about = task_vars["hostvars"][other]
        try:
            listed = about.get("dockerd_tls_server_sans")
        except AnsibleError:
            listed = None  # made of facts, of a host that has none; it fails there
        # Whoever sets our variables by facts is refused, and must not shut others out.
        if claimed(about):
            listed = None
        called = [other, about.get("ansible_host"), *(listed if isinstance(listed, list) else [])]
        found.update({str(name): "which is of %s" % other for name in called if name})
    return found


def _merged(first: dict, second: dict, replies: dict) -> dict:
    still = {one["name"] for one in second.pop("requests", [])} & set(replies)
    if second.get("failed"):
        return {**second, "changed": bool(first.get("changed"))}
    if still:
        raise DockerdError(
            "This host was given the leaves of %s, and asks for them again. Look at who answers "
            "there." % ", ".join(sorted(still))
        )
    reasons = {leaf["name"]: leaf["reasons"] for leaf in first["leaves"]}
    for leaf in second["leaves"]:
        leaf["reasons"] = reasons.get(leaf["name"], leaf["reasons"])
    return {
        **second,
        "changed": bool(first.get("changed") or second.get("changed")),
        "files": sorted({*first["files"], *second["files"]}),
        "diff": first.get("diff", []) + second.get("diff", []),
        "warnings": first.get("warnings", []) + second.get("warnings", []),
    }


class _Signer:
    """Whoever signs, and what happened on the controller meanwhile."""

    def __init__(self, options: dict, directory: str, now: datetime, check: bool) -> None:
        self.options, self.directory, self.now, self.check = options, directory, now, check
        self.host = Host("/")
        self.files: list = []
        self.warnings: list = []
        self.failures: list = []
        self.lacks = False  # an authority that must be made first

    def told(self, common: dict) -> dict:
        """What the module must know of the authorities."""
        raise NotImplementedError

    def make(self, common: dict) -> dict:
        """Make the authorities that lack; what the module must know of them then."""
        raise NotImplementedError

    def answers(self, requests: dict, wanted: dict, name: str) -> dict:
        """Leaves by name, PEM, for as many of the requests as there are."""
        raise NotImplementedError


class _Ours(_Signer):
    """Signs with the authorities on the controller, which are made on first use."""

    signer: authorities.Authority | None = None

    def told(self, common: dict) -> dict:
        try:
            servers, clients = self._load(common)
        except Refused:
            # What looks like half an authority may be one that another host's task is making.
            with _locked(self.host, self.directory, make=False):
                servers, clients = self._load(common)
        self.signer, other = (servers, clients) if _serves(common) else (clients, servers)
        told = {"trust": certificates.pem(*other.bundle).decode() if other else None}
        if self.signer:
            told["issuers"] = certificates.pem(self.signer.signer).decode()
            told["present"] = certificates.pem(*self.signer.bundle).decode()
            told["refusal"] = self.signer.refusal(common["usage"], common["lifetime"], self.now)
            self.warnings = [told["refusal"]] if told["refusal"] else []
        return told

    def _load(self, common: dict) -> tuple:
        """The authorities for servers and for clients, None where there is none."""
        self.lacks = bool(authorities.missing(self.host, self.directory))
        if self.lacks and self.check:
            self.files = self._make(common)
        return tuple(
            authorities.Authority.load(
                self.host, self.directory, purpose, self.options["authority_passphrase"], self.now
            )
            for purpose in authorities.PURPOSES
        )

    def make(self, common: dict) -> dict:
        with _locked(self.host, self.directory):
            self.files = self._make(common)
        return self.told(common)

    def _make(self, common: dict) -> list:
        lifetime = self.options["authority_lifetime"]
        return authorities.make_missing(
            self.host,
            self.directory,
            self.options["authority_passphrase"],
            leaves.duration(lifetime, "dockerd_tls_authority_lifetime"),
            common["skew"],
            self.now,
            self.check,
        )

    def answers(self, requests: dict, wanted: dict, name: str) -> dict:
        if self.check:
            return {}
        return {
            one: self.signer.sign(asked["request"].encode(), wanted[one], self.now).decode()
            for one, asked in requests.items()
        }


class _Outside(_Signer):
    """Hands requests out to somebody else's authority and reads the leaves back."""

    issuers: list

    def told(self, common: dict) -> dict:
        servers, clients = (
            authorities.outside(self.host, self.options[one], "dockerd_tls_external_" + one)
            for one in ("server_authority", "client_authority")
        )
        self.issuers, other = (servers, clients) if _serves(common) else (clients, servers)
        return {
            "issuers": certificates.pem(*self.issuers).decode(),
            "trust": certificates.pem(*other).decode(),
        }

    def answers(self, requests: dict, wanted: dict, name: str) -> dict:
        found = {}
        users = {one["name"]: one["user"] for one in self.options["clients"]}
        for one, asked in requests.items():
            place = name.replace("/", "_")
            if not _serves(self.options):
                place = "clients/%s/%s" % (place, one) if users[one] else "clients/" + one
            elif self.options["user"]:
                place = "users/%s/%s" % (place, self.options["user"])
            request_path = posixpath.join(self.directory, "requests", place + ".csr")
            leaf_path = posixpath.join(self.directory, "leaves", place + ".pem")
            request = asked["request"].encode()
            if request:
                request = authorities.handed_out(request, wanted[one])
            if authorities.hand_out(self.host, request_path, request, self.check):
                self.files.append(request_path)
            answer, why = authorities.read_back(
                self.host, leaf_path, request, wanted[one], self.issuers, self.now
            )
            if answer:
                found[one] = answer.decode()
                continue
            words = "Sign %s and put the leaf into %s (%s)." % (request_path, leaf_path, why)
            (self.warnings if asked["usable"] else self.failures).append(words)
        return found


def _serves(options: dict) -> bool:
    return options["usage"] == "server"


@contextmanager
def _locked(host: Host, directory: str, make: bool = True):
    """Many hosts' tasks run at once; one of them makes the authorities, and the others wait.

    Whoever only reads leaves no trace: where there is no lock, nobody makes any.
    """
    path = posixpath.join(directory, ".lock")
    if not make and host.stat(path) is None:
        yield
        return
    if host.stat(directory) is None:
        host.make_directory(directory, 0o700)
    try:
        file = open(path, "w" if make else "r", encoding="ascii")
    except OSError as error:
        raise HostError("%s: %s" % (path, error.strerror), path=path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX if make else fcntl.LOCK_SH)
        yield
