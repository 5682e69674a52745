# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of dockerd_tls: it signs. An authority's key never leaves it."""

from __future__ import annotations

import fcntl
import posixpath
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone

from ansible.plugins.action import ActionBase

from ..module_utils._dockerd import authorities, certificates, leaves, names
from ..module_utils._dockerd.errors import DockerdError, HostError, Refused
from ..module_utils._dockerd.host import Host
from ..modules.dockerd_tls import ARGUMENTS

MODULE = "hardened.docker.dockerd_tls"
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


class ActionModule(ActionBase):
    """Runs the module, signs what it asks for, and runs it again with the answers."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        required = [
            ("provider", "authority", ("authority",)),
            ("provider", "external", ("authority", "server_authority", "client_authority")),
        ]
        options = self.validate_argument_spec(ARGUMENTS, required_if=required)[1]
        try:
            result.update(self._keep(options, task_vars))
        except DockerdError as error:
            result.update(failed=True, msg=str(error), **error.facts)
        return result

    def _keep(self, options: dict, task_vars: dict) -> dict:
        now, check = datetime.now(timezone.utc), self._task.check_mode
        common = _validated(options, str(task_vars["inventory_hostname"]))
        if options["provider"] == "files":
            return self._execute(options, {}, task_vars)
        address = self._templar.template(task_vars.get("ansible_host"))
        told = {
            "controller_time": now.timestamp(),
            "names": [str(name) for name in (task_vars["inventory_hostname"], address) if name],
        }
        for name in ("authority", "server_authority", "client_authority"):
            options[name] = options[name] and self._loader.path_dwim(options[name])
        kind = _Ours if options["provider"] == "authority" else _Outside
        signer = kind(options, options["authority"], now, check)
        told.update(signer.told(common))
        first = self._execute(options, told, task_vars)
        if first.get("missing") == "cryptography" and options["packages"]:
            installed = self._install(options["packages"], task_vars)
            if installed.get("failed"):
                return installed
            first = self._execute(options, told, task_vars)
        requests = first.pop("requests", {})
        if first.get("failed"):
            return first
        _check_asked(requests, options)
        wanted = {name: _leaf(name, asked, options, common) for name, asked in requests.items()}
        _check_claims(wanted.values(), options, task_vars)
        answers = signer.answers(requests, wanted, task_vars["inventory_hostname"])
        if answers:
            told["certificates"] = answers
            sans = next(iter(wanted.values())).sans
            # The names that were signed, should an address have come or gone meanwhile.
            again = {**options, "sans": list(sans), "collect_sans": False}
            second = self._execute(again, told, task_vars)
            second.pop("requests", None)
            first = _merged(first, second)
        first["warnings"] = first.get("warnings", []) + signer.warnings
        first["controller_files"] = signer.files
        first["changed"] = bool(first.get("changed") or signer.files)
        if signer.failures and not first.get("failed"):
            first.update(failed=True, msg=" ".join(signer.failures))
        if signer.files:
            made = {"before": "", "after": "".join(path + "\n" for path in signer.files)}
            header = "files on the controller"
            made.update(before_header=header, after_header=header)
            first["diff"] = [made, *first.get("diff", [])]
        return first

    def _install(self, packages: list, task_vars: dict) -> dict:
        """Only where the library is missing: a host that has it pays for no look-up of packages."""
        task = self._task.copy()
        task.args = {"name": packages, "state": "present"}
        action = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.package",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        return action.run(task_vars=task_vars)

    def _execute(self, options: dict, told: dict, task_vars: dict) -> dict:
        arguments = {
            name: value
            for name, value in options.items()
            if name not in CONTROLLER_ONLY and value is not None
        }
        # As written: a ~ in it is the host's, not the controller's.
        paths = ("directory", "certificate", "key", "trust")
        arguments.update({name: self._task.args[name] for name in paths if name in self._task.args})
        return self._execute_module(
            module_name=MODULE, module_args={**arguments, "exchange": told}, task_vars=task_vars
        )


def _validated(options: dict, name: str) -> dict:
    """What can be judged before anything runs; fills in the common name."""
    certificates.need()
    common = leaves.wanted(options)
    leaves.duration(options["authority_lifetime"], "dockerd_tls_authority_lifetime")
    names.sans(options["sans"], "dockerd_tls_server_sans")
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


def _leaf(name: str, asked: dict, options: dict, common: dict) -> leaves.Leaf:
    """The controller's own view of a leaf; of the host's words only the names are taken."""
    common_name = options["common_name"] if options["usage"] == "server" else name
    return leaves.Leaf(
        name,
        certificate="",
        key="",
        trust="",
        common_name=common_name,
        sans=tuple(asked["sans"]),
        **common,
    )


def _check_asked(requests: dict, options: dict) -> None:
    """A host must not get a certificate that nobody wants it to have."""
    clients = {one["name"] for one in options["clients"]}
    unasked = sorted(set(requests) - clients) if options["usage"] == "client" else []
    if unasked or (options["usage"] == "server" and len(requests) > 1):
        raise Refused(
            "This host asks for certificates of %s, which are not in dockerd_tls_clients. Nothing "
            "was signed; look at who answers there." % ", ".join(unasked or sorted(requests))
        )


def _check_claims(wanted, options: dict, task_vars: dict) -> None:
    """A host must not get a certificate in the name of another."""
    own = {str(task_vars["inventory_hostname"]).lower(), *LOCAL}
    own.update(names.sans(options["sans"], "dockerd_tls_server_sans"))
    for leaf in wanted:
        foreign = [name for name in leaf.sans if name not in own and name in task_vars["hostvars"]]
        if foreign:
            raise Refused(
                "This host calls itself %s, which is another host of the inventory. A leaf in that "
                "name would let it pose as the other. If it is meant, say so in "
                "dockerd_tls_server_sans." % ", ".join(foreign)
            )


def _merged(first: dict, second: dict) -> dict:
    if second.get("failed"):
        return {**second, "changed": bool(first.get("changed"))}
    reasons = {leaf["name"]: leaf["reasons"] for leaf in first["leaves"]}
    for leaf in second["leaves"]:
        leaf["reasons"] = reasons[leaf["name"]]
    return {
        **second,
        "changed": bool(first["changed"] or second["changed"]),
        "files": sorted({*first["files"], *second["files"]}),
        "diff": first["diff"] + second["diff"],
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

    def told(self, common: dict) -> dict:
        """What the module must know of the authorities."""
        raise NotImplementedError

    def answers(self, requests: dict, wanted: dict, name: str) -> dict:
        """Leaves by name, PEM, for as many of the requests as there are."""
        raise NotImplementedError


class _Ours(_Signer):
    """Signs with the authorities on the controller, which are made on first use."""

    signer: authorities.Authority | None = None

    def told(self, common: dict) -> dict:
        secret = self.options["authority_passphrase"]
        if authorities.missing(self.host, self.directory):
            lifetime = leaves.duration(
                self.options["authority_lifetime"], "dockerd_tls_authority_lifetime"
            )
            with nullcontext() if self.check else _locked(self.host, self.directory):
                self.files = authorities.make_missing(
                    self.host,
                    self.directory,
                    secret,
                    lifetime,
                    common["skew"],
                    self.now,
                    self.check,
                )
        servers, clients = (
            authorities.Authority.load(self.host, self.directory, purpose, secret, self.now)
            for purpose in authorities.PURPOSES
        )
        self.signer, other = (servers, clients) if _serves(common) else (clients, servers)
        told = {"trust": certificates.pem(*other.bundle).decode() if other else None}
        if self.signer:
            told["issuers"] = certificates.pem(self.signer.signer).decode()
            told["refusal"] = self.signer.refusal(common["usage"], common["lifetime"], self.now)
            self.warnings = [told["refusal"]] if told["refusal"] else []
        return told

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
def _locked(host: Host, directory: str):
    """Many hosts' tasks run at once; one of them makes the authorities."""
    if host.stat(directory) is None:
        host.make_directory(directory, 0o700)
    path = posixpath.join(directory, ".lock")
    try:
        with open(path, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise HostError("%s: %s" % (path, error.strerror), path=path) from error
