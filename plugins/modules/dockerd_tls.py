#!/usr/bin/python
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd_tls
short_description: Keys and certificates for mutual TLS with the Docker daemon
description:
  - Keeps the TLS key, leaf and trust of a Docker daemon, or of its clients, as they should be.
  - "The task has two halves. The module makes the key on the host where it is used, and a
    request for it. The action plugin signs the request on the controller, with an authority
    that is made on first use, and the module puts the leaf in place after judging it by the
    host's own clock and key. A private key never travels; neither does the passphrase."
  - "There are two authorities. C(servers) signs daemons and is trusted by clients; C(clients)
    signs clients and is trusted by daemons. A stolen server key drives nothing."
  - "A new leaf is made when there is none, when it ends within O(renew_before), or when the
    names, the key type, the authority, the common name, the extended key usage or the bounds
    of its life are not as wanted. A renewal keeps the key. A new key waits in a file beside
    the live one, and the live pair stays whole until the new leaf is at hand. Owners and modes
    are corrected without a new leaf."
  - A host whose leaf is good costs one module run, any other two.
  - "The daemon reads its certificate when it starts, so it must be restarted after a change;
    M(hardened.docker.dockerd) sees to it."
version_added: 0.1.0
author:
  - hardened.docker contributors (@hardened-docker)
requirements:
  - cryptography on the controller and on the host (package C(python3-cryptography))
  - cryptography 41 on the host for leaves that an outside authority signs with RSASSA-PSS
  - iproute2 on the host, where O(collect_sans) is true
extends_documentation_fragment:
  - hardened.docker.attributes
attributes:
  check_mode:
    support: full
    details: "Neither key nor authority is made. V(files) names what the real run writes."
  diff_mode:
    support: full
    details: Shows names, dates, fingerprints and modes; never a key.
options:
  usage:
    description: Whose leaf it is, a daemon's or its clients'.
    type: str
    choices: [server, client]
    default: server
  provider:
    description:
      - V(authority) signs with the authorities in O(authority).
      - "V(external) leaves signing to somebody else. Requests are written below
        O(authority) on the controller, to C(requests/HOST.csr) for a server and
        C(requests/clients/...) for a client. The task fails, saying which request waits, until
        a leaf that answers it is in C(leaves/) under the same name with C(.pem); intermediate
        certificates may follow it in that file. While a leaf that is only due for renewal still
        serves, the task warns instead of failing."
      - "V(files) judges O(certificate), O(key) and O(trust), which are on the host already, and
        changes nothing. Servers only."
    type: str
    choices: [authority, external, files]
    default: authority
  packages:
    description: Packages to install on a host that lacks the Python library cryptography.
    type: list
    elements: str
    default: []
  authority:
    description:
      - Directory on the controller that holds the authorities, or with O(provider=external) the
        requests and leaves. Relative paths start at the playbook.
      - "The authorities are C(servers/ca.pem), C(servers/ca-key.pem), C(clients/ca.pem) and
        C(clients/ca-key.pem). A C(ca.pem) is a bundle: its first certificate signs, all of it is
        trusted."
      - Required unless O(provider=files).
    type: path
  authority_passphrase:
    description:
      - Passphrase of the authorities' keys. They are encrypted with it when they are made.
      - It stays on the controller.
    type: str
  authority_lifetime:
    description: How long an authority lives that is made now.
    type: str
    default: 3650d
  replace_authority:
    description:
      - Accept that the place belongs to another authority than the one at hand, and whoever that
        one let in is locked out. Without it the task refuses and nothing is made or written.
      - An authority that shares a certificate or its key with the former one, as in a rotation
        with overlap, is no other.
    type: bool
    default: false
  server_authority:
    description: File on the controller with the authorities that sign servers, for
      O(provider=external).
    type: path
  client_authority:
    description: File on the controller with the authorities that sign clients, for
      O(provider=external).
    type: path
  directory:
    description:
      - "Where the files are. For a server C(server-key.pem) (0400), C(server-cert.pem) and
        C(ca.pem) (0444), all owned by root; V(/etc/docker/tls) unless told."
      - "For clients the directory in which each client without O(clients[].user) has one of its
        own (0700) with C(ca.pem), C(cert.pem) and C(key.pem) (0600), ready for
        C(DOCKER_CERT_PATH)."
    type: path
  certificate:
    description: The server's certificate, with intermediates, for O(provider=files).
    type: path
    default: /etc/docker/tls/server-cert.pem
  key:
    description: The server's private key, for O(provider=files).
    type: path
    default: /etc/docker/tls/server-key.pem
  trust:
    description: The authorities of clients that the daemon trusts, for O(provider=files).
    type: path
    default: /etc/docker/tls/ca.pem
  user:
    description:
      - The user whose rootless daemon the server's leaf is for. The files belong to this user,
        and are below C(~/.config/docker/tls) unless O(directory) tells.
      - Not for O(provider=external), which knows one server a host.
    type: str
  common_name:
    description: Common name of a server's leaf. The inventory name unless told.
    type: str
  sans:
    description: Names and addresses by which clients call the server.
    type: list
    elements: str
    default: []
  collect_sans:
    description:
      - "Whether the inventory name, C(ansible_host), the host's name and full name (from
        C(/etc/hosts), never from DNS), its addresses and localhost are added to O(sans)."
      - Link-local, temporary and deprecated addresses are left out, and those of bridges whose
        ports are containers or virtual machines only.
      - "Turn it off where addresses wander from host to host, because each change of addresses
        makes a new leaf."
      - "A host cannot claim what is another's unless O(sans) allows it: inventory name,
        C(ansible_host) and the role's C(dockerd_tls_server_sans) of every other host, and no
        wildcard. The task refuses then. V(false) signs O(sans) and nothing else."
    type: bool
    default: true
  key_type:
    description:
      - Kind of the leaf's key. All of them are taken by every supported dockerd and by clients
        in Go, in TLS 1.2 and 1.3.
      - "V(ed25519) needs a client whose library knows it: Go since 1.13, OpenSSL since 1.1.1;
        browsers and some appliances do not."
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
    default: ecdsa-p256
  lifetime:
    description:
      - "How long a leaf lives: a number and one of s, m, h, d, w, y (365 days)."
      - V(90d) for a server and V(30d) for a client unless told.
    type: str
  renew_before:
    description:
      - How long before its end a leaf is renewed.
      - V(30d) for a server and V(10d) for a client unless told.
    type: str
  clock_skew:
    description:
      - How far the host's clock and the controller's may be apart. More is refused.
      - A leaf's life begins this much before it is signed.
    type: str
    default: 5m
  clients:
    description: The clients that are kept at this place, for O(usage=client).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Common name of the leaf, and name of its directory.
        type: str
        required: true
      hosts:
        description:
          - Inventory names of the hosts where the client lives. Chosen by the role
            P(hardened.docker.dockerd_tls#role); the module itself serves the host it runs on.
        type: list
        elements: str
      user:
        description:
          - User of the host to whom the client belongs. The files are written as this user,
            below C(~/.docker/NAME), with C(docker.env) beside them, an environment file for a
            shell or for systemd's C(EnvironmentFile).
          - Needed with O(clients[].hosts).
        type: str
      docker_host:
        description: Value of C(DOCKER_HOST) in the environment file.
        type: str
  exchange:
    description: What the action plugin tells its module. Not for playbooks.
    type: dict
    suboptions:
      controller_time:
        description: The controller's clock, in seconds since the epoch.
        type: float
      look:
        description: Whether to look only, as in check mode, because there is no authority yet.
        type: bool
        default: false
      issuers:
        description: Authorities that may have signed a leaf, PEM.
        type: str
      present:
        description: All certificates of the authority that signs, former ones too, PEM.
        type: str
      trust:
        description: Authorities of the other side, PEM.
        type: str
      names:
        description: What the inventory calls the host.
        type: list
        elements: str
        default: []
      refusal:
        description: Why nothing can be signed at present.
        type: str
      certificates:
        description: Signed leaves by name, PEM; the second half of the task.
        type: dict
        default: {}
seealso:
  - module: hardened.docker.dockerd
  - name: Protect the Docker daemon socket
    description: Docker's own page on TLS.
    link: https://docs.docker.com/engine/security/protect-access/
"""

EXAMPLES = r"""
- name: Give the daemon its certificate
  hardened.docker.dockerd_tls:
    authority: "{{ inventory_dir }}/dockerd-authority"
    sans:
      - docker.example.org
  become: true

- name: Give two people on the controller a directory for DOCKER_CERT_PATH
  hardened.docker.dockerd_tls:
    usage: client
    authority: "{{ inventory_dir }}/dockerd-authority"
    directory: "{{ inventory_dir }}/dockerd-clients"
    clients:
      - name: alice
      - name: bob
  delegate_to: localhost
  run_once: true

- name: Give a CI agent its certificate, key and environment file
  hardened.docker.dockerd_tls:
    usage: client
    authority: "{{ inventory_dir }}/dockerd-authority"
    clients:
      - name: ci
        user: gitlab-runner
        docker_host: tcp://docker1.example.org:2376
  become: true

- name: Judge a certificate that another tool keeps
  hardened.docker.dockerd_tls:
    provider: files
    certificate: /etc/pki/docker/cert.pem
    key: /etc/pki/docker/key.pem
    trust: /etc/pki/docker/clients.pem
    collect_sans: false
    sans: [docker1.example.org]
  become: true
"""

RETURN = r"""
files:
  description: Paths on the host that were, or in check mode would be, written or corrected.
  returned: success
  type: list
  elements: str
  sample: [/etc/docker/tls/ca.pem, /etc/docker/tls/server-cert.pem, /etc/docker/tls/server-key.pem]
controller_files:
  description: Paths on the controller that were, or in check mode would be, written.
  returned: success
  type: list
  elements: str
  sample: []
leaves:
  description:
    - Each leaf as it is after the task, in check mode as it is now.
    - Where there is none yet, only V(name), V(reasons) and the paths are known.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The common name.
      type: str
      sample: web1
    reasons:
      description: Why a new leaf was, or would be, made; empty where it was good.
      type: list
      elements: str
      sample: ["the leaf expires in 3 days, inside dockerd_tls_renew_before (30 days)"]
    certificate:
      description: Path of the leaf.
      type: str
      sample: /etc/docker/tls/server-cert.pem
    key:
      description: Path of its key.
      type: str
      sample: /etc/docker/tls/server-key.pem
    trust:
      description: Path of the other side's authorities.
      type: str
      sample: /etc/docker/tls/ca.pem
    subject:
      description: Its subject.
      returned: where there is a leaf
      type: str
      sample: CN=web1
    issuer:
      description: The subject of the authority that signed it.
      returned: where there is a leaf
      type: str
      sample: CN=Docker servers authority 5f0c12ab
    sans:
      description: Its subject alternative names.
      returned: where there is a leaf
      type: list
      elements: str
      sample: [localhost, web1, 127.0.0.1, 192.0.2.10]
    usages:
      description: Its extended key usages.
      returned: where there is a leaf
      type: list
      elements: str
      sample: [serverAuth]
    key_type:
      description: Kind of its key.
      returned: where there is a leaf
      type: str
      sample: ecdsa-p256
    not_before:
      description: Its first second.
      returned: where there is a leaf
      type: str
      sample: "2027-01-01T11:55:00Z"
    not_after:
      description: Its last second.
      returned: where there is a leaf
      type: str
      sample: "2027-04-01T12:00:00Z"
    fingerprint:
      description: Its SHA-256.
      returned: where there is a leaf
      type: str
      sample: 9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a
"""

import fcntl
import os
import posixpath
import pwd
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._dockerd import certificates, leaves, names
from ..module_utils._dockerd.errors import DockerdError, HostError, Refused
from ..module_utils._dockerd.host import Host

STATE = "/var/lib/hardened-docker/tls"

ARGUMENTS = {
    "usage": {"choices": ["server", "client"], "default": "server"},
    "provider": {"choices": ["authority", "external", "files"], "default": "authority"},
    "packages": {"type": "list", "elements": "str", "default": []},
    "authority": {"type": "path"},
    "authority_passphrase": {"no_log": True},
    "authority_lifetime": {"default": "3650d"},
    "replace_authority": {"type": "bool", "default": False},
    "server_authority": {"type": "path"},
    "client_authority": {"type": "path"},
    "directory": {"type": "path"},
    "certificate": {"type": "path", "default": "/etc/docker/tls/server-cert.pem"},
    "key": {"type": "path", "default": "/etc/docker/tls/server-key.pem", "no_log": False},
    "trust": {"type": "path", "default": "/etc/docker/tls/ca.pem"},
    "user": {},
    "common_name": {},
    "sans": {"type": "list", "elements": "str", "default": []},
    "collect_sans": {"type": "bool", "default": True},
    "key_type": {
        "choices": ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"],
        "default": "ecdsa-p256",
        "no_log": False,
    },
    "lifetime": {},
    "renew_before": {},
    "clock_skew": {"default": "5m"},
    "clients": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"required": True},
            "hosts": {"type": "list", "elements": "str"},
            "user": {},
            "docker_host": {},
        },
        "required_by": {"hosts": ["user"]},
    },
    "exchange": {
        "type": "dict",
        "options": {
            "controller_time": {"type": "float"},
            "look": {"type": "bool", "default": False},
            "issuers": {},
            "present": {},
            "trust": {},
            "names": {"type": "list", "elements": "str", "default": []},
            "refusal": {},
            "certificates": {"type": "dict", "default": {}},
        },
    },
}


def place(params: dict) -> str:
    """The directory that was asked for. Raises Refused where it depends on who looks."""
    directory = params["directory"] or "/etc/docker/tls"
    if not posixpath.isabs(directory):
        raise Refused(
            "dockerd_tls_%s: %r is no absolute path."
            % ("directory" if params["usage"] == "server" else "client_directory", directory)
        )
    return directory


def server(params: dict, host: Host) -> leaves.Leaf:
    """The daemon's leaf."""
    sans = names.sans(params["sans"], "dockerd_tls_server_sans")
    if params["collect_sans"]:
        found = names.collect(host, params["exchange"]["names"])
        sans = names.sans([*sans, *found], "dockerd_tls_server_sans")
    owner = {}
    if params["user"]:
        user = host.known(params["user"])
        owner = {"uid": user.uid, "gid": user.gid}
        directory = params["directory"] or posixpath.join(user.home, ".config/docker/tls")
    else:
        directory = place(params)
    return leaves.Leaf(
        name=params["common_name"],
        common_name=params["common_name"],
        certificate=posixpath.join(directory, "server-cert.pem"),
        key=posixpath.join(directory, "server-key.pem"),
        trust=posixpath.join(directory, "ca.pem"),
        sans=sans,
        **owner,
        **leaves.wanted(params),
    )


def client(params: dict, one: dict) -> leaves.Leaf:
    """A client's leaf: a user's, below the home directory, or one of this place."""
    if one["user"]:
        try:
            user = pwd.getpwnam(one["user"])
        except KeyError:
            raise Refused(
                "dockerd_tls_clients: client %s belongs to user %s, who is not on this host. Make "
                "the user first." % (one["name"], one["user"])
            ) from None
        owner = {"uid": user.pw_uid, "gid": user.pw_gid}
        directory = posixpath.join(user.pw_dir, ".docker", one["name"])
        environment = leaves.environment(directory, one["docker_host"])
        extra = {posixpath.join(directory, "docker.env"): environment}
    else:
        owner = {"uid": os.geteuid(), "gid": os.getegid()}
        directory = posixpath.join(place(params), one["name"])
        extra = {posixpath.join(place(params), ".gitignore"): b"*\n"}
    return leaves.Leaf(
        name=one["name"],
        common_name=one["name"],
        certificate=posixpath.join(directory, "cert.pem"),
        key=posixpath.join(directory, "key.pem"),
        trust=posixpath.join(directory, "ca.pem"),
        extra=extra,
        **owner,
        **leaves.wanted(params),
    )


@contextmanager
def acting_for(leaf: leaves.Leaf):
    """Work as the leaf's owner: links in a user's home must not lead root astray."""
    if os.geteuid() != 0 or leaf.uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(leaf.gid)
    os.seteuid(leaf.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def examine(params: dict, host: Host, now: datetime) -> dict:
    """Judge the files of another tool."""
    leaf = leaves.Leaf(
        name=params["common_name"],
        certificate=params["certificate"],
        key=params["key"],
        trust=params["trust"],
        sans=names.sans(params["sans"], "dockerd_tls_server_sans"),
        **leaves.wanted(params),
    )
    verdict = leaves.examine(host, leaf, now)
    if verdict.faults:
        raise Refused("%s does not serve: %s." % (leaf.certificate, "; ".join(verdict.faults)))
    chain = certificates.certificates(host.read(leaf.certificate), leaf.certificate)
    warnings = [verdict.due] if verdict.due else []
    return {"leaves": [report(leaf, chain, [])], "files": [], "warnings": warnings}


def keep(params: dict, host: Host, now: datetime, check: bool) -> dict:
    """Bring each leaf as far as it goes with the answers at hand; nobody's before all are judged.

    ``requests`` in the result are those that wait for an answer.
    """
    told = params["exchange"]
    if params["usage"] == "server":
        wanted = [server(params, host)]
    else:
        wanted = [client(params, one) for one in params["clients"]]
    issuers = bundle(told["issuers"]) or None
    plans, completed = [], set()
    for leaf in wanted:
        with acting_for(leaf):
            # What a run that was cut off had decided on, comes before all that is judged here.
            host, files = leaves.complete(host, leaf, check)
            completed.update(files)
            if not params["replace_authority"]:
                present = bundle(told["present"]) or issuers or []
                leaves.check_authority(host, leaf, bundle(told["trust"]), present, now)
            trust = (told["trust"] or "").encode()
            plans.append(leaves.plan(host, leaf, trust, issuers, now, told["refusal"]))
    changed = bool(completed)
    result: dict = {"files": completed, "leaves": [], "requests": [], "diff": []}
    signs = check and params["provider"] == "authority"  # the real run will have an answer
    for plan in plans:
        leaf, answer = plan.leaf, told["certificates"].get(plan.leaf.name)
        with acting_for(leaf):
            if check:
                request = leaves.request_at_hand(host, plan)
            else:
                answer = answer.encode() if answer else None
                request = leaves.advance(host, plan, answer, issuers, now)
            if plan.waits:
                result["requests"].append(
                    {
                        "name": leaf.name,
                        "request": request.decode(),
                        "sans": leaf.sans,
                        "usable": plan.usable,
                    }
                )
            complete = not plan.waits or bool(answer) or signs
            changed |= plan.changed if complete else plan.begun
            if plan.changed and complete:
                result["files"].update(plan.files)
                result["diff"].append(
                    {
                        "before_header": leaf.certificate,
                        "after_header": leaf.certificate,
                        "before": plan.before,
                        "after": leaves.expected(host, plan),
                    }
                )
        result["leaves"].append(report(leaf, plan.chain, plan.reasons))
    result["files"] = sorted(result["files"])
    return {"changed": changed, **result}


def bundle(text: str | None) -> list:
    """Certificates that the action plugin sent along, where they can be read."""
    # Without the library a check of a virgin host goes as far as it can.
    if not text or certificates.MISSING:
        return []
    return certificates.certificates(text.encode(), "the authority's bundle")


@contextmanager
def alone(params: dict, host: Host):
    """Keep every other run away from the same files until this one is through with them."""
    if params["usage"] == "client" and not all(one["user"] for one in params["clients"]):
        # The people who share it need not be root, and have no other place in common.
        with locked_above(place(params)):
            yield
        return
    host.make_directory(STATE, 0o700)
    with host.locked(STATE + "/lock"):
        yield


@contextmanager
def locked_above(path: str):
    """Hold the lock of the directory in which ``path`` is or will be, flock(2).

    Nothing is made for it: what is refused must not leave a trace. Raises HostError.
    """
    while True:
        above = existing(posixpath.dirname(path))
        try:
            handle = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise HostError("%s: %s" % (above, error.strerror), path=above) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it may have made what was missing.
            if existing(posixpath.dirname(path)) == above:
                yield
                return
        finally:
            os.close(handle)


def existing(path: str) -> str:
    """The directory, or the nearest above it that is there."""
    while not os.path.isdir(path):
        path = posixpath.dirname(path)
    return path


def report(leaf: leaves.Leaf, chain: list, reasons: list) -> dict:
    """A leaf for the task's result."""
    about = certificates.describe(chain[0]) if chain else {}
    paths = {"certificate": leaf.certificate, "key": leaf.key, "trust": leaf.trust}
    return {"name": leaf.name, "reasons": reasons, **paths, **about}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    host, now = Host("/"), datetime.now(timezone.utc)
    params = module.params
    try:
        if params["exchange"] is None:
            raise DockerdError("This module works together with its action plugin only.")
        if params["provider"] == "files":
            module.exit_json(changed=False, **examine(params, host, now))
        told = datetime.fromtimestamp(params["exchange"]["controller_time"], timezone.utc)
        skew = leaves.duration(params["clock_skew"], "dockerd_tls_clock_skew")
        leaves.check_clock(now, told, skew)
        check = module.check_mode or params["exchange"]["look"]
        with nullcontext() if check else alone(params, host):
            module.exit_json(**keep(params, host, now, check))
    except DockerdError as error:
        module.fail_json(msg=str(error), **error.facts)


if __name__ == "__main__":
    main()
