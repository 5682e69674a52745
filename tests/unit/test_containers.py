# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time

import pytest
from _dockerd import does as module
from _dockerd import findings
from _dockerd.containers import Container, Inspector, Mount, api_sockets
from _dockerd.controls.containers import CONTROLS, NAMED
from _dockerd.does import Does
from _dockerd.host import Host
from _dockerd.instance import Instance
from _dockerd.told import Told
from conftest import CONFIG, SHOWN, running

BY_ID = {control.id: control for control in CONTROLS}
SOCKET = "/run/docker.sock"


def inspected(name="web", **config):
    return {
        "Id": name,
        "State": {"Running": True, "Pid": 42},
        "HostConfig": {"Memory": 1 << 20, "PidsLimit": 9, **config},
        "Mounts": config.pop("Mounts", []),
    }


def answers(*containers, **rest):
    return {
        "/info": {"DockerRootDir": "/var/lib/docker"},
        "/version": {},
        "/networks/bridge": {"Options": {"a": "b"}},
        "/containers/json": [{"Id": one["Id"], "Names": ["/" + one["Id"]]} for one in containers],
        **{"/containers/%s/json" % one["Id"]: one for one in containers},
        **rest,
    }


def asked(server, host=None):
    does = Does()
    module._ask(does, Instance(socket_path=server.path), host or Host(), Told(CONFIG))
    return does


# -- reading


def test_one_connection_and_one_request_a_container(serve):
    server = serve(answers(*(inspected("c%d" % number) for number in range(300))))
    does = asked(server)
    assert does.answers and len(does.inspected) == 300
    assert does.containers["c7"] == ("c7", 42)
    assert does.bridge == {"a": "b"}
    assert server.connections == 1
    assert len(server.asked) == 304


def test_a_container_that_went_or_stopped_is_none(serve):
    stopped = {**inspected("stopped"), "State": {"Running": False, "Pid": 0}}
    given = answers(inspected("gone"), stopped, inspected("web"))
    del given["/containers/gone/json"]
    does = asked(serve(given))
    assert does.answers and list(does.containers) == ["web"]


DEEP = b"[" * 100_000
MALFORMED = [
    ("/info", DEEP),
    ("/info", []),
    ("/info", (500, {"message": "plugin opa failed"})),
    ("/containers/json", {}),
    ("/containers/json", [5]),
    ("/containers/json", [{}]),
    ("/containers/json", [{"Id": "web", "Names": 5}]),
    ("/containers/json", b"\xff"),
    ("/containers/web/json", DEEP),
    ("/containers/web/json", []),
    ("/containers/web/json", (500, {})),
    ("/containers/web/json", {}),
    ("/containers/web/json", {**inspected(), "HostConfig": None}),
    ("/containers/web/json", {**inspected(), "State": []}),
    ("/containers/web/json", {**inspected(), "State": {"Running": 1, "Pid": 1}}),
    ("/containers/web/json", {**inspected(), "State": {"Running": True, "Pid": "1"}}),
    ("/containers/web/json", {**inspected(), "HostConfig": 5}),
    ("/containers/web/json", inspected(Privileged="false")),
    ("/containers/web/json", inspected(CapAdd=[5])),
    ("/containers/web/json", inspected(Memory=True)),
    ("/containers/web/json", {**inspected(), "Mounts": {"a": 1}}),
    ("/containers/web/json", {**inspected(), "Mounts": ["/"]}),
    ("/containers/web/json", b"x" * (5 << 20)),
]


@pytest.mark.parametrize(("url", "answer"), MALFORMED)
def test_a_malformed_answer_is_no_answer(serve, url, answer):
    does = asked(serve(answers(inspected(), **{url: answer})))
    assert not does.answers
    assert does.problem


@pytest.mark.parametrize("answer", [[], {"Components": 5}, {"Components": [{}]}, b"", (500, {})])
def test_a_malformed_version_hides_no_container(serve, answer):
    does = asked(serve(answers(inspected(), **{"/version": answer})))
    assert does.answers and does.components == {}


def test_a_null_is_an_empty_list(serve):
    empty = inspected(CapAdd=None, SecurityOpt=None, PidsLimit=None)
    does = asked(serve(answers({**empty, "Mounts": None})))
    assert does.inspected == [Container("web", 42, limits=("memory",))]


def trickle(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    for _number in range(100):
        time.sleep(0.05)
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


def half(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def silent(handler):
    time.sleep(3)


@pytest.mark.parametrize("how", [trickle, half, silent])
@pytest.mark.parametrize("url", ["/info", "/containers/json", "/containers/web/json"])
def test_a_daemon_that_dawdles_is_given_up(serve, monkeypatch, how, url):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    start = time.monotonic()
    does = asked(serve(answers(inspected(), **{url: how})))
    assert not does.answers
    assert time.monotonic() - start < 1.5


def test_nobody_listens():
    does = Does()
    module._ask(does, Instance(socket_path="/nowhere.sock"), Host(), Told(CONFIG))
    assert not does.answers and "/nowhere.sock" in does.problem


# -- what is behind a mount


def mount(inspector, source, writable=True):
    data = {"Source": source, "Destination": "/x", "RW": writable}
    found = inspector.container({**inspected(), "Mounts": [data]}, "web")
    return found.mounts[0].reaches


@pytest.fixture
def socketed(empty):
    """A host with the API's socket, and a link to its directory as Debian has it."""
    empty.put("/run/docker.sock", "")
    empty.put("/run/other/x.sock", "")
    empty.put("/srv/data/file", "")
    os.makedirs(empty.real("/var"))
    os.symlink("/run", empty.root + "/var/run")
    os.symlink("/var/run", empty.root + "/srv/run")
    os.link(empty.real("/run/docker.sock"), empty.real("/srv/data") + "/hidden.sock")
    return empty


@pytest.mark.parametrize(
    "source",
    [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run",
        "/run/",
        "/var/run",
        "/",
        "/srv/run",
        "/srv/data/hidden.sock",
        "/srv/../run/./docker.sock",
    ],
)
def test_ways_to_the_socket(socketed, source):
    assert mount(Inspector(socketed, [SOCKET]), source) == (SOCKET,)


@pytest.mark.parametrize("source", ["/srv", "/srv/data", "/run/other", "/var", "/gone", "", "x"])
def test_no_way_to_the_socket(socketed, source):
    assert mount(Inspector(socketed, [SOCKET]), source) == ()


def test_the_socket_of_a_rootless_daemon(socketed):
    socketed.put("/run/user/1000/docker.sock", "")
    mine = "/run/user/1000/docker.sock"
    assert mount(Inspector(socketed, [mine]), "/run/user/1000") == (mine,)
    assert mount(Inspector(socketed, [mine]), SOCKET) == ()


def test_a_mount_that_cannot_be_looked_at(socketed):
    os.symlink("loop", socketed.root + "/loop")
    data = {"Source": "/loop", "Destination": "/x", "RW": True}
    found = Inspector(socketed, [SOCKET]).container({**inspected(), "Mounts": [data]}, "web")
    assert "/loop" in found.mounts[0].problem


def test_a_file_server_that_may_be_away_is_not_asked(socketed):
    socketed.put("/proc/self/mounts", "tmpfs /run tmpfs rw 0 0\nfiler:/ /srv/run nfs4 rw 0 0\n")
    inspector = Inspector(socketed, [SOCKET])
    assert mount(inspector, "/srv/run") == mount(inspector, "/srv/run/below") == ()
    assert mount(inspector, "/run") == (SOCKET,)


# -- limits of slices


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, ()),
        ("0::/work.slice/c.scope", {}, ()),
        ("0::/work.slice/c.scope", {"work.slice/memory.max": "max"}, ()),
        ("0::/work.slice/c.scope", {"work.slice/memory.max": "4096"}, ("memory",)),
        ("0::/a.slice/a-b.slice/c.scope", {"a.slice/pids.max": "10"}, ("pids",)),
        ("0::/a.slice/c.scope", {"memory.max": "4096"}, ()),
        (
            "9:cpu,memory:/work.slice/c\n8:pids:/c\n0::/",
            {"memory/work.slice/memory.limit_in_bytes": "4096", "pids/pids.max": "9"},
            ("memory",),
        ),
        (
            "9:memory:/work.slice/c",
            {"memory/work.slice/memory.limit_in_bytes": "9223372036854771712"},
            (),
        ),
    ],
)
def test_limits_of_the_groups_above(empty, cgroup, files, expected):
    empty.put("/proc/42/cgroup", cgroup)
    for name, text in files.items():
        empty.put("/sys/fs/cgroup/" + name, text)
    found = Inspector(empty, []).container(inspected(Memory=0, PidsLimit=-1), "web")
    assert found.limits == expected


# -- controls


def status(host, name, *containers, **changes):
    confined = {**SHOWN, "SecurityOptions": ["name=seccomp,profile=builtin", "name=apparmor"]}
    seen = running(host, inspected=list(containers), **{"info": confined, **changes})
    return findings.judge(seen, [BY_ID[name]])[0].status


BOTH = ("memory", "pids")
JUDGED = [
    ("container-socket", {"mounts": (Mount("/run", "/x", False, (SOCKET,)),)}, "failed"),
    ("container-socket", {"mounts": (Mount("/etc", "/x", True, ("/etc",)),)}, "passed"),
    ("container-socket", {"mounts": (Mount("/fuse", "/x", True, (), "denied"),)}, "unknown"),
    ("container-privileged", {"privileged": True}, "failed"),
    ("container-privileged", {}, "passed"),
    ("container-confined", {"capabilities": ("SYS_ADMIN",)}, "failed"),
    ("container-confined", {"capabilities": ("ALL",)}, "failed"),
    ("container-confined", {"capabilities": ("NET_BIND_SERVICE",)}, "passed"),
    ("container-confined", {"security": ("seccomp=unconfined",)}, "failed"),
    ("container-confined", {"security": ("seccomp:unconfined",)}, "failed"),
    ("container-confined", {"security": ("apparmor=unconfined",)}, "failed"),
    ("container-confined", {"security": ("no-new-privileges",)}, "passed"),
    ("container-confined", {"security": ("label=disable",)}, "passed"),
    ("container-confined", {"capabilities": ("ALL",), "privileged": True}, "passed"),
    ("container-namespaces", {"shared": ("pid",)}, "failed"),
    ("container-namespaces", {"shared": ("network",)}, "failed"),
    ("container-namespaces", {"shared": ("ipc",)}, "failed"),
    ("container-namespaces", {"shared": ("UTS",)}, "failed"),
    ("container-namespaces", {"shared": ("user",)}, "passed"),
    ("container-namespaces", {}, "passed"),
    ("container-limits", {"limits": BOTH}, "passed"),
    ("container-limits", {"limits": ("pids",)}, "failed"),
    ("container-limits", {"limits": ("memory",)}, "failed"),
    ("container-sensitive-mounts", {"mounts": (Mount("/etc", "/x", True, ("/etc",)),)}, "failed"),
    ("container-sensitive-mounts", {"mounts": (Mount("/etc", "/x", False, ("/etc",)),)}, "passed"),
    ("container-sensitive-mounts", {"mounts": (Mount("/srv", "/x", True),)}, "passed"),
    (
        "container-sensitive-mounts",
        {"mounts": (Mount("/run/docker.sock", "/x", True, (SOCKET,)),)},
        "passed",
    ),
]


@pytest.mark.parametrize(("name", "fields", "expected"), JUDGED)
def test_controls(host, name, fields, expected):
    other = Container("other", 1, limits=BOTH)
    assert status(host, name, other, Container("web", 42, **fields)) == expected


def test_every_control_is_tried_both_ways():
    for expected in ("passed", "failed"):
        assert {name for name, dummy, verdict in JUDGED if verdict == expected} == set(BY_ID)


def test_the_host_s_user_namespace_counts_where_there_is_another(host):
    shared = Container("web", 42, shared=("user",))
    info = {**SHOWN, "SecurityOptions": ["name=userns"]}
    assert status(host, "container-namespaces", shared, info=info) == "failed"


def test_a_label_counts_where_there_is_selinux(host):
    unlabelled = Container("web", 42, security=("label=disable",))
    info = {**SHOWN, "SecurityOptions": ["name=selinux"]}
    assert status(host, "container-confined", unlabelled, info=info) == "failed"


def test_a_limit_that_the_host_does_not_enforce(host):
    limited = Container("web", 42, limits=BOTH)
    info = {**SHOWN, "MemoryLimit": True, "PidsLimit": False}
    assert status(host, "container-limits", limited, info=info) == "failed"


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_what_nobody_can_see(host, control):
    assert findings.judge(host.seen(), [control])[0].status == "not applicable"
    silent = running(host, answers=False, problem="it hangs")
    finding = findings.judge(silent, [control])[0]
    assert finding.status == "unknown" and "it hangs" in finding.evidence
    assert findings.judge(running(host), [control])[0].status == "passed"


def test_the_first_containers_are_named(host):
    many = [Container("c%d" % number, 1, True) for number in range(NAMED + 3)]
    seen = running(host, inspected=many)
    evidence = findings.judge(seen, [BY_ID["container-privileged"]])[0].evidence
    assert evidence.startswith("c0 is privileged; c1 is privileged")
    assert evidence.endswith("; ... and 3 more")
    assert evidence.count("privileged") == NAMED


def test_every_unix_socket_of_the_api_counts(host):
    host.put(CONFIG, {"hosts": ["unix:///srv/api.sock", "unix://"]})
    sockets = api_sockets(Instance(), host.told())
    assert sockets == ["/run/docker.sock", "/srv/api.sock", "/var/run/docker.sock"]
