# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No host is worse for a run that was killed, cut off, or refused by its disk at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[2] / "faults" / "faults.py"
SITUATIONS = ("first", "close", "rollback-listen")
STRIKES = ("kill", "cut", "midway", "erofs")
LIMIT = 20


def test_no_host_is_worse(tmp_path):
    record = tmp_path / "strikes.jsonl"
    done = subprocess.run(
        [
            *(sys.executable, FAULTS, "--record", record, "--limit", str(LIMIT)),
            *("--situations", " ".join(SITUATIONS), "--strikes", " ".join(STRIKES)),
        ],
        check=False,
    )
    struck = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 0
    assert len(struck) >= LIMIT
    assert {one["strike"]["situation"] for one in struck} == set(SITUATIONS)
    assert {one["strike"]["kind"] for one in struck} == set(STRIKES)
    assert {one["release"] for one in struck} >= {"bookworm", "trixie"}
