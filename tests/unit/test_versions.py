# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from _dockerd import findings, vulnerabilities
from _dockerd.controls.versions import CONTROLS
from _dockerd.host import Result
from _dockerd.snapshot import read
from _dockerd.trust import read_trust
from _dockerd.vulnerabilities import CONTAINERD, ENGINE, RUNC, TABLE, known, order, plain
from conftest import SERVICE, running

BY_ID = {control.id: control for control in CONTROLS}
COMMUNITY = "Docker Engine - Community"


def finding(seen, name):
    return findings.judge(seen, [BY_ID[name]])[0]


def ids(component, version):
    return {one for hole in known(component, version) for one in hole.id.split(", ")}


# -- the table


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("18.09.9", False),
        ("19.03.0", True),
        ("19.03.15", True),
        ("20.10.24", True),
        ("20.10.27", True),
        ("20.10.28", False),
        ("23.0.14", True),
        ("23.0.15", False),
        ("24.0.9", True),
        ("24.0.10", False),
        ("25.0.5", True),
        ("25.0.6", False),
        ("25.0.13", False),
        ("26.0.2", True),
        ("26.0.3", False),
        ("26.1.4", True),
        ("26.1.5", False),
        ("27.0.3", True),
        ("27.1.0", True),
        ("27.1.1", False),
        ("27.2.0", False),
        ("28.0.0", False),
        ("v29.7.2", False),
    ],
)
def test_a_fix_in_several_branches(version, has):
    assert ("CVE-2024-41110" in ids(ENGINE, version)) == has


@pytest.mark.parametrize(
    ("hole", "component", "bad", "good"),
    [
        ("CVE-2024-23653", ENGINE, ["20.10.27", "24.0.9", "25.0.1"], ["25.0.2", "26.0.0"]),
        ("CVE-2024-24557", ENGINE, ["24.0.8", "25.0.1", "23.0.9"], ["24.0.9", "25.0.2"]),
        (
            "CVE-2024-29018",
            ENGINE,
            ["23.0.10", "24.0.9", "25.0.4", "26.0.0-rc2"],
            ["23.0.11", "25.0.5", "26.0.0-rc3", "26.0.0"],
        ),
        ("CVE-2024-32473", ENGINE, ["26.0.0", "26.0.1"], ["25.0.5", "26.0.2", "26.1.0"]),
        ("CVE-2025-54388", ENGINE, ["28.2.0", "28.3.2"], ["28.1.1", "28.3.3", "29.0.0"]),
        ("CVE-2026-34040", ENGINE, ["20.10.28", "28.5.2", "29.3.0"], ["29.3.1", "30.0.0"]),
        ("CVE-2026-41567", ENGINE, ["28.5.2", "29.5.0"], ["29.5.1"]),
        ("CVE-2026-17106", ENGINE, ["29.6.2"], ["29.7.0", "29.7.2"]),
        (
            "CVE-2024-25621",
            CONTAINERD,
            ["1.6.38", "1.7.28", "2.0.6", "v2.1.4"],
            ["1.7.29", "2.0.7", "v2.1.5", "2.2.0"],
        ),
        ("CVE-2024-21626", RUNC, ["1.0.3", "1.1.11"], ["1.1.12", "1.2.0"]),
        (
            "CVE-2025-52881",
            RUNC,
            ["1.1.15", "1.2.7", "1.3.2", "1.4.0-rc.2"],
            ["1.2.8", "1.3.3", "1.4.0-rc.3", "1.4.0"],
        ),
    ],
)
def test_affected_and_fixed(hole, component, bad, good):
    assert [version for version in bad if hole not in ids(component, version)] == []
    assert [version for version in good if hole in ids(component, version)] == []


@pytest.mark.parametrize("hole", TABLE, ids=lambda hole: hole.id)
def test_the_table_agrees_with_itself(hole):
    assert hole.component in vulnerabilities.COMPONENTS
    assert hole.source and hole.effect
    assert list(hole.fixed) == sorted(hole.fixed, key=order)
    assert not any(hole.affects(fix) for fix in hole.fixed)
    assert order(hole.since) < order(hole.fixed[0])


def test_the_remedy_is_the_nearest_fix():
    hole = next(one for one in TABLE if one.id == "CVE-2024-41110")
    assert [hole.remedy(one) for one in ("26.0.1", "26.1.0", "27.0.3")] == [
        "26.0.3",
        "26.1.5",
        "27.1.1",
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("28.5.2", True),
        ("v2.1.5", True),
        ("1.4.0-rc.3", True),
        ("26.1.5+dfsg1", False),
        ("1.7.24~ds1", False),
        ("1.2.5-0ubuntu1", False),
        ("library-import", False),
        ("dev", False),
        ("", False),
    ],
)
def test_what_a_distribution_adds(version, expected):
    assert plain(version) == expected


# -- controls on versions


@pytest.mark.parametrize(
    ("executable", "status"),
    [
        ("/usr/sbin/dockerd", "passed"),
        ("/usr/sbin/dockerd (deleted)", "failed"),
        ("", "unknown"),
    ],
)
def test_an_upgrade_counts_from_the_next_start(host, executable, status):
    process = replace(running(host).does.process, executable=executable)
    assert finding(running(host, process=process), "engine-restarted").status == status
    assert finding(host.seen(), "engine-restarted").status == "not applicable"


def versions(host, platform="", **components):
    return running(host, platform=platform, components=components)


GOOD = {"Engine": "29.7.2", "containerd": "v2.3.2", "runc": "1.4.3"}
DEBIAN = {"Engine": "26.1.5+dfsg1", "containerd": "1.7.24~ds1", "runc": "1.1.15+ds1"}
VERDICTS = [
    # platform, components, engine-holes, engine-backports, engine-supported
    (COMMUNITY, GOOD, "passed", "not applicable", "passed"),
    (COMMUNITY, {**GOOD, "Engine": "28.5.2"}, "failed", "not applicable", "failed"),
    (COMMUNITY, {**GOOD, "runc": "1.3.2"}, "failed", "not applicable", "passed"),
    (COMMUNITY, {**GOOD, "containerd": "v1.7.28"}, "failed", "not applicable", "passed"),
    (COMMUNITY, {**GOOD, "runc": "1.1.15+ds1"}, "passed", "unknown", "passed"),
    ("", DEBIAN, "not applicable", "unknown", "not applicable"),
    ("", {**GOOD, "Engine": "29.7.2+dfsg1"}, "not applicable", "passed", "not applicable"),
    ("", {**GOOD, "Engine": "26.1.3"}, "not applicable", "unknown", "not applicable"),
    (COMMUNITY, DEBIAN, "not applicable", "unknown", "not applicable"),
    (COMMUNITY, {**GOOD, "runc": "?"}, "passed", "unknown", "passed"),
    (COMMUNITY, {**GOOD, "Engine": "dev"}, "not applicable", "unknown", "not applicable"),
    (COMMUNITY, {}, "unknown", "unknown", "unknown"),
]


@pytest.mark.parametrize(("platform", "components", "holes", "backports", "supported"), VERDICTS)
def test_versions(host, platform, components, holes, backports, supported):
    seen = versions(host, platform, **components)
    assert finding(seen, "engine-holes").status == holes
    assert finding(seen, "engine-backports").status == backports
    assert finding(seen, "engine-supported").status == supported


def test_the_hole_and_the_way_out_are_named(host):
    seen = versions(host, COMMUNITY, **{**GOOD, "runc": "1.3.2"})
    evidence = finding(seen, "engine-holes").evidence
    assert "runc 1.3.2 has CVE-2025-31133" in evidence and "fixed in 1.3.3" in evidence
    evidence = finding(versions(host, **DEBIAN), "engine-backports").evidence
    assert "engine 26.1.5+dfsg1 (package docker.io" in evidence
    assert "CVE-2026-34040" in evidence and "CVE-2024-41110" not in evidence
    assert "CVE-2024-21626" not in evidence


@pytest.mark.parametrize("name", ["engine-holes", "engine-backports", "engine-supported"])
def test_versions_of_a_directory(host, name):
    assert finding(host.seen(), name).status == "not applicable"


# -- content trust

PROFILE = "/etc/profile.d/docker.sh"
ON = "export DOCKER_CONTENT_TRUST=1\n"
PRIVATE = "DOCKER_CONTENT_TRUST_SERVER=https://notary.example\n"


def package(host, version, name="docker-ce-cli"):
    status = "Package: %s\nStatus: install ok installed\nVersion: 5:%s-1~debian\n" % (name, version)
    host.put("/var/lib/dpkg/status", status)


@pytest.mark.parametrize(
    ("path", "text", "version", "expected"),
    [
        (PROFILE, "", "29.0.0", "not applicable"),
        (PROFILE, "#" + ON, "29.0.0", "not applicable"),
        (PROFILE, "export DOCKER_CONTENT_TRUST=0\n", "29.0.0", "not applicable"),
        (PROFILE, "export MY_DOCKER_CONTENT_TRUST=1\n", "29.0.0", "not applicable"),
        (PROFILE, PRIVATE, "29.0.0", "not applicable"),
        ("/etc/profile.d/docker.csh", ON, "29.0.0", "not applicable"),
        (PROFILE, ON, "29.0.0", "failed"),
        (PROFILE, ON + PRIVATE, "29.7.2", "failed"),
        (PROFILE, "test -t 0 && DOCKER_CONTENT_TRUST='1'", "29.0.0", "failed"),
        ("/etc/environment", 'DOCKER_CONTENT_TRUST="1"', "29.0.0", "failed"),
        ("/etc/profile", ON, "29.0.0", "failed"),
        ("/etc/bash.bashrc", ON, "29.0.0", "failed"),
        (PROFILE, ON, "28.5.2", "failed"),
        (PROFILE, ON + PRIVATE, "28.5.2", "passed"),
        (PROFILE, ON, "", "unknown"),
        ("/etc/default/docker", ON, "28.5.2", "failed"),
        ("/etc/default/docker", PRIVATE, "28.5.2", "not applicable"),
    ],
)
def test_content_trust(host, path, text, version, expected):
    host.put(path, text)
    package(host, version)
    assert finding(host.seen(), "content-trust").status == expected


def test_content_trust_says_where_and_why(host):
    host.put(PROFILE, "\n" + ON)
    package(host, "29.1.3")
    found = finding(host.seen(), "content-trust")
    assert found.evidence == "%s line 2: client 29.1.3 ignores it" % PROFILE
    assert found.places == ((PROFILE, 2, 8),)
    package(host, "28.5.2", "docker.io")
    assert "2026-12-08" in finding(host.seen(), "content-trust").evidence


def test_content_trust_of_the_unit(host):
    host.put(SERVICE, host.text(SERVICE) + "Environment=DOCKER_CONTENT_TRUST=1\n")
    found = finding(host.seen(), "content-trust")
    assert found.status == "failed" and SERVICE in found.evidence


def test_the_client_is_asked_only_where_it_matters(host, monkeypatch):
    ran = []

    def run(argv, **rest):
        ran.append(argv)
        return Result(0, "Docker version 29.1.3, build abc\n", "")

    monkeypatch.setattr(type(host), "live", True)
    monkeypatch.setattr(host, "run", run)
    told = host.told()
    monkeypatch.setattr(host, "optional", lambda path: b"")
    assert read_trust(host, told).client == "" and ran == []
    monkeypatch.setattr(host, "optional", lambda path: ON.encode())
    assert read_trust(host, told).client == "29.1.3"
    assert ran == [["docker", "--version"]]


def test_a_snapshot_reads_it_once(host):
    host.put(PROFILE, ON)
    assert len(read(host.seen().instance, host).trust.users) == 1
