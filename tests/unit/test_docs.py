# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from _dockerd.controls import CONTROLS
from _dockerd.controls.rootless import FUTILE

TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md"]
PAGES += [TOP / "docs" / name for name in ("architecture.md", "report.md", "threat-model.md")]
CORE = TOP / "plugins" / "module_utils" / "_dockerd"
# A word in backquotes that names a place of this project.
PLACE = re.compile(
    r"`((?:docs|galaxy\.yml|Makefile|meta|molecule|playbooks|plugins|pyproject|roles|tests)[^`]*)`"
)


def test_controls_are_those_of_the_table():
    words = [sys.executable, str(TOP / "docs" / "controls.py")]
    now = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert (TOP / "docs" / "controls.md").read_text(encoding="utf-8") == now, (
        "run: python3 docs/controls.py > docs/controls.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    places = [one for one in PLACE.findall(text) if re.fullmatch(r"[\w./-]+", one) and "/" in one]
    missing = [one for one in links if not (page.parent / one).exists()]
    missing += [one for one in places if not (TOP / one).exists()]
    assert links + places
    assert not missing


def test_the_house_has_every_file_of_the_core():
    house = (TOP / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[3]
    files = [path for path in CORE.rglob("*.py") if path.name != "__init__.py"]
    assert len(files) > 15
    assert [path.name for path in files if path.name not in house and path.stem not in house] == []


def test_remedies_name_variables_that_there_are():
    known = {"dockerd_tls", "dockerd_rootless"}  # the roles themselves
    for path in TOP.glob("roles/*/meta/argument_specs.yml"):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        known.update(spec["argument_specs"]["main"]["options"])
    named = {word for one in CONTROLS for word in re.findall(r"\bdockerd_\w+", one.remedy)}
    assert len(named) > 5
    assert named <= known


def test_a_rootless_daemon_gets_the_profile_of_the_systems_but_for_what_is_named():
    role = "roles/%s/vars/main.yml"
    system = yaml.safe_load((TOP / (role % "dockerd")).read_text(encoding="utf-8"))
    users = yaml.safe_load((TOP / (role % "dockerd_rootless")).read_text(encoding="utf-8"))
    level2 = system["__dockerd_profiles"]["level2"]
    wanted = {name: level2[name] for name in level2 if name not in {*FUTILE, "userns-remap"}}
    assert users["__dockerd_rootless_profile"] == wanted
