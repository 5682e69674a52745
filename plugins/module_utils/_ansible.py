# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between Ansible and the core: the only file that knows both.

Private to the collection; it may change without notice.
"""

from __future__ import annotations

import json
import re

from ._dockerd.findings import FAILED, Finding, count, redact
from ._dockerd.host import as_text
from ._dockerd.judgement import engine
from ._dockerd.plan import Plan
from ._dockerd.transaction import Outcome


def secrets(config: object) -> set[str]:
    """The credentials in the URLs of a configuration, for Ansible to keep out of its output."""
    if isinstance(config, dict):
        return set().union(*map(secrets, config.values()))
    if isinstance(config, list):
        return set().union(*map(secrets, config))
    return set(re.findall(r"://([^/\s]+)@", config)) if isinstance(config, str) else set()


def diff(plan: Plan) -> list[dict]:
    """What ``--diff`` shows, without the credentials that URLs may carry."""
    shown = [
        {
            "before_header": change.path if change.before is not None else "no file",
            "after_header": change.path if change.after is not None else "no file",
            "before": redact(as_text(change.before)),
            "after": redact(as_text(change.after)),
        }
        for change in plan.files
    ]
    if plan.inode:
        shown.append(_pair(plan.snapshot.instance.socket_path, *map(_owner, plan.inode)))
    if plan.members:
        group, before, after = plan.members
        shown.append(_pair("members of group %s" % group, "\n".join(before), "\n".join(after)))
    if plan.activation != "none":
        reasons = "".join("# %s\n" % gap.what for gap in plan.gaps)
        shown.append(_pair("activation", "", "%s%s\n" % (reasons, plan.activation)))
    return shown


def _owner(owner: tuple) -> str:
    return "%s:%s %04o\n" % owner


def _pair(header: str, before: str, after: str) -> dict:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def failures(found: list[Finding]) -> list[dict]:
    """The findings that failed, as data."""
    return [finding.as_dict() for finding in found if finding.status == FAILED]


def result(outcome: Outcome) -> dict:
    """A transaction's outcome as a module's return values."""
    plan = outcome.plan
    return {
        "changed": plan.changed or outcome.recovered,
        "files": [change.path for change in plan.files],
        "activation": plan.activation,
        "reasons": [gap.what for gap in plan.gaps],
        "foreign": plan.foreign,
        "displaced": [
            redact(place if str(value) in place else "%s: %s" % (place, json.dumps(value)))
            for place, value in plan.displaced.items()
        ],
        "left": plan.left,
        "notes": plan.notes,
        "recovered": outcome.recovered,
        "restart_seconds": round(outcome.seconds, 2),
        "engine": engine(outcome.snapshot),
        "before": count(outcome.before),
        "after": count(outcome.after),
        "findings": failures(outcome.after),
    }
