#!/usr/bin/python
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dockerd_validate
short_description: Judge Docker daemons by what they do
description:
  - Reads what each daemon of a host is told (daemon.json, effective units, flags, environment,
    certificates) and what it does (live API, sockets, containers, served certificates), and
    judges both by the collection's controls. Nothing is changed.
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
  instances:
    description:
      - The daemons to judge, V(system) or V(user:NAME) for the rootless one of a user.
      - All that the host has, when empty.
    type: list
    elements: str
    default: []
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
        description:
          - The last day of the waiver, V(YYYY-MM-DD). After it the finding counts again, and the
            waiver itself is a finding.
        type: str
        required: true
      instance:
        description: The one daemon that it is for; without it, all.
        type: str
  fail_on:
    description:
      - The lowest severity that fails the task, for a control that failed as for one that could
        not be judged. V(never) only reports.
    type: str
    choices: [low, medium, high, critical, never]
    default: never
  formats:
    description: Formats in which to return the report as text, in RV(reports).
    type: list
    elements: str
    choices: [text, json, junit, sarif, html, prometheus]
    default: []
seealso:
  - module: hardened.docker.dockerd
"""

EXAMPLES = r"""
- name: Judge the daemons
  hardened.docker.dockerd_validate:
  register: verdict

- name: Stop a pipeline at anything high or critical, one finding accepted for now
  hardened.docker.dockerd_validate:
    fail_on: high
    waivers:
      - id: registries
        reason: The old registry goes in January
        expires: "2027-01-31"

- name: Judge, and keep a page for people
  hardened.docker.dockerd_validate:
    formats: [html]
  register: verdict

- name: Put the page on the controller
  ansible.builtin.copy:
    content: "{{ verdict.reports.html }}"
    dest: "reports/{{ inventory_hostname }}.html"
    mode: "0640"
  delegate_to: localhost
"""

RETURN = r"""
starts:
  description:
    - Whether every daemon starts with what it is told. Left out where that cannot be known.
  returned: when known
  type: bool
schema:
  description: Version of the result's form, which C(docs/report.md) describes.
  returned: always
  type: int
tool:
  description: What judged.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    version:
      description: Its version.
      type: str
host:
  description: The name by which the host knows itself.
  returned: always
  type: str
judged_at:
  description: When, by the host's clock.
  returned: always
  type: str
  sample: "2027-01-01T12:00:00Z"
counts:
  description: Failed controls by severity, and how many came out otherwise, by status.
  returned: always
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
instances:
  description: Each daemon in a few facts.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: V(system) or V(user:NAME).
      type: str
    config:
      description: Path of its daemon.json, there or not.
      type: str
    starts:
      description: Whether it starts with what it is told.
      returned: when known
      type: bool
    counts:
      description: As RV(counts), of this daemon.
      type: dict
      contains: *counts
    engine:
      description: What runs.
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
    certificates:
      description: What it serves and trusts.
      type: list
      elements: dict
      contains:
        role:
          description: V(server) or V(authority).
          type: str
        path:
          description: Its file.
          type: str
        subject:
          description: Its subject.
          type: str
        not_after:
          description: Its last second.
          type: str
findings:
  description: Every control's verdict on every daemon.
  returned: always
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
reports:
  description: The report as text, by format.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._dockerd import findings, judgement
from ..module_utils._dockerd.controls import CONTROLS
from ..module_utils._dockerd.errors import DockerdError
from ..module_utils._dockerd.host import Host


def main() -> None:
    waiver = {name: {"type": "str", "required": True} for name in ("id", "reason", "expires")}
    waiver["instance"] = {"type": "str"}
    module = AnsibleModule(
        argument_spec={
            "instances": {"type": "list", "elements": "str", "default": []},
            "waivers": {"type": "list", "elements": "dict", "default": [], "options": waiver},
            "fail_on": {
                "type": "str",
                "choices": [*findings.SEVERITIES, "never"],
                "default": "never",
            },
            "formats": {
                "type": "list",
                "elements": "str",
                # The controller writes them, from what passes its gate.
                "choices": ["text", "json", "junit", "sarif", "html", "prometheus"],
                "default": [],
            },
        },
        supports_check_mode=True,
    )
    try:
        accepted = findings.waivers(module.params["waivers"], CONTROLS)
        judged = judgement.judge(Host(), accepted=accepted, names=module.params["instances"])
    except DockerdError as error:
        module.fail_json(msg=str(error), **error.facts)
    result = judged.as_dict()
    if result["starts"] is None:
        del result["starts"]
    stopping = findings.stopping(judged.findings, module.params["fail_on"])
    if stopping:
        listed = "; ".join(
            "%s on %s %s (%s)" % (one.control.id, one.instance, one.status, one.evidence)
            for one in stopping
        )
        module.fail_json(msg="At %s or above: %s" % (module.params["fail_on"], listed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
