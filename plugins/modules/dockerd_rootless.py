#!/usr/bin/python
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd_rootless
short_description: Prepare a host for Docker daemons that belong to users
description:
  - Lays the ground for all users of a host in one run. On it, M(hardened.docker.dockerd) with
    O(hardened.docker.dockerd#module:user) sets up a daemon.
  - "A user gets: an account, where O(users[].create) says so; 65,536 subordinate user and group
    ids that are nobody else's, in C(/etc/subuid) and C(/etc/subgid); a manager that systemd starts
    at boot (linger); a docker context by the name of C(rootless)."
  - "The host gets: the unit C(docker.service) for users' managers, unless a package brought it;
    the delegation of cpu, cpuset, io, memory and pids to them; an AppArmor profile for rootlesskit
    where C(kernel.apparmor_restrict_unprivileged_userns) is 1 and it has none;
    C(net.ipv4.ip_unprivileged_port_start) where O(lowest_port) asks for it."
  - "What cannot carry a rootless daemon is refused before anything is touched: a kernel without
    user namespaces, missing programs, no user bus, no home, a home on a file system without owners
    of files."
  - What somebody else set up is used and kept. What was made here is remembered and goes with the
    last user. A run that was killed is finished by the next.
version_added: 0.1.0
author:
  - hardened.docker contributors (@hardened-docker)
requirements:
  - systemd with logind, uidmap, dbus-user-session, rootlesskit, slirp4netns, an engine from 20.10
extends_documentation_fragment:
  - hardened.docker.attributes
attributes:
  check_mode:
    support: full
    details: For a user who would be made, the steps that depend on the account are named as one.
  diff_mode:
    support: full
options:
  users:
    description: The users this is about. Others are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      state:
        description:
          - V(absent) stops the daemon, takes its files and its ground away, and keeps the account,
            and the containers with the ids that they belong to.
        type: str
        choices: [present, absent]
        default: present
      create:
        description: Whether a user who is not there is made.
        type: bool
        default: true
      shell:
        description: The login shell of a user who is made.
        type: str
        default: /bin/bash
      data_root:
        description: Where the user's containers lie, if not below the home.
        type: path
      purge:
        description: Take the containers of an absent user away, too, and then the subordinate ids.
        type: bool
        default: false
      listen:
        description:
          - Addresses and ports on which the daemon will listen, as in V(0.0.0.0:2376). What cannot
            be is refused here, before anything is touched; O(hardened.docker.dockerd#module:config)
            is what makes it listen.
        type: list
        elements: str
        default: []
  lowest_port:
    description: The first port that users may publish. It counts for every process of the host.
    type: int
    default: 1024
  exclusive:
    description:
      - Stop, disable and mask the system's daemon, so that the users' are the only ones. Turned
        off again, it is back as it was, with the containers that ran.
    type: bool
    default: false
  allow_container_stop:
    description:
      - Accept that O(exclusive) and O(users[].state=absent) stop running containers. Those of a
        system's daemon with C(live-restore) run on without it.
    type: bool
    default: false
seealso:
  - module: hardened.docker.dockerd
"""

EXAMPLES = r"""
- name: Prepare the host for two daemons, and nothing else
  hardened.docker.dockerd_rootless:
    users:
      - name: ci
      - name: staging
    exclusive: true

- name: Take one of them away, with its containers
  hardened.docker.dockerd_rootless:
    users:
      - name: staging
        state: absent
        purge: true
    allow_container_stop: true
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/subuid", "write /etc/subgid", "start the manager of ci at boot"]
users:
  description:
    - The users named, in their order. Where V(ready) is false the user is absent, or check mode
      would have made the account, and only the name is known.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
    ready:
      description: Whether a daemon can be set up; false where that failed, too.
      type: bool
    uid:
      description: The number.
      returned: where the account is known
      type: int
    home:
      description: The home.
      returned: where the account is known
      type: str
    socket:
      description: The daemon's unix socket.
      returned: where the account is known
      type: str
      sample: /run/user/1000/docker.sock
    config:
      description: The daemon's configuration.
      returned: where the account is known
      type: str
      sample: /home/ci/.config/docker/daemon.json
    data_root:
      description:
        - Where the user's containers belong, without a symbolic link, which runc refuses. Empty for
          the default.
      returned: where the account is known
      type: str
    tls:
      description: Where the daemon's key and certificate belong.
      returned: where the account is known
      type: str
      sample: /home/ci/.config/docker/tls
system_returns:
  description: Whether the system's daemon was given back, or in check mode would be.
  returned: success
  type: bool
notes:
  description: What else the operator should know.
  returned: success
  type: list
  elements: str
failures:
  description:
    - What went wrong, by user. The others are prepared, and all other values are returned, too.
  returned: failure
  type: dict
problems:
  description: Everything that is wrong with the ground, where nothing was touched.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._dockerd.errors import DockerdError
from ..module_utils._dockerd.groundwork import prepare
from ..module_utils._dockerd.host import Host
from ..module_utils._dockerd.wanted import Wanted


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "state": {"choices": ["present", "absent"], "default": "present"},
                    "create": {"type": "bool", "default": True},
                    "shell": {"type": "str", "default": "/bin/bash"},
                    "data_root": {"type": "path"},
                    "purge": {"type": "bool", "default": False},
                    "listen": {"type": "list", "elements": "str", "default": []},
                },
            },
            "lowest_port": {"type": "int", "default": 1024},
            "exclusive": {"type": "bool", "default": False},
            "allow_container_stop": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    users = [
        Wanted(
            one["name"],
            one["state"] == "absent",
            one["create"],
            one["shell"],
            one["data_root"] or "",
            one["purge"],
            tuple(one["listen"]),
        )
        for one in given["users"]
    ]
    stop = ["dockerd_rootless_allow_container_stop"] if given["allow_container_stop"] else []
    try:
        work = prepare(
            Host(),
            users,
            given["lowest_port"],
            given["exclusive"],
            frozenset(stop),
            module.check_mode,
        )
    except DockerdError as error:
        module.fail_json(msg=str(error), **error.facts)
    for note in work.notes:
        module.warn(note)
    result = {
        "changed": bool(work.done),
        "steps": work.done,
        "users": work.users,
        "notes": work.notes,
        "system_returns": work.system_returns,
        "diff": work.diff,
    }
    if work.failures:
        module.fail_json(
            msg=" ".join("%s: %s" % pair for pair in work.failures.items()),
            failures=work.failures,
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
