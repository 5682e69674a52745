# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from _dockerd import command
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


def test_flags_may_follow_as_a_word(host, capsys):
    host.put(CONFIG, {"debug": True})
    for words in (["--flags", "--debug"], ["--flags=--debug"]):
        printed = run(host, capsys, *words, "--engine-version", "26.1.5", "--format", "json")[1]
        assert json.loads(printed.out)["starts"] is False


def test_a_directory_without_anything_to_judge(empty, capsys):
    code, printed = run(empty, capsys)
    assert (code, "nothing to judge" in printed.err) == (2, True)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 100000, '[{"id": ["icc"], "reason": "x", "expires": "2030-01-01"}]', "\xff"],
)
def test_waivers_that_are_none(host, capsys, text):
    host.put("/waivers.json", text.encode("latin-1"))
    code, printed = run(host, capsys, "--waivers", host.real("/waivers.json"))
    assert (code, "waivers" in printed.err) == (2, True)


def test_waivers_from_a_pipe_do_not_hang(host, capsys):
    os.mkfifo(host.real("/waivers.json"))
    code, printed = run(host, capsys, "--waivers", host.real("/waivers.json"))
    assert (code, "no regular file" in printed.err) == (2, True)


def test_a_waiver_starts_no_daemon(host, capsys):
    host.put(CONFIG, {"nope": 1})
    waiver = {"id": "config-accepted", "reason": "x", "expires": "2999-01-01"}
    host.put("/waivers.json", [waiver])
    arguments = ["--waivers", host.real("/waivers.json"), "--engine-version", "26.1.5"]
    printed = run(host, capsys, *arguments, "--format", "json")[1]
    assert json.loads(printed.out)["starts"] is False


def test_output_that_is_closed(host, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert command.main(["--root", host.root]) == 2


def test_judging_writes_nothing(host, capsys):
    host.put(CONFIG, {"userns-remap": "default"})
    before = host.tree()
    run(host, capsys)
    assert host.tree() == before
