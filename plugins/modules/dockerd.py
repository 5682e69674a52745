#!/usr/bin/python
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd
short_description: Bring a Docker daemon to its desired state in one transaction
description:
  - Writes daemon.json, the drop-ins of C(docker.service) and C(docker.socket), and the unit
    C(docker-tls.socket); sets the owner of the unix socket; reloads or restarts the daemon when
    what it is running differs from what it is told; and proves that the daemon came back.
  - "The whole is one transaction. The candidate is judged first, by the collection's own rules
    and by C(dockerd --validate) where the engine has it, and nothing is touched when it would
    not start. When the daemon does not come back as wanted, the former state is restored byte
    for byte, and the daemon's own words are in the error. A run that was killed is rolled back
    by the next, and after a loss of power by the boot."
  - "Whatever was written when a run is cut off, dockerd starts with it and serves TCP to nobody
    without verification. A drop-in of C(docker.service) looks before each start: where daemon.json
    does not demand verified clients, C(docker-tls.socket) is closed. A file that somebody else
    changes during the run is left as it is, and the task fails."
  - Containers that run survive. Where the daemon lacks C(live-restore), it is added and
    reloaded before anything restarts; where that cannot be, the task refuses.
  - "With O(user) all of that is about the rootless daemon of that user: its files are below the
    user's home and belong to the user, C(systemctl --user) starts it, and it is enabled. The
    ground it stands on is M(hardened.docker.dockerd_rootless)'s work."
  - Directives that somebody else wrote are kept, and named in RV(foreign). Those that conflict
    with the desired state give way, and are named in RV(displaced) with their former value.
version_added: 0.1.0
author:
  - hardened.docker contributors (@hardened-docker)
requirements:
  - systemd, and an engine from 20.10 that is installed already
extends_documentation_fragment:
  - hardened.docker.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  user:
    description: Whose rootless daemon this is about. Left out, it is the system's.
    type: str
  config:
    description:
      - The directives of daemon.json that are ours. A directive that leaves this dictionary
        leaves the host in the next run.
    type: dict
    default: {}
  service_dropin:
    description: A drop-in for C(docker.service). Empty removes it.
    type: str
    default: ""
  socket_dropin:
    description:
      - A drop-in for C(docker.socket). Its C(SocketUser), C(SocketGroup) and C(SocketMode) are
        given to the live socket at once. Empty removes it.
      - A rootless daemon has neither this unit nor O(tls_socket).
    type: str
  tls_socket:
    description: The unit C(docker-tls.socket), which listens on TCP. Empty closes TCP.
    type: str
  socket_group_members:
    description: The users in the unix socket's group, all of them. Left out, nobody is touched.
    type: list
    elements: str
  allow_container_stop:
    description:
      - Accept that a restart stops running containers where C(live-restore) cannot be.
      - Each restart of a rootless daemon ends its containers, because they live in its namespaces.
    type: bool
    default: false
  allow_hidden_data:
    description:
      - Accept that a new C(userns-remap) or C(data-root) hides the images and containers that
        the host has.
    type: bool
    default: false
  predicted_files:
    description:
      - Files that an earlier task would have made, had this not been check mode; see the
        RV(hardened.docker.dockerd_tls#module:files) of M(hardened.docker.dockerd_tls). Otherwise
        ignored.
    type: list
    elements: str
    default: []
  timeout:
    description: How long the daemon may take to come up, in seconds, before all is put back.
    type: int
    default: 60
seealso:
  - module: hardened.docker.dockerd_tls
  - module: hardened.docker.dockerd_validate
"""

EXAMPLES = r"""
- name: Containers survive restarts of the daemon and cannot reach each other
  hardened.docker.dockerd:
    config:
      live-restore: true
      icc: false

- name: Keep a user's containers from each other
  hardened.docker.dockerd:
    user: ci
    config:
      icc: false

- name: Give the unix socket to another group
  hardened.docker.dockerd:
    config:
      live-restore: true
    socket_dropin: |
      [Socket]
      SocketGroup=ci
"""

RETURN = r"""
files:
  description: Paths that were written or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/docker/daemon.json]
activation:
  description: What the daemon needed; V(none), V(reload) or V(restart).
  returned: success
  type: str
reasons:
  description: Why it needed that.
  returned: success
  type: list
  elements: str
foreign:
  description: Directives in daemon.json that are not ours and were kept.
  returned: success
  type: list
  elements: str
displaced:
  description: Settings of somebody else that gave way, with place and former value.
  returned: success
  type: list
  elements: str
left:
  description: Directives of ours that left the host because they left O(config).
  returned: success
  type: list
  elements: str
notes:
  description: What else the operator should know.
  returned: success
  type: list
  elements: str
recovered:
  description: Whether an interrupted run was rolled back first.
  returned: success
  type: bool
restart_seconds:
  description: Time from the reload or restart to the daemon's first answer.
  returned: success
  type: float
engine:
  description: The daemon in a few facts.
  returned: success
  type: dict
  contains:
    version:
      description: The engine's version, empty where it is unknown.
      type: str
    running:
      description: Whether the daemon answers.
      returned: where that can be seen
      type: bool
    containers:
      description: How many containers run.
      returned: where that can be seen
      type: int
    listeners:
      description: Where the daemon is told to listen on TCP.
      type: list
      elements: str
before:
  description: Failed controls by severity before the run, and all others by status.
  returned: success
  type: dict
  contains: &counts
    critical: &number
      description: How many.
      type: int
    high: *number
    medium: *number
    low: *number
    passed: *number
    unknown: *number
    waived: *number
    not applicable: *number
after:
  description: The same after the run.
  returned: success
  type: dict
  contains: *counts
findings:
  description: Controls that still fail, as M(hardened.docker.dockerd_validate) gives them.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The control.
      type: str
    title:
      description: Its rule.
      type: str
    severity:
      description: V(critical), V(high), V(medium) or V(low).
      type: str
    cis:
      description: Ids in the CIS Docker Benchmark, by its version.
      type: dict
    instance:
      description: The daemon.
      type: str
    status:
      description: How it came out.
      type: str
    evidence:
      description: What was seen.
      type: str
    why:
      description: Why it matters.
      type: str
    remedy:
      description: What mends it.
      type: str
    places:
      description: Where it was seen.
      type: list
      elements: dict
      contains:
        path:
          description: A file of the host.
          type: str
        line:
          description: Counted from 1, or V(0) for the whole file.
          type: int
        column:
          description: As V(line).
          type: int
cause:
  description: What did not hold, where the former state was put back.
  returned: failure
  type: str
journal:
  description: What the daemon said of it.
  returned: failure
  type: str
problems:
  description: Everything that is wrong with the candidate, where nothing was touched.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import diff, result, secrets
from ..module_utils._dockerd.errors import DockerdError, Refused
from ..module_utils._dockerd.host import Host
from ..module_utils._dockerd.instance import Instance, rootless
from ..module_utils._dockerd.plan import Desired
from ..module_utils._dockerd.transaction import carry_out


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str"},
            "config": {"type": "dict", "default": {}},
            "service_dropin": {"type": "str", "default": ""},
            "socket_dropin": {"type": "str"},
            "tls_socket": {"type": "str"},
            "socket_group_members": {"type": "list", "elements": "str"},
            "allow_container_stop": {"type": "bool", "default": False},
            "allow_hidden_data": {"type": "bool", "default": False},
            "predicted_files": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 60},
        },
        # Without docker.socket there is nobody to give it to, and dockerd itself listens.
        mutually_exclusive=[
            ("user", "socket_dropin"),
            ("user", "tls_socket"),
            ("user", "socket_group_members"),
        ],
        supports_check_mode=True,
        # What is called with goes to the system log otherwise, with the passwords of proxies in it.
        no_log=True,
    )
    given = module.params
    module.no_log_values.update(secrets([given["config"], given["service_dropin"]]))
    desired = Desired(
        given["config"],
        given["service_dropin"],
        given["socket_dropin"] or "",
        given["tls_socket"] or "",
        given["socket_group_members"],
    )
    if given["timeout"] < 1:
        module.fail_json(msg="dockerd_timeout: %d is no time to come up in" % given["timeout"])
    dangers = ("allow_container_stop", "allow_hidden_data")
    host = Host()
    try:
        instance = rootless(host.known(given["user"])) if given["user"] else Instance()
        if given["user"] and not instance.rootless:
            raise Refused("root has the system's daemon: leave user out.")
        outcome = carry_out(
            instance,
            host,
            desired,
            check=module.check_mode,
            allow=frozenset(instance.variable(name) for name in dangers if given[name]),
            predicted=tuple(given["predicted_files"]) if module.check_mode else (),
            timeout=given["timeout"],
        )
    except DockerdError as error:
        module.fail_json(msg=str(error), **error.facts)
    for note in outcome.plan.notes:
        module.warn(note)
    module.exit_json(diff=diff(outcome.plan), **result(outcome))


if __name__ == "__main__":
    main()
