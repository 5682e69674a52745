# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from _dockerd import VERSION, findings, judgement, reports
from _dockerd.errors import DockerdError
from conftest import CONFIG

TOP = Path(__file__).parents[2]
SCHEMA = json.loads((TOP / "docs" / "report.schema.json").read_text(encoding="utf-8"))
NOW = datetime.datetime(2027, 1, 15, 12, tzinfo=datetime.timezone.utc)
ROOTLESS = "/home/ci/.config/systemd/user/docker.service"
UNIT = "[Service]\nExecStart=/usr/bin/dockerd-rootless.sh\n"


def judged(host, **rest):
    return judgement.judge(host, **{"version": "26.1.5", "now": NOW, **rest})


@pytest.mark.parametrize("files", [{}, {CONFIG: "{"}, {ROOTLESS: UNIT}, {CONFIG: {"icc": False}}])
@pytest.mark.parametrize("name", reports.FORMATS)
def test_a_result_is_what_its_schema_says_and_fits_every_format(host, files, name):
    for path, content in files.items():
        host.put(path, content)
    result = judged(host).as_dict()
    jsonschema.validate(result, SCHEMA)
    assert reports.render(name, result)


def test_the_version_is_the_collections():
    galaxy = yaml.safe_load((TOP / "galaxy.yml").read_text(encoding="utf-8"))
    assert galaxy["version"] == VERSION


def test_every_daemon_of_a_host(host):
    host.put(ROOTLESS, UNIT)
    host.put("/home/ci/.config/docker/daemon.json", {"no-such-directive": 1})
    both = judged(host).as_dict()
    assert [(one["name"], one["starts"]) for one in both["instances"]] == [
        ("system", True),
        ("user:ci", False),
    ]
    assert both["starts"] is False
    assert judged(host, names=["system"]).starts is True
    assert {one.instance for one in judged(host, names=["user:ci"]).findings} == {"user:ci"}
    with pytest.raises(DockerdError, match="no daemon user:bob on this host; there is system"):
        judged(host, names=["user:bob"])


def test_a_system_daemon_that_gave_way(host):
    host.put(ROOTLESS, UNIT)
    os.makedirs(host.root + "/etc/systemd/system")
    os.symlink("/dev/null", host.root + "/etc/systemd/system/docker.service")
    assert [daemon.instance.name for daemon in judged(host).daemons] == ["user:ci"]


def test_a_masked_daemon_beside_nobody_is_judged(host):
    os.makedirs(host.root + "/etc/systemd/system")
    os.symlink("/dev/null", host.root + "/etc/systemd/system/docker.service")
    assert judged(host).starts is False


def test_one_unreadable_daemon_hides_no_other(host):
    os.makedirs(host.real(ROOTLESS))
    result = judged(host)
    assert [daemon.snapshot is None for daemon in result.daemons] == [False, True]
    assert [(one.control.id, one.status) for one in result.daemons[1].findings] == [
        ("daemon-readable", "unknown")
    ]
    assert ROOTLESS in result.daemons[1].findings[0].evidence
    assert result.starts is None
    jsonschema.validate(result.as_dict(), SCHEMA)


@pytest.mark.parametrize(
    ("flags", "starts", "verified"),
    [
        (None, False, "not applicable"),  # the stock unit's -H fd:// against hosts
        ("", True, "failed"),
        ("--icc=false", True, "failed"),
        ("-H tcp://0.0.0.0:2375", False, "failed"),
    ],
)
def test_flags_in_the_place_of_a_unit(empty, flags, starts, verified):
    empty.put(CONFIG, {"hosts": ["tcp://0.0.0.0:2375"]})
    result = judged(empty, flags=flags)
    found = {one.control.id: one.status for one in result.findings}
    assert result.starts is starts
    if flags is not None:
        assert found["listener-verified"] == verified


def test_a_file_in_a_repository_can_be_judged(empty):
    """What somebody keeps under version control: no owner, no unit, no daemon."""
    empty.put(CONFIG, {"icc": False, "live-restore": True, "no-new-privileges": True})
    result = judged(empty)
    assert result.starts is True
    assert findings.exit_status(result.findings, "medium") in (findings.CLEAN, findings.FINDINGS)
    assert not [one.control.id for one in result.findings if one.status == findings.UNKNOWN]
    empty.put(CONFIG, {"tlsverify": True, "tlscacert": "/a", "tlscert": "/b", "tlskey": "/c"})
    assert judged(empty).starts is None


@pytest.mark.parametrize(
    ("package", "version"),
    [
        (
            "Package: docker.io\nStatus: install ok installed\nVersion: 26.1.5+dfsg1-9+b1",
            "26.1.5+dfsg1",
        ),
        (
            "Package: docker-ce\nStatus: install ok installed\nVersion: 5:28.5.2-1~debian.12",
            "28.5.2",
        ),
        ("Package: docker.io\nStatus: unknown ok not-installed", ""),
        ("Package: dockerio\nStatus: install ok installed\nVersion: 1-1", ""),
    ],
)
def test_the_engine_of_an_image(host, package, version):
    host.put("/var/lib/dpkg/status", "Package: bash\nVersion: 5\n\n%s\n\n" % package)
    assert judged(host, version="").as_dict()["instances"][0]["engine"]["version"] == version
