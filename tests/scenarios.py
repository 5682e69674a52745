# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the Molecule scenarios, and fail where one has nothing to run.

Molecule passes a step whose playbook is missing and a verification without tests with a warning
(molecule 26.10), so a scenario can be green and empty.
"""

from __future__ import annotations

import sys
from pathlib import Path

from molecule.command.base import get_configs
from molecule.shell import LOCAL_CONFIG

PLAYBOOK = {"syntax": "converge", "check": "converge", "idempotence": "converge"}


def missing(config) -> list:
    """Return what the steps of a scenario's test sequence call for and do not have."""
    lacks = []
    for step in config.scenario.test_sequence:
        action, *arguments = step.split()
        if action == "dependency":
            continue
        if action == "verify" and config.verifier.name == "testinfra":
            if not config.verifier._get_tests(arguments):
                lacks.append(f"{step}: no test_*.py in {arguments or config.verifier.directory}")
            continue
        playbooks = config.config_data["ansible"]["playbooks"]
        for name in arguments or [playbooks[PLAYBOOK.get(action, action)]]:
            path = name and Path(config.provisioner.abs_path(name))
            if not path or not path.is_file():
                lacks.append(f"{step}: {path or 'no playbook'} is not there")
    return lacks


def main() -> int:
    """Print the names of the scenarios, or what is wrong with them."""
    args = {"base_config": [LOCAL_CONFIG] if LOCAL_CONFIG else []}
    configs = get_configs(args, {"subcommand": "test"}, (), "molecule/*/molecule.yml")
    found = {Path(config.scenario.directory).name: config for config in configs}
    names = sorted(path.name for path in Path("molecule").iterdir() if path.is_dir())
    wrong = [f"molecule/{name}: no molecule.yml" for name in names if name not in found]
    for name, config in sorted(found.items()):
        wrong += [f"molecule/{name}: {lack}" for lack in missing(config)]
    if wrong or not names:
        print("\n".join(wrong or ["molecule/: no scenario"]), file=sys.stderr)
        return 1
    print(*names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
