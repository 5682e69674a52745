# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from dataclasses import replace

import conftest
import pytest
from _dockerd import drift, plan, preflight, units
from _dockerd.errors import Refused
from _dockerd.host import Candidate, Host
from _dockerd.instance import Instance
from conftest import CONFIG, SERVICE, SOCKET, Directory
from hypothesis import given
from hypothesis import strategies as st

INSTANCE = Instance()
DESIRED = {
    "icc": False,
    "live-restore": True,
    "log-opts": {"max-size": "10m", "max-file": "5"},
}
SOCKET_DROPIN = "[Socket]\nSocketUser=root\nSocketGroup=docker\nSocketMode=0660\n"
ADMIN = "/etc/systemd/system/docker.service.d/"
CONTAINERD = "--containerd=/run/containerd/containerd.sock"
owned_by_root = pytest.mark.skipif(os.geteuid() != 0, reason="files must belong to root")


def others(made):
    """What a plan writes beside the files that keep a host safe, of which every plan has three."""
    return [change for change in made.files if change.path not in INSTANCE.safety]


def after(made, path):
    """What a plan leaves in a file; None for no file, absent where it does not touch it."""
    return next(change.after for change in made.files if change.path == path)


def command(host, made):
    """The command line of the candidate, as systemd reads it."""
    view = Candidate(host, {change.path: change.after for change in made.files})
    return [word.text for word in units.command(view, units.load(view, "docker.service"))]


# -- what is written


def test_a_virgin_host(host):
    made = host.plan(DESIRED, socket_dropin=SOCKET_DROPIN)
    assert [change.path for change in others(made)] == [INSTANCE.socket_dropin, CONFIG]
    assert json.loads(after(made, CONFIG)) == DESIRED
    assert after(made, INSTANCE.socket_dropin) == SOCKET_DROPIN.encode()
    assert {change.mode for change in others(made)} == {0o644}
    assert (made.foreign, made.displaced, made.left, made.dangers) == ([], {}, [], {})
    assert made.changed


def test_planning_writes_nothing(host):
    host.put(CONFIG, {"hosts": ["tcp://0.0.0.0:2375"]})
    before = host.tree()
    host.plan(DESIRED, socket_dropin=SOCKET_DROPIN, tls_socket="[Socket]\nListenStream=2376\n")
    assert host.tree() == before


@owned_by_root
@pytest.mark.parametrize(
    ("options", "config"),
    [
        ("", None),
        ("", {"labels": ["a=b"], "log-driver": "json-file", "log-opts": {"tag": "x"}}),
        ("", {"log-driver": "syslog"}),
        ("-H tcp://0.0.0.0:2375 --dns 192.0.2.1 --icc", {"mtu": 1400}),
        ("--label 'a=b c' --tlsverify", {"hosts": ["tcp://0.0.0.0:2376", "unix:///run/ci.sock"]}),
        ("", {"hosts": ["fd://", "unix:///run/ci.sock"]}),
        ("--log-driver journald", {"containerd": "/run/other.sock"}),
    ],
)
def test_the_second_run_has_nothing_to_do(host, options, config):
    host.put("/etc/default/docker", 'DOCKER_OPTS="%s"\n' % options)
    if config is not None:
        host.put(CONFIG, config)
    wanted = {"socket_dropin": SOCKET_DROPIN, "tls_socket": "[Socket]\nListenStream=2376\n"}
    host.apply(host.plan(DESIRED, **wanted))
    words = [word.text for word in host.told().words]
    again = host.plan(DESIRED, **wanted)
    assert again.files == []
    assert not again.changed
    host.apply(again)
    assert host.plan(DESIRED, **wanted).files == []
    assert [word.text for word in host.told().words] == words
    assert ("unix:///run/ci.sock" in words) == ("ci.sock" in json.dumps(config))


@owned_by_root
def test_what_leaves_the_variables_leaves_the_host(host):
    host.put(CONFIG, {"labels": ["a=b"]})
    host.apply(host.plan(DESIRED, socket_dropin=SOCKET_DROPIN, tls_socket="[Socket]\n"))
    made = host.plan({"icc": False})
    assert json.loads(after(made, CONFIG)) == {"labels": ["a=b"], "icc": False}
    assert after(made, INSTANCE.socket_dropin) is None
    assert after(made, INSTANCE.tls_socket_path) is None
    assert sorted(made.left) == ["live-restore", "log-opts.max-file", "log-opts.max-size"]
    assert made.foreign == ["labels"]


def test_foreign_settings_are_kept_and_those_in_the_way_are_named(host):
    host.put(CONFIG, {"data-root": "/srv", "icc": True, "tls": True, "log-opts": {"tag": "x"}})
    made = host.plan(DESIRED)
    data = json.loads(after(made, CONFIG))
    assert data == {
        "data-root": "/srv",
        "icc": False,
        "log-opts": {"tag": "x", "max-size": "10m", "max-file": "5"},
        "live-restore": True,
    }
    assert sorted(made.foreign) == ["data-root", "log-opts.tag"]
    assert made.displaced == {"icc (%s)" % CONFIG: True, "tls (%s)" % CONFIG: True}


@owned_by_root
def test_the_very_bytes_stay_where_nothing_differs(host):
    raw = b'{ "icc":false,\n"live-restore" : true}'
    host.put(CONFIG, raw)
    assert others(host.plan({"icc": False, "live-restore": True})) == []


def test_a_number_is_no_boolean(host):
    host.put(CONFIG, {"icc": 0})
    assert json.loads(after(host.plan({"icc": False}), CONFIG)) == {"icc": False}


def test_null_is_unset(host):
    host.put(CONFIG, {"icc": None, "live-restore": None, "log-level": None})
    told = host.told()
    assert told.setting("icc", True) is True
    assert told.setting("log-level", "info") == "info"
    made = host.plan({"icc": False})
    assert json.loads(after(made, CONFIG))["icc"] is False


# -- the command line of others


@pytest.mark.parametrize(
    ("place", "text", "gone"),
    [
        (
            "/etc/default/docker",
            'DOCKER_OPTS="-H tcp://0.0.0.0:2375 --tlsverify --tlscert=/a.pem --dns 192.0.2.1"\n',
            3,
        ),
        (
            ADMIN + "override.conf",
            "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// " + CONTAINERD + " \\\n"
            "  --host=tcp://0.0.0.0:2375 \\\n# a comment in between\n  --dns 192.0.2.1\n",
            1,
        ),
        (
            "/etc/systemd/system/service.d/all.conf",
            '[Service]\nEnvironment="DOCKER_OPTS=-DH tcp://[::]:2375 --dns 192.0.2.1"\n',
            1,
        ),
    ],
)
def test_listeners_in_flags_give_way_and_the_rest_stays(host, place, text, gone):
    host.put(place, text)
    made = host.plan(DESIRED)
    words = command(host, made)
    debug = ["-D"] if "-DH" in text else []
    expected = ["/usr/sbin/dockerd", "-H", "fd://", CONTAINERD, *debug, "--dns", "192.0.2.1"]
    assert words == expected
    assert len(made.displaced) == gone
    assert any("tcp://" in name for name in made.displaced)
    assert not made.candidate.told.tcp


def test_a_flag_of_a_directive_that_is_wanted_moves_to_the_file(host):
    host.put("/etc/default/docker", "DOCKER_OPTS=--icc=true --live-restore -l debug\n")
    made = host.plan(DESIRED)
    assert command(host, made)[-2:] == ["-l", "debug"]
    assert [name.split(" (")[0] for name in made.displaced] == ["--icc=true", "--live-restore"]


def test_hosts_in_the_file_move_to_systemd(host):
    host.put(ADMIN + "hosts.conf", "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd\n")
    hosts = ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375", "unix:///run/ci.sock"]
    host.put(CONFIG, {"hosts": hosts})
    made = host.plan(DESIRED)
    binary = "/usr/sbin/dockerd"
    assert command(host, made) == [binary, "-H", "fd://", "-H", "unix:///run/ci.sock"]
    assert "hosts" not in json.loads(after(made, CONFIG))
    assert made.displaced["hosts (%s)" % CONFIG] == hosts
    assert any(name.startswith("no -H fd://") for name in made.displaced)


@pytest.mark.parametrize("written", ["-H fd://", "-Hfd://", "--host fd://", "--host=fd://"])
def test_fd_is_known_in_every_form_and_never_given_twice(host, written):
    text = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd %s -H tcp://:2375\n" % written
    host.put(ADMIN + "a.conf", text)
    words = command(host, host.plan(DESIRED))
    assert " ".join(words[1:]) == written
    assert [flag.value for flag in units.flags(units.words(words))] == ["fd://"]


@owned_by_root
def test_a_stock_command_line_is_left_alone(host):
    made = host.plan({})
    assert others(made) == []
    assert made.displaced == {}


@pytest.mark.parametrize("hosts", ["tcp://0.0.0.0:2375", 5, {"a": 1}, [5, None], None])
def test_hosts_of_a_wrong_type_are_no_traceback(host, hosts):
    host.put(CONFIG, {"hosts": hosts})
    made = host.plan(DESIRED)
    assert "hosts" not in json.loads(after(made, CONFIG))
    if hosts is not None:
        assert made.displaced["hosts (%s)" % CONFIG] == hosts


HARD_WORDS = [
    "a b",
    'quo"ted',
    "apo'strophe",
    "back\\slash",
    "trail\\",
    "100%",
    "%H",
    "$HOME",
    "${HOME}",
    "$$",
    "semi;colon",
    "tab\there",
    "line\nbreak",
    "",
    "#no comment",
    "\u00fcml\u00e4ut",
]


@pytest.mark.parametrize("word", HARD_WORDS)
def test_hard_words_survive_the_rewriting(host, word):
    assert _through_systemd(host, ["--label", word]) == ["--label", word]


text = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12)


@given(st.lists(text.filter(lambda word: word != ";"), max_size=5))
def test_any_words_survive_the_rewriting(tmp_path_factory, words):
    host = Directory(str(tmp_path_factory.mktemp("host", numbered=True)))
    assert _through_systemd(host, words) == words


def _through_systemd(host, words):
    dropin = plan._command_dropin(["/usr/sbin/dockerd", *words], {"x\n[Evil]": ""})
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd\n")
    host.put(INSTANCE.command_dropin, dropin)
    unit = units.load(host, "docker.service")
    assert {assignment[0] for assignment in unit.assignments} == {"Service"}
    return [word.text for word in units.command(host, unit)][1:]


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("/usr/sbin/dockerd -H tcp://:2375 --label host=%H", "%H, which only systemd"),
        ("/usr/bin/env A=b dockerd -H tcp://:2375", "docker.service runs /usr/bin/env"),
        ("/usr/sbin/dockerd -H tcp://:2375 s3cret", "a word that is no flag"),
    ],
)
def test_what_cannot_be_written_again_is_refused(host, line, lacks):
    host.put(ADMIN + "a.conf", "[Service]\nExecStart=\nExecStart=%s\n" % line)
    with pytest.raises(Refused, match=lacks) as error:
        host.plan(DESIRED)
    assert "s3cret" not in str(error.value)


def test_a_specifier_is_no_trouble_where_nothing_is_rewritten(host):
    line = "/usr/sbin/dockerd -H fd:// --label host=%H"
    host.put(ADMIN + "a.conf", "[Service]\nExecStart=\nExecStart=%s\n" % line)
    assert host.plan(DESIRED).displaced == {}


def test_a_dropin_that_sorts_after_ours_is_not_overlooked(host):
    line = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2375\n"
    host.put(ADMIN + "zzz.conf", line)
    with pytest.raises(Refused, match=r"zzz\.conf sets ExecStart again after our drop-in"):
        host.plan(DESIRED)
    os.rename(host.real(ADMIN + "zzz.conf"), host.real(ADMIN) + "/a.conf")
    assert command(host, host.plan(DESIRED)) == ["/usr/sbin/dockerd", "-H", "fd://"]


def test_no_password_reaches_the_comment_that_everybody_reads(host):
    options = "-H tcp://:2375 --registry-mirror=https://ci:s3cret@mirror.example"
    host.put("/etc/default/docker", 'DOCKER_OPTS="%s"\n' % options)
    made = host.plan({"registry-mirrors": []})
    assert b"s3cret" not in after(made, INSTANCE.command_dropin)
    assert b"https://***@mirror.example" in after(made, INSTANCE.command_dropin)


# -- docker.socket


@pytest.mark.parametrize("address", ["2375", "0.0.0.0:2375", "[::]:2375"])
def test_tcp_in_docker_socket_is_closed(host, address):
    dropin = "[Socket]\nListenStream=%s\nListenStream=/run/ci.sock\n" % address
    host.put("/etc/systemd/system/docker.socket.d/tcp.conf", dropin)
    made = host.plan(DESIRED)
    assert made.displaced == {"ListenStream=%s (docker.socket)" % address: address}
    view = Candidate(host, {change.path: change.after for change in made.files})
    listeners = units.listeners(units.load(view, "docker.socket"))
    assert listeners == ["/run/docker.sock", "/run/ci.sock"]
    assert not made.candidate.told.tcp


def test_docker_socket_never_ends_without_a_listener(host):
    host.put(SOCKET, "[Socket]\nListenStream=2375\nSocketGroup=docker\n")
    made = host.plan(DESIRED)
    view = Candidate(host, {change.path: change.after for change in made.files})
    assert units.listeners(units.load(view, "docker.socket")) == ["/run/docker.sock"]


def test_tcp_that_comes_back_after_our_dropin_is_refused(host):
    host.put("/etc/systemd/system/docker.socket.d/zzz.conf", "[Socket]\nListenStream=2375\n")
    with pytest.raises(Refused, match=r"zzz\.conf sets ListenStream again"):
        host.plan(DESIRED)


@owned_by_root
def test_an_empty_listen_removes_what_we_own(host):
    tls = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
    wanted = {"service_dropin": "[Unit]\n", "tls_socket": "[Socket]\nListenStream=2376\n"}
    host.apply(host.plan({**DESIRED, **tls}, **wanted))
    assert [listener.port for listener in host.told().tcp] == [2376]
    made = host.plan(DESIRED)
    assert after(made, INSTANCE.tls_socket_path) is None
    assert after(made, INSTANCE.service_dropin) is None
    assert json.loads(after(made, CONFIG)) == DESIRED
    host.apply(made)
    assert not host.told().tcp
    assert not host.plan(DESIRED).changed


def test_a_masked_unit_is_left_where_it_is_not_wanted_and_refused_where_it_is(host):
    os.makedirs(host.real("/etc/systemd/system"))
    os.symlink("/dev/null", host.root + INSTANCE.tls_socket_path)
    assert [change.path for change in others(host.plan(DESIRED))] == [CONFIG]
    with pytest.raises(Refused, match="masked"):
        host.plan(DESIRED, tls_socket="[Socket]\nListenStream=2376\n")


# -- what stops a plan


@pytest.mark.parametrize("path", [SERVICE, SOCKET])
def test_a_host_without_an_engine_is_told_so(host, path):
    host.remove(path)
    with pytest.raises(Refused, match="There is no docker"):
        host.plan(DESIRED)


def test_broken_json_is_refused_with_line_and_column(host):
    host.put(CONFIG, '{\n  "icc": false\n  "mtu": 1400\n}\n')
    made = host.plan(DESIRED)
    assert CONFIG not in [change.path for change in made.files]
    with pytest.raises(Refused) as error:
        preflight.preflight(made, host, frozenset())
    assert "%s line 3, column 3: " % CONFIG in str(error.value)


def test_a_fifo_in_place_of_the_file_is_refused(host):
    os.makedirs(host.real("/etc/docker"))
    os.mkfifo(host.real(CONFIG))
    with pytest.raises(Refused, match="no regular file"):
        host.plan(DESIRED)


def test_an_owner_that_does_not_exist_is_refused(host):
    made = host.plan(DESIRED, socket_dropin="[Socket]\nSocketGroup=nobody-here\n")
    with pytest.raises(Refused, match="SocketGroup=nobody-here"):
        preflight.preflight(made, host, frozenset())


@pytest.mark.parametrize("mode", ["garbage", "0999", "-1", "777777777777", "0x1ff"])
def test_a_mode_that_is_none_is_passed_over_as_systemd_does(host, mode):
    made = host.plan(DESIRED, socket_dropin="[Socket]\nSocketMode=%s\n" % mode)
    assert made.candidate.socket_owner == ("root", "docker", 0o660)


def test_members_must_be_users_of_the_host(host):
    with pytest.raises(Refused, match="ghost"):
        host.plan(DESIRED, members=["ci", "ghost"])
    assert host.plan(DESIRED, members=["ci", "ci"]).members is None
    assert host.plan(DESIRED, members=[]).members == ("docker", ["ci"], [])
    assert host.plan(DESIRED).members is None


# -- owners and modes


@owned_by_root
@pytest.mark.parametrize(
    ("mode", "owner", "ends"),
    [
        (0o644, 0, None),
        (0o600, 0, None),
        (0o666, 0, 0o644),
        (0o660, 0, 0o640),
        (0o644, 1000, 0o644),
    ],
)
def test_a_file_that_others_write_is_taken_back(host, mode, owner, ends):
    host.put(CONFIG, {"icc": False}, mode=mode)
    os.chown(host.real(CONFIG), owner, 0)
    made = host.plan({"icc": False})
    assert [change.mode for change in others(made)] == ([] if ends is None else [ends])


@owned_by_root
def test_a_password_in_the_file_is_for_root_only(host):
    proxies = {"proxies": {"http-proxy": "http://ci:s3cret@proxy.example:3128"}}
    made = host.plan(proxies)
    assert [change.mode for change in others(made)] == [0o600]
    host.apply(made)
    assert host.plan(proxies).files == []
    os.chmod(host.real(CONFIG), 0o644)
    assert [change.mode for change in host.plan(proxies).files] == [0o600]


# -- with a daemon, as data


def running(host, info=None, containers=None, told=None, **rest):
    """The daemon of conftest with a few containers and images; ``told`` is what it has read."""
    info = {"Containers": 2, "Images": 3, **(info or {})}
    seen = conftest.running(host, **{"info": info, "containers": containers or {}, **rest})
    if told is not None:
        seen.read.data = told
    return seen


def make(seen, host, directives, **rest):
    return plan.make(seen, host, plan.Desired(directives, **rest))


WEB = {"id": ("web", 42)}


def test_nothing_changed_needs_nothing(host):
    host.keep_safe()
    made = make(running(host), host, {})
    assert (made.activation, made.changed, made.inode) == ("none", False, None)


def test_a_reload_does_where_a_reload_is_enough(host):
    made = make(running(host), host, {"debug": False, "labels": ["a=b"]})
    assert made.activation == "reload"
    made = make(running(host), host, {"labels": ["a=b"], "icc": False})
    assert made.activation == "restart"


def test_live_restore_comes_first_where_containers_run(host):
    host.put(CONFIG, {"mtu": 1400})
    made = make(running(host, containers=WEB), host, DESIRED)
    assert json.loads(made.keeper) == {"mtu": 1400, "live-restore": True}
    assert made.dangers == {}
    # Where none runs, somebody may start one before the restart.
    assert json.loads(make(running(host), host, DESIRED).keeper)["live-restore"] is True
    live = running(host, {"LiveRestoreEnabled": True}, WEB)
    assert make(live, host, DESIRED).keeper is None


def test_a_restart_that_would_stop_containers_is_a_danger(host):
    made = make(running(host, containers=WEB), host, {"icc": False})
    assert "stops 1 running containers" in made.dangers["dockerd_allow_container_stop"]
    host.put("/etc/default/docker", "DOCKER_OPTS=--live-restore=false\n")
    made = make(running(host, containers=WEB), host, DESIRED)
    assert "DOCKER_OPTS" in made.dangers["dockerd_allow_container_stop"]


@pytest.mark.parametrize(
    ("config", "directives", "allow", "activation", "waits"),
    [
        ({}, {}, [], "none", True),  # nothing else is wanted
        ({}, {"labels": ["a=b"]}, [], "reload", True),
        ({}, {"icc": False}, [], "restart", False),  # refused, for what the operator wants
        ({}, {}, ["dockerd_allow_container_stop"], "restart", False),
        ({"live-restore": True}, {"live-restore": True}, [], "restart", False),
    ],
)
def test_an_upgraded_engine_waits_where_its_start_would_stop_containers(
    host, config, directives, allow, activation, waits
):
    host.put(CONFIG, config)
    process = replace(running(host).does.process, executable="/usr/sbin/dockerd (deleted)")
    info = {"LiveRestoreEnabled": bool(config)}
    made = make(running(host, info=info, containers=WEB, process=process), host, directives)
    plan.postpone_upgrade(made, frozenset(allow))
    assert made.activation == activation
    assert any("goes on: the restart stops 1" in note for note in made.notes) == waits
    assert bool(made.dangers.keys() - set(allow)) == (directives == {"icc": False})


def test_a_daemon_that_cannot_be_asked_may_have_containers(host):
    silent = running(host, answers=False, info={}, problem="no answer")
    made = make(silent, host, DESIRED)
    assert "no answer" in made.dangers["dockerd_allow_container_stop"]
    host.put(CONFIG, {"live-restore": True})
    silent = running(host, answers=False, info={}, problem="no answer")
    assert make(silent, host, DESIRED).dangers == {}


@pytest.mark.parametrize("name", ["data-root", "userns-remap"])
def test_hidden_data_is_a_danger(host, name):
    made = make(running(host), host, {name: "x"})
    assert name in made.dangers["dockerd_allow_hidden_data"]
    assert make(running(host, {"Containers": 0, "Images": 0}), host, {name: "x"}).dangers == {}


def test_data_is_hidden_by_what_somebody_wrote_and_never_started(host):
    """The run restarts the daemon for another reason, and it would take this up as well."""
    host.put(CONFIG, {"data-root": "/elsewhere"})
    made = make(running(host, told={}), host, {"icc": False})
    assert "dockerd_allow_hidden_data" in made.dangers


def test_a_danger_is_refused_unless_its_variable_allows_it(host):
    made = make(running(host), host, {"data-root": "/srv"})
    with pytest.raises(Refused, match="dockerd_allow_hidden_data: true"):
        preflight.preflight(made, host, frozenset())
    preflight.preflight(made, host, frozenset(["dockerd_allow_hidden_data"]))


def test_a_swarm_node_gets_no_live_restore(host):
    swarm = running(host, {"Swarm": {"LocalNodeState": "active"}})
    made = make(swarm, host, DESIRED)
    assert "live-restore" not in json.loads(after(made, CONFIG))
    assert "swarm" in made.notes[0]


@pytest.mark.parametrize(
    ("dropin", "wanted"),
    [
        (SOCKET_DROPIN, None),
        ("[Socket]\nSocketUser=0\nSocketGroup=998\n", None),
        ("[Socket]\nSocketGroup=ci\n", ("root", "ci", 0o660)),
        ("[Socket]\nSocketMode=0600\n", ("root", "docker", 0o600)),
    ],
)
def test_the_live_socket_is_given_away_once(host, dropin, wanted):
    made = make(running(host), host, {}, socket_dropin=dropin)
    assert made.inode == (wanted and (("root", "docker", 0o660), wanted))


def test_a_foreign_log_driver_by_flag_keeps_its_own_options(host):
    host.put("/etc/default/docker", "DOCKER_OPTS=--log-driver=journald\n")
    made = host.plan(DESIRED)
    assert "log-opts" not in json.loads(after(made, CONFIG))
    assert any("log-opts is left out" in note for note in made.notes)


def test_a_key_that_the_unit_already_gives_leaves_the_file(host):
    host.put(CONFIG, {"containerd": "/run/containerd/containerd.sock"})
    made = host.plan(DESIRED)
    assert "containerd" not in json.loads(after(made, CONFIG))
    assert "containerd (%s)" % CONFIG in made.displaced


def test_certificates_to_come_are_no_reason_to_refuse(host):
    tls = {"tlsverify": True, "tlscacert": "/ca.pem", "tlscert": "/cert.pem", "tlskey": "/key.pem"}
    missing = host.plan(tls)
    with pytest.raises(Refused, match="is not there"):
        preflight.preflight(missing, host, frozenset())
    made = host.plan(tls, predicted=("/ca.pem", "/cert.pem", "/key.pem"))
    preflight.preflight(made, host, frozenset())


def test_usr_merge(empty, host):
    """A host whose /lib is a link to usr/lib has each unit once."""
    os.symlink("usr/lib", host.root + "/lib")
    assert host.told().service.path == SERVICE
    assert drift.gaps(host.seen()) == []
    assert isinstance(host, Host)


@pytest.mark.parametrize("mode", ["0666", "432", "0667"])
def test_a_socket_for_everybody_is_refused(host, mode):
    """0660 without quotes is 432 by the time it is written."""
    with pytest.raises(Refused, match="dockerd_socket_mode"):
        host.plan(DESIRED, socket_dropin="[Socket]\nSocketMode=%s\n" % mode)


LISTENING = "[Socket]\nListenStream=%s\nService=docker.service\n"


@pytest.mark.parametrize(
    "value",
    ["0.0.0.0:99999", "localhost:2376", "tcp://0.0.0.0:2376", "0", "::1:2376", "[10.0.0.1]:2376"],
)
def test_a_listener_that_systemd_would_not_take_is_refused(host, value):
    with pytest.raises(Refused, match="dockerd_listen: "):
        host.plan(DESIRED, tls_socket=LISTENING % value)


@pytest.mark.parametrize("value", ["0.0.0.0:2376", "[::]:2376", "2376", "[fe80::1]:65535"])
def test_a_listener_that_systemd_takes(host, value):
    assert host.plan(DESIRED, tls_socket=LISTENING % value).candidate.told.tcp[0].port


@pytest.mark.parametrize("value", ["garbage", "10.0.0.0/40", "localhost 1.2.3"])
def test_a_filter_that_systemd_would_pass_over_is_refused(host, value):
    text = LISTENING % "0.0.0.0:2376" + "IPAddressAllow=%s\n" % value
    with pytest.raises(Refused, match="dockerd_listen_allow: "):
        host.plan(DESIRED, tls_socket=text)


def test_what_somebody_changed_of_ours_is_displaced(host):
    """Ours was false, somebody made it true: it goes back, and that is said."""
    seen = host.seen()
    seen.told.document.data["icc"] = True
    seen.manifest.owned = {"icc": True}
    seen.manifest.applied = {"data": {"icc": False}}
    made = plan.make(seen, host, plan.Desired({"icc": False}))
    assert made.displaced == {"icc (%s)" % seen.told.config_path: True}


def test_a_drop_in_of_somebody_else_with_a_name_of_ours_stays(host):
    path = INSTANCE.service_dropin
    host.put(path, "[Service]\nEnvironment=HTTPS_PROXY=http://proxy:3128\n")
    made = make(running(host), host, DESIRED)
    assert path not in [change.path for change in made.files]
    with pytest.raises(Refused, match="somebody else's, and ours has that name"):
        make(running(host), host, DESIRED, service_dropin="[Service]\nLimitNOFILE=5\n")


def test_containers_that_outlived_the_daemon_are_not_given_up(host):
    down = {"units": {key: {"ActiveState": "inactive"} for key in INSTANCE.units}}
    seen = running(host, answers=False, process=None, outlived=2, **down)
    made = make(seen, host, {"icc": False})
    assert "2 containers have outlived" in made.dangers["dockerd_allow_container_stop"]
    assert make(seen, host, DESIRED).dangers == {}
    made = make(seen, host, {**DESIRED, "userns-remap": "default"})
    assert list(made.dangers) == ["dockerd_allow_hidden_data"]


def test_what_a_daemon_holds_that_cannot_be_asked_is_seen_on_disk(host):
    down = {"units": {key: {"ActiveState": "inactive"} for key in INSTANCE.units}}
    seen = running(host, answers=False, process=None, **down)
    moved = {**DESIRED, "data-root": "/srv/docker"}
    assert make(seen, host, moved).dangers == {}
    host.put("/var/lib/docker/100000.100000/image/overlay2/imagedb/content/sha256/x", "")
    assert list(make(seen, host, moved).dangers) == ["dockerd_allow_hidden_data"]


def test_services_that_go_down_with_the_daemon_are_told(host):
    made = make(running(host, dependents={"app.service": True, "x.service": False}), host, DESIRED)
    assert "containers of app.service" in made.dangers["dockerd_allow_container_stop"]
    assert "restarted with docker.service: x.service" in made.notes
