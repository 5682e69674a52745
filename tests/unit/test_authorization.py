# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace

import pytest
from _dockerd import authorization, findings
from _dockerd.authorization import Plugin, read_plugins
from _dockerd.controls.authorization import CONTROLS
from _dockerd.host import Host, User
from _dockerd.instance import Instance, rootless
from conftest import CONFIG, SERVICE, SHOWN, running

BY_ID = {control.id: control for control in CONTROLS}
ROOT = "/var/lib/docker"


def finding(seen, name):
    return findings.judge(seen, [BY_ID[name]])[0]


def configured(host, *names):
    host.put(CONFIG, {"authorization-plugins": list(names)})


def plugins(host, *names, instance=None, version="26.1.5"):
    configured(host, *names)
    return read_plugins(instance or Instance(), host, host.told(version), ROOT)


# -- where they are


def put_socket(host, path):
    os.makedirs(os.path.dirname(host.real(path)), exist_ok=True)
    os.mknod(host.real(path), stat.S_IFSOCK | 0o600)


def test_the_places_of_dockerd_in_its_order(host):
    order = [
        "/run/docker/plugins/opa.sock",
        "/run/docker/plugins/opa/opa.sock",
        "/etc/docker/plugins/opa.spec",
        "/etc/docker/plugins/opa/opa.spec",
        "/etc/docker/plugins/opa.json",
        "/etc/docker/plugins/opa/opa.json",
        "/usr/lib/docker/plugins/opa.spec",
    ]
    for path in reversed(order):
        if path.endswith(".sock"):
            put_socket(host, path)
        else:
            host.put(path, {"Addr": "unix:///x"} if path.endswith(".json") else "unix:///x")
        found = plugins(host, "opa")["opa"]
        assert (found.path, found.address[:7]) == (path, "unix://")


def test_a_file_in_place_of_a_socket_is_none(host):
    host.put("/run/docker/plugins/opa.sock", "")
    assert plugins(host, "opa") == {"opa": Plugin()}


@pytest.mark.parametrize("name", ["../../etc/shadow", "a/b", "", "a" * 300])
def test_a_name_is_no_path(host, name):
    host.put("/etc/shadow.spec", "unix:///x")
    assert plugins(host, name)[name] == Plugin()


def test_a_rootless_daemon_has_sockets_of_its_own(host):
    mine = rootless(User("ci", 1000, 1000, "/home/ci"))
    put_socket(host, "/run/docker/plugins/opa.sock")
    assert "namespace" in plugins(host, "opa", instance=mine)["opa"].problem
    host.put("/home/ci/.local/lib/docker/plugins/opa.spec", "unix:///x")
    assert plugins(host, "opa", instance=mine)["opa"].address == "unix:///x"


@pytest.mark.parametrize("name", ["opa", "opa:latest", "org/opa:1"])
@pytest.mark.parametrize("enabled", [True, False])
def test_managed_plugins(host, name, enabled):
    tagged = name if ":" in name else name + ":latest"
    state = {"plugin": {"Name": tagged, "Enabled": enabled}}
    host.put(ROOT + "/plugins/abc/config.json", state)
    host.put(ROOT + "/plugins/broken/config.json", "[")
    host.put(ROOT + "/plugins/odd/config.json", {"plugin": 5})
    found = plugins(host, name)[name]
    assert found.path == ROOT + "/plugins/abc/config.json"
    assert found.alive is (None if enabled else False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("opa.spec", ""),
        ("opa.spec", "/no/scheme"),
        ("opa.json", "{"),
        ("opa.json", "[]"),
        ("opa.json", {"Addr": 5}),
        ("opa.json", {"Addr": "https://x", "TLSConfig": "yes"}),
    ],
)
def test_a_specification_that_specifies_nothing(host, path, text):
    host.put("/etc/docker/plugins/" + path, text)
    found = plugins(host, "opa")["opa"]
    assert found.alive is False and "/etc/docker/plugins/" in found.problem


# -- whether they answer


def tried(address):
    return authorization._tried(Host(), "/x", address)


def test_a_plugin_that_answers(serve):
    server = serve({"/Plugin.Activate": {"Implements": ["authz"]}})
    assert tried("unix://" + server.path).alive is True
    assert server.asked == ["/Plugin.Activate"]


@pytest.mark.parametrize(
    "answer",
    [
        {"Implements": ["VolumeDriver"]},
        {},
        [],
        b"x",
        (500, {"Implements": ["authz"]}),
        lambda handler: None,
    ],
)
def test_a_plugin_that_is_none(serve, answer):
    found = tried("unix://" + serve({"/Plugin.Activate": answer}).path)
    assert found.alive is False and found.problem


def test_a_socket_that_nobody_listens_on(serve):
    path = serve({}).path + ".dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    found = tried("unix://" + path)
    assert found.alive is False and "refused" in found.problem
    assert tried("unix:///nowhere.sock").alive is False


def test_a_slow_plugin_is_not_called_dead(serve, monkeypatch):
    monkeypatch.setattr(authorization, "PATIENCE", 0.2)
    path = serve({}).path + ".slow"
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(path)
        slow.listen()
        assert tried("unix://" + path).alive is None


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:1", "https://192.0.2.1"])
def test_a_plugin_on_the_network_is_left_alone(address):
    assert tried(address).alive is None


# -- controls

INFO = {**SHOWN, "Plugins": {"Authorization": ["opa"]}}
FOUND = Plugin("/run/docker/plugins/opa.sock", "unix:///run/docker/plugins/opa.sock")


def with_plugin(host, plugin=FOUND, **changes):
    configured(host, "opa")
    seen = running(host, **{"info": INFO, **changes})
    seen.plugins = {"opa": plugin}
    return seen


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_without_a_plugin(host, control):
    expected = "failed" if control.id == "authorization-plugin" else "not applicable"
    assert finding(running(host), control.id).status == expected
    host.put(CONFIG, "{")
    assert finding(running(host), control.id).status == "unknown"


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_with_a_plugin(host, control):
    seen = with_plugin(host, replace(FOUND, alive=True))
    assert finding(seen, control.id).status == "passed"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("authorization-plugin", "passed"),
        ("plugins-present", "unknown"),
        ("authorization-alive", "not applicable"),
        ("authorization-asked", "not applicable"),
        ("authorization-by-flag", "passed"),
        ("grpc-bypass", "passed"),
    ],
)
def test_a_directory(host, name, expected):
    configured(host, "opa")
    assert finding(host.seen(), name).status == expected


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (Plugin(), "failed"),
        (Plugin(problem="elsewhere"), "unknown"),
        (Plugin("/a.spec", problem="cannot be read"), "passed"),
    ],
)
def test_plugins_present(host, plugin, expected):
    assert finding(with_plugin(host, plugin), "plugins-present").status == expected


@pytest.mark.parametrize(
    ("alive", "changes", "expected"),
    [
        (True, {}, "passed"),
        (True, {"answers": False}, "passed"),
        (False, {}, "failed"),
        (False, {"answers": False}, "failed"),
        (None, {}, "passed"),
        (None, {"answers": False}, "unknown"),
        (None, {"info": SHOWN}, "unknown"),
    ],
)
def test_authorization_alive(host, alive, changes, expected):
    seen = with_plugin(host, replace(FOUND, alive=alive, problem="it is slow"), **changes)
    assert finding(seen, "authorization-alive").status == expected


def test_a_plugin_that_is_not_there_is_another_control_s(host):
    assert finding(with_plugin(host, Plugin()), "authorization-alive").status == "not applicable"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "passed"),
        ({"info": SHOWN}, "failed"),
        ({"info": {**SHOWN, "Plugins": {"Authorization": None}}}, "failed"),
        ({"info": {**SHOWN, "Plugins": {"Authorization": ["other"]}}}, "failed"),
        ({"answers": False, "info": {}}, "unknown"),
    ],
)
def test_authorization_asked(host, changes, expected):
    assert finding(with_plugin(host, **changes), "authorization-asked").status == expected


def test_authorization_by_flag(host):
    unit = host.text(SERVICE).replace("$DOCKER_OPTS", "--authorization-plugin=opa")
    host.put(SERVICE, unit)
    found = finding(running(host), "authorization-by-flag")
    assert found.status == "failed" and "--authorization-plugin=opa" in found.evidence
    assert found.places[0].path == SERVICE


@pytest.mark.parametrize(
    ("address", "tls", "path", "expected"),
    [
        ("unix:///x", None, "opa.spec", "passed"),
        ("tcp://127.0.0.1:9", None, "opa.spec", "passed"),
        ("tcp://localhost:9", None, "opa.json", "passed"),
        ("tcp://192.0.2.1:9", None, "opa.spec", "failed"),
        ("tcp://192.0.2.1:9", {"cafile": "/ca"}, "opa.json", "failed"),
        ("http://opa.example", None, "opa.json", "failed"),
        ("https://opa.example", None, "opa.spec", "failed"),
        ("https://opa.example", None, "opa.json", "passed"),
        ("https://opa.example", {}, "opa.json", "failed"),
        ("https://opa.example", {"cafile": "/ca"}, "opa.json", "passed"),
        (
            "https://opa.example",
            {"cafile": "/ca", "insecureskipverify": True},
            "opa.json",
            "failed",
        ),
        ("https://[", None, "opa.json", "failed"),
        ("", None, "opa.json", "not applicable"),
    ],
)
def test_the_way_to_a_plugin(host, address, tls, path, expected):
    seen = with_plugin(host, Plugin("/etc/docker/plugins/" + path, address, tls))
    assert finding(seen, "authorization-spec-insecure").status == expected


def test_a_json_specification_from_its_file(host):
    spec = {"addr": "https://opa.example", "TlsConfig": {"CertFile": "/c"}}
    host.put("/etc/docker/plugins/opa.json", spec)
    configured(host, "opa")
    assert finding(host.seen(), "authorization-spec-insecure").status == "failed"
    spec["TlsConfig"]["CaFile"] = "/ca.pem"
    host.put("/etc/docker/plugins/opa.json", spec)
    assert finding(host.seen(), "authorization-spec-insecure").status == "passed"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("28.5.2", "passed"), ("29.1.3", "passed"), ("29.2.0", "failed"), ("", "unknown")],
)
def test_grpc(host, version, expected):
    configured(host, "opa")
    assert finding(host.seen(version), "grpc-bypass").status == expected
