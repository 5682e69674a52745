# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from _dockerd import __main__ as command
from _dockerd.controls import CONTROLS
from conftest import CONFIG


def run(host, capsys, *arguments):
    code = command.main(["--root", host.root, *arguments])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("data", "arguments", "code"),
    [
        ({}, ["--fail-on", "never"], 0),
        ({}, ["--fail-on", "critical"], 0),
        ({}, ["--fail-on", "low"], 1),
        ({"seccomp-profile": "unconfined"}, [], 1),
        ({"seccomp-profile": "unconfined"}, ["--fail-on", "critical"], 1),
        ("{", ["--fail-on", "critical"], 1),
    ],
)
def test_exit_status(host, capsys, data, arguments, code):
    host.put(CONFIG, data)
    assert run(host, capsys, "--engine-version", "26.1.5", *arguments)[0] == code


def test_json(host, capsys):
    host.put(CONFIG, {"seccomp-profile": "/nowhere.json"})
    printed = json.loads(run(host, capsys, "--format", "json")[1].out)
    assert printed["starts"] is False
    assert [one["id"] for one in printed["findings"]] == [
        "daemon-readable",
        *(control.id for control in CONTROLS),
    ]
    assert printed["counts"]["critical"] == 1


def test_an_image_that_starts(host, capsys):
    host.put(CONFIG, {"icc": False})
    arguments = ["--format", "json", "--engine-version", "26.1.5"]
    assert json.loads(run(host, capsys, *arguments)[1].out)["starts"] is True
    assert json.loads(run(host, capsys, "--format", "json")[1].out)["starts"] is None


def test_a_root_that_is_none_gives_no_verdict(empty, capsys):
    assert command.main(["--root", empty.root + "/nowhere"]) == 2
    assert "is no directory" in capsys.readouterr().err


def test_a_unit_that_is_no_file_gives_no_verdict(host, capsys):
    os.makedirs(host.real("/etc/systemd/system/docker.service"))
    code, printed = run(host, capsys)
    assert code == 2
    assert "/etc/systemd/system/docker.service" in printed.out


def test_judging_writes_nothing(host, capsys):
    host.put(CONFIG, {"userns-remap": "default"})
    before = host.tree()
    run(host, capsys)
    assert host.tree() == before
