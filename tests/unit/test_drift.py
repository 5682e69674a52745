# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from _dockerd import drift
from _dockerd.does import Process
from _dockerd.drift import RELOAD, RESTART, RESTART_TLS, RESTART_UNIX
from _dockerd.instance import Instance
from _dockerd.snapshot import Manifest
from conftest import CONFIG, running

INSTANCE = Instance()
TLS_SOCKET = INSTANCE.tls_socket_path
ACTIVE = {"ActiveState": "active", "Listen": "/run/docker.sock (Stream)"}


def process(host, executable):
    argv = [word.text for word in host.seen().told.words]
    return Process(1, 0.0, ["boot", 1, 1], argv, executable)


def needs(seen):
    return [gap.need for gap in drift.gaps(seen)]


def test_a_directory_has_no_gaps(host):
    assert drift.gaps(host.seen()) == []


def test_a_daemon_that_runs_what_it_is_told_has_none(host):
    host.put(CONFIG, {"icc": False, "live-restore": True})
    assert drift.gaps(running(host)) == []


@pytest.mark.parametrize(
    ("running_data", "told", "need"),
    [
        ({}, {"icc": False}, [RESTART]),
        ({"icc": False}, {}, [RESTART]),
        ({"debug": True}, {"debug": False}, [RELOAD]),
        ({"debug": True}, {}, [RESTART]),
        ({"insecure-registries": ["r.example"]}, {}, [RESTART]),
        ({"authorization-plugins": ["a"]}, {}, [RELOAD]),
        ({}, {"labels": ["a=b"], "mtu": 1400}, [RELOAD, RESTART]),
        ({}, {"no-such-directive": 1}, [RESTART]),
        (None, {"debug": True}, [RESTART]),
    ],
)
def test_directives(host, running_data, told, need):
    host.put(CONFIG, told)
    seen = running(host)
    seen.read = replace(seen.read, data=running_data)
    assert needs(seen) == need


def test_what_a_reload_would_leave_live_is_named(host):
    seen = running(host)
    seen.read = replace(seen.read, data={"debug": True})
    (gap,) = drift.gaps(seen)
    assert gap.what == "debug is told no more, which a reload passes over"


def test_a_file_that_broke_after_the_start_is_a_gap(host):
    host.put(CONFIG, "{")
    seen = running(host)
    assert seen.read.data == {}
    assert needs(seen) == [RESTART]


def test_other_flags(host):
    seen = running(host)
    host.put("/etc/default/docker", "DOCKER_OPTS=-D\n")
    seen.told = host.told()
    assert needs(seen) == [RESTART]
    assert "other flags" in drift.gaps(seen)[0].what


def test_what_systemd_makes_of_the_words_is_no_gap_once_it_was_recorded(host):
    """%H and an argv[0] of its own: the process can never have the words as written."""
    host.put(
        "/etc/systemd/system/docker.service.d/a.conf",
        "[Service]\nExecStart=\nExecStart=@/usr/sbin/dockerd engine -H fd:// --label h=%H\n",
    )
    argv = ["engine", "-H", "fd://", "--label", "h=web1"]
    seen = running(host, process=Process(1, 0.0, ["boot", 1, 1], argv))
    assert needs(seen) == []
    seen.read = replace(seen.read, words=argv[1:])
    assert needs(seen) == [RESTART]


@pytest.mark.parametrize("process", [None, Process(1, 0.0, ["boot", 1, 1], [])])
def test_a_daemon_that_is_down(host, process):
    down = {"docker.service": {"ActiveState": "failed"}, "docker.socket": ACTIVE}
    gaps = drift.gaps(running(host, process=process, units=down))
    assert gaps == [drift.Gap("docker.service is not running", RESTART)]


def test_a_daemon_whose_file_was_replaced(host):
    assert needs(running(host, process=process(host, "/usr/sbin/dockerd"))) == []
    gaps = drift.gaps(running(host, process=process(host, "/usr/sbin/dockerd (deleted)")))
    assert gaps == [drift.Gap(drift.UPGRADED, RESTART)]


def test_a_tls_socket_that_should_be_up_or_down(host):
    units = dict.fromkeys(INSTANCE.units, ACTIVE)
    assert needs(running(host, units=units)) == [RESTART]
    host.put(TLS_SOCKET, "[Socket]\nListenStream=2376\n")
    assert needs(running(host, units=units)) == []
    del units["docker-tls.socket"]
    assert needs(running(host, units=units)) == [RESTART]


def test_a_changed_tls_socket_restarts_both(host):
    host.put(TLS_SOCKET, "[Socket]\nListenStream=2376\n")
    seen = running(host)
    seen.read.digests[TLS_SOCKET] = "other"
    assert needs(seen) == [RESTART_TLS]
    seen.does.units["docker-tls.socket"] = {"ActiveState": "inactive"}
    assert needs(seen) == [RESTART, RESTART]


@pytest.mark.parametrize("name", ["tlscacert", "tlscert"])
def test_certificate_files_are_read_at_the_start_only(host, name):
    host.put("/pem", "new")
    host.put(CONFIG, {name: "/pem"})
    seen = running(host)
    assert needs(seen) == []
    seen.read.digests["/pem"] = "old"
    assert needs(seen) == [RESTART]


def test_a_certificate_that_is_not_the_one_served(host):
    host.put(CONFIG, {"tlscert": "/cert.pem"})
    seen = running(host, served={"0.0.0.0:2376": (b"old", False)})
    seen.tls.leaf = b"new"
    assert [gap.what for gap in drift.gaps(seen)] == [
        "0.0.0.0:2376 serves another certificate than tlscert"
    ]
    seen.does.served["0.0.0.0:2376"] = (b"new", False)
    assert needs(seen) == []


def test_a_listener_that_lets_strangers_in_is_a_gap_whatever_the_file_says(host):
    """Somebody put another daemon.json there for as long as dockerd read it."""
    host.put(TLS_SOCKET, "[Socket]\nListenStream=2376\n")
    seen = running(host, served={"0.0.0.0:2376": (b"", True)})
    assert ("0.0.0.0:2376 answers a client without a certificate", RESTART_TLS) in [
        (gap.what, gap.need) for gap in drift.gaps(seen)
    ]


def test_the_unix_socket_is_down_or_listens_elsewhere(host):
    seen = running(host)
    seen.does.units["docker.socket"] = {"ActiveState": "inactive"}
    assert needs(seen) == [RESTART_UNIX]
    seen.does.units["docker.socket"] = {
        **ACTIVE,
        "Listen": "/run/docker.sock (Stream)\n[::]:2375 (Stream)",
    }
    assert needs(seen) == [RESTART_UNIX]
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\nListenStream=2375\n")
    seen.told = host.told()
    assert needs(seen) == []


@pytest.mark.parametrize(
    ("hosts", "flags", "took"),
    [
        ([], ["-H", "unix://"], True),
        ([], ["-H", "unix:///var/run/docker.sock"], True),
        (["unix:///run/docker.sock"], [], True),
        (["unix:///run/ci.sock"], ["-H", "tcp://:2375"], False),
        (5, ["-H", "fd://"], False),
    ],
)
def test_a_daemon_that_made_its_own_socket_in_place_of_systemds(host, hosts, flags, took):
    seen = running(host)
    process = Process(1, 0.0, ["boot", 1, 1], ["/usr/sbin/dockerd", *flags])
    seen.does = replace(seen.does, process=process)
    seen.read = replace(seen.read, data={"hosts": hosts})
    assert (RESTART_UNIX in needs(seen)) == took


@pytest.mark.parametrize(
    ("name", "told", "info", "need"),
    [
        ("live-restore", True, {"LiveRestoreEnabled": False}, [RELOAD]),
        ("live-restore", None, {"LiveRestoreEnabled": False}, []),
        ("debug", True, {"Debug": False}, [RELOAD]),
        ("experimental", True, {"ExperimentalBuild": False}, [RESTART]),
        ("log-driver", "local", {"LoggingDriver": "json-file"}, [RESTART]),
        (
            "no-new-privileges",
            True,
            {"SecurityOptions": ["name=seccomp,profile=builtin"]},
            [RESTART],
        ),
        ("no-new-privileges", True, {"SecurityOptions": ["name=no-new-privileges"]}, []),
    ],
)
def test_what_info_shows_counts_where_nothing_is_recorded(host, name, told, info, need):
    host.put(CONFIG, {name: told})
    shown = {
        "LiveRestoreEnabled": False,
        "Debug": False,
        "ExperimentalBuild": False,
        "LoggingDriver": "json-file",
        **info,
    }
    seen = running(host, info=shown)
    assert drift.unapplied(seen) == ([name] if need else [])
    assert needs(seen) == []
    seen.manifest = Manifest()
    assert needs(seen) == need


def test_an_old_engine_does_not_show_what_it_has(host):
    host.put(CONFIG, {"no-new-privileges": True})
    seen = replace(running(host, info={"LoggingDriver": "json-file"}), told=host.told("20.10.24"))
    assert "no-new-privileges" not in drift.unapplied(seen)


# -- a daemon that is silent, and sockets without a listener


def test_a_silent_daemon_is_a_gap(host):
    (gap,) = drift.gaps(running(host, answers=False, problem="timed out"))
    assert gap == drift.Gap("dockerd does not answer (timed out)", RESTART)
    (gap,) = drift.gaps(running(host, answers=False))
    assert gap.what == "dockerd does not answer (no reason)"


@pytest.mark.parametrize("changes", [{"inode": None}, {"refused": True}])
def test_a_unix_socket_at_which_nobody_listens(host, changes):
    (gap,) = drift.gaps(running(host, **changes))
    assert gap == drift.Gap("nobody listens at /run/docker.sock", RESTART_UNIX)


def test_a_unix_socket_of_a_daemon_that_is_down_is_made_with_it(host):
    units = {"docker.socket": ACTIVE}
    assert needs(running(host, inode=None, units=units)) == [RESTART]


@pytest.mark.parametrize("paths", [{}, {"/run/docker.sock": {9}}, {"/run/other.sock": {1}}])
def test_a_unix_socket_that_systemd_let_go_of(host, paths):
    (gap,) = drift.gaps(running(host, paths=paths))
    assert gap == drift.Gap("docker.socket is active without a listener", RESTART_UNIX)


@pytest.mark.parametrize("path", ["/run/docker.sock", "/var/run/docker.sock"])
def test_a_unix_socket_goes_by_either_name(host, path):
    assert needs(running(host, paths={path: {1}})) == []


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        ("0.0.0.0:2376", [("0.0.0.0", 2376)]),
        ("0.0.0.0:2376", [("::", 2376)]),
        ("[::]:2376", [("::", 2376)]),
        ("2376", [("::", 2376)]),
        ("2376", [("0.0.0.0", 2376)]),
        ("192.0.2.1:2376", [("192.0.2.1", 2376)]),
        ("[2001:DB8:0::1]:2376", [("2001:db8::1", 2376)]),
        ("[fe80::1%eth0]:2376", [("fe80::1", 2376)]),
    ],
)
def test_a_tcp_listener_is_known_by_its_address(host, value, bound):
    host.put(TLS_SOCKET, "[Socket]\nListenStream=%s\n" % value)
    assert needs(running(host, bound={place: {2} for place in bound})) == []
    for other in ({}, {("192.0.2.9", 2376): {2}}, {(bound[0][0], 2377): {2}}):
        (gap,) = drift.gaps(running(host, bound=other))
        assert gap == drift.Gap("docker-tls.socket does not listen at %s" % value, RESTART_TLS)


@pytest.mark.parametrize("holders", [{"manager": {1}}, {"descriptors": {1}}])
def test_a_tcp_listener_is_held_by_both_systemd_and_dockerd(host, holders):
    host.put(TLS_SOCKET, "[Socket]\nListenStream=2376\n")
    assert needs(running(host, **holders)) == [RESTART_TLS]


def test_one_of_two_listeners_that_is_gone_is_named(host):
    host.put(TLS_SOCKET, "[Socket]\nListenStream=192.0.2.1:2376\nListenStream=10.9.9.9:2376\n")
    (gap,) = drift.gaps(running(host, bound={("192.0.2.1", 2376): {2}}))
    assert gap.what == "docker-tls.socket does not listen at 10.9.9.9:2376"


def test_what_nobody_may_see_is_no_gap(host):
    """In a container of its own, as in some tests, the descriptors of process 1 are hidden."""
    host.put(TLS_SOCKET, "[Socket]\nListenStream=2376\n")
    assert needs(running(host, manager=set(), bound={}, paths={})) == []


@pytest.mark.parametrize(
    "value", ["vsock:2:1234", "localhost:2376", "@abstract", "/run/x", "0", "x"]
)
def test_an_address_that_is_none_is_no_traceback(host, value):
    host.put(TLS_SOCKET, "[Socket]\nListenStream=%s\n" % value)
    assert needs(running(host)) == []
