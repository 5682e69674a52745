#!/usr/bin/python
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd_validate
short_description: Judge a Docker daemon by what it does
description:
  - Reads what the daemon is told (daemon.json, effective units, flags, environment,
    certificates) and what it does (live API, sockets, served certificates), and judges both by
    the collection's controls. Nothing is changed.
  - "A control that cannot be judged is V(unknown), never passed."
version_added: 0.1.0
author:
  - hardened.docker contributors (@hardened-docker)
extends_documentation_fragment:
  - hardened.docker.attributes
attributes:
  check_mode:
    support: full
    details: Reads only, so it does the same in check mode.
  diff_mode:
    support: none
options:
  waivers:
    description: Findings that somebody accepts until a day.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The control.
        type: str
        required: true
      reason:
        description: Why it is accepted.
        type: str
        required: true
      expires:
        description: The last day of the waiver, V(YYYY-MM-DD). After it the finding counts again.
        type: str
        required: true
  fail_on:
    description:
      - The lowest severity that fails the task. V(never) only reports.
    type: str
    choices: [low, medium, high, critical, never]
    default: never
seealso:
  - module: hardened.docker.dockerd
"""

EXAMPLES = r"""
- name: Judge the daemon
  hardened.docker.dockerd_validate:
  register: verdict

- name: Stop a pipeline at anything high or critical, one finding accepted for now
  hardened.docker.dockerd_validate:
    fail_on: high
    waivers:
      - id: registries
        reason: The old registry goes in January
        expires: "2027-01-31"
"""

RETURN = r"""
starts:
  description:
    - Whether dockerd starts with what it is told. Left out where that cannot be known.
  returned: when known
  type: bool
counts:
  description: Failed controls by severity, and how many passed, were unknown or waived.
  returned: always
  type: dict
findings:
  description: Every control's verdict with evidence, reason and remedy.
  returned: always
  type: list
  elements: dict
engine:
  description: The daemon in a few facts; version, running, containers, listeners.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import engine
from ..module_utils._dockerd import findings, snapshot
from ..module_utils._dockerd.controls import CONTROLS
from ..module_utils._dockerd.errors import DockerdError
from ..module_utils._dockerd.host import Host
from ..module_utils._dockerd.instance import Instance


def main() -> None:
    waiver = {name: {"type": "str", "required": True} for name in ("id", "reason", "expires")}
    module = AnsibleModule(
        argument_spec={
            "waivers": {"type": "list", "elements": "dict", "default": [], "options": waiver},
            "fail_on": {
                "type": "str",
                "choices": [*findings.SEVERITIES, "never"],
                "default": "never",
            },
        },
        supports_check_mode=True,
    )
    try:
        accepted = findings.waivers(module.params["waivers"])
        seen = snapshot.read(Instance(), Host())
    except DockerdError as error:
        module.fail_json(msg=str(error), **error.facts)
    found = findings.judge(seen, CONTROLS, accepted)
    result = {
        "counts": findings.count(found),
        "findings": [finding.as_dict() for finding in found],
        "engine": engine(seen),
    }
    starts = findings.starts(found)
    if starts is not None:
        result["starts"] = starts
    level = module.params["fail_on"]
    failing = [] if level == "never" else findings.at_least(found, level)
    if failing:
        listed = "; ".join("%s (%s)" % (one.control.id, one.evidence) for one in failing)
        module.fail_json(msg="Findings at %s or above: %s" % (level, listed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
