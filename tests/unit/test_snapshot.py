# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from _dockerd import snapshot, told
from _dockerd.does import Does, Process
from _dockerd.instance import Instance
from _dockerd.snapshot import Manifest, Snapshot
from _dockerd.told import Listener
from conftest import CONFIG, SERVICE

INSTANCE = Instance()
OPTIONS = "/etc/default/docker"


# -- told: flags, environment, file


def test_a_stock_host(host):
    told = host.told()
    assert [word.text for word in told.words] == [
        "/usr/sbin/dockerd",
        "-H",
        "fd://",
        "--containerd=/run/containerd/containerd.sock",
    ]
    assert told.data == {}
    assert told.raw is None
    assert (told.error, told.unreadable) == ("", "")
    assert told.version == (26, 1, 5)
    assert told.tls_socket is None
    assert [listener.path for listener in told.listeners] == ["/run/docker.sock"]
    assert told.tcp == []


def test_an_empty_directory_tells_nothing_and_breaks_nothing(empty):
    seen = empty.seen("")
    assert (seen.told.service, seen.does, seen.whole) == (None, None, False)
    assert [word.text for word in seen.told.words] == list(told.STOCK)
    assert seen.told.version is None
    assert seen.missing_owners == {}


@pytest.mark.parametrize(
    ("options", "directive", "value"),
    [
        ("--debug", "debug", True),
        ("-D", "debug", True),
        ("--debug=false", "debug", False),
        ("--log-level warn", "log-level", "warn"),
        ("-l warn --log-level=error", "log-level", "error"),
        ("--label a=b --label=c=d", "labels", ["a=b", "c=d"]),
        ("--label 'a=b c'", "labels", ["a=b c"]),
        ("--dns 192.0.2.1", "dns", ["192.0.2.1"]),
        ("--tlsverify --tlscacert=/ca.pem", "tlscacert", "/ca.pem"),
        ("", "debug", None),
    ],
)
def test_flags_in_docker_opts(host, options, directive, value):
    host.put(OPTIONS, 'DOCKER_OPTS="%s"\n' % options)
    told = host.told()
    assert told.setting(directive) == value
    if value is not None:
        assert OPTIONS in told.where(directive)


def test_a_flag_wins_over_the_file_and_the_place_is_named(host):
    host.put(CONFIG, '{\n "mtu": 1400,\n "debug": false\n}')
    told = host.told()
    assert told.where("debug") == "%s line 3" % CONFIG
    assert told.setting("debug") is False
    host.put(OPTIONS, "DOCKER_OPTS=-D\n")
    assert host.told().setting("debug") is True
    assert host.told().where("debug").startswith("-D in ")


def test_the_environment_comes_from_files_and_assignments(host):
    host.put(OPTIONS, "HTTP_PROXY=http://new\n")
    host.put(
        "/etc/systemd/system/docker.service.d/a.conf",
        '[Service]\nEnvironment=HTTP_PROXY=http://old "NO_PROXY=a b"\n',
    )
    assert host.told().environment == {"HTTP_PROXY": "http://new", "NO_PROXY": "a b"}


@pytest.mark.parametrize("flag", ["--config-file=/srv/d.json", "--config-file srv/d.json"])
def test_another_config_file(host, flag):
    host.put("/srv/d.json", {"icc": False})
    host.put(OPTIONS, 'DOCKER_OPTS="%s"\n' % flag)
    told = host.told()
    assert (told.config_path, told.data) == ("/srv/d.json", {"icc": False})


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b'{"icc": }', "line 1, column 9"), (b"[]", "line 1"), (b"{", "line 1"), (b"\xff", "line 1")],
)
def test_a_broken_file_is_told_with_its_place(host, raw, words):
    host.put(CONFIG, raw)
    told = host.told()
    assert told.document is None
    assert told.data == {}
    assert told.error.startswith(CONFIG)
    assert words in told.error


def test_what_cannot_be_read_is_neither_broken_nor_absent(host):
    os.makedirs(host.real(CONFIG))
    told = host.told()
    assert told.document is None
    assert told.error == ""
    assert "no regular file" in told.unreadable


# -- listeners


@pytest.mark.parametrize(
    ("value", "host", "port", "path"),
    [
        ("2375", "0.0.0.0", 2375, ""),
        ("0.0.0.0:2376", "0.0.0.0", 2376, ""),
        ("[::]:2376", "::", 2376, ""),
        ("127.0.0.1:2375", "127.0.0.1", 2375, ""),
        ("/run/docker.sock", "", 0, "/run/docker.sock"),
        ("@abstract", "", 0, "@abstract"),
        ("garbage", "0.0.0.0", 0, ""),
        ("10.0.0.1:\u00b2", "10.0.0.1", 0, ""),
        ("%t/docker.sock", "0.0.0.0", 0, ""),
        (":", "0.0.0.0", 0, ""),
    ],
)
def test_listen_stream(value, host, port, path):
    assert told.activated(value, "x") == Listener(value, "x", host, port, path)


@pytest.mark.parametrize(
    ("value", "host", "port", "path"),
    [
        ("tcp://0.0.0.0:2375", "0.0.0.0", 2375, ""),
        ("tcp://", "127.0.0.1", 2375, ""),
        ("tcp://10.0.0.1", "10.0.0.1", 2375, ""),
        ("tcp://[::1]:2376", "::1", 2376, ""),
        ("tcp://:2375", "127.0.0.1", 2375, ""),
        ("10.0.0.1:2375", "10.0.0.1", 2375, ""),
        ("http://10.0.0.1:80", "10.0.0.1", 80, ""),
        ("unix:///run/ci.sock", "", 0, "/run/ci.sock"),
        ("unix://", "", 0, "/var/run/docker.sock"),
        ("tcp://host:garbage", "", 0, ""),
        ("tcp://host:99999", "", 0, ""),
        ("tcp://[::1", "", 0, ""),
        ("npipe://x", "", 0, ""),
    ],
)
def test_hosts(value, host, port, path):
    assert told.endpoint(value, "x") == Listener(value, "x", host, port, path)


UNIX, TCP = "unix://", "tcp://localhost:2376"


@pytest.mark.parametrize(
    ("flags", "data", "version", "addresses"),
    [
        ("", {}, "26.1.5", [UNIX]),
        ("-H ''", {}, "26.1.5", [UNIX]),
        ("", {"hosts": []}, "26.1.5", [UNIX]),
        ("-H fd://", {"tls": True}, "26.1.5", []),
        ("", {"tls": True}, "26.1.5", [TCP]),
        ("", {"tls": True, "hosts": ["", "tcp://:1"]}, "26.1.5", [TCP, "tcp://:1"]),
        ("", {"tls": False}, "26.1.5", [UNIX]),
        ("--tls", {}, "26.1.5", [TCP]),
        ("--tls=false", {}, "26.1.5", [UNIX]),
        ("--tlsverify", {}, "26.1.5", [TCP]),
        ("--tlsverify=false", {}, "26.1.5", [TCP]),
        ("", {"tlsverify": True}, "26.1.5", [UNIX]),
        ("", {"tlsverify": True}, "20.10.24", [TCP]),
    ],
)
def test_where_dockerd_listens_unless_told(empty, flags, data, version, addresses):
    empty.put(CONFIG, data)
    found = told.read_told(Instance(), empty, version, flags)
    assert [listener.address for listener in found.listeners] == addresses


def test_listeners_from_everywhere(host):
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\nListenStream=1\n")
    host.put("/etc/systemd/system/docker-tls.socket", "[Socket]\nListenStream=2\n")
    host.put(OPTIONS, "DOCKER_OPTS=-H tcp://:3\n")
    host.put(CONFIG, {"hosts": ["tcp://:4", "fd://", 5, None]})
    listeners = host.told().tcp
    assert [listener.port for listener in listeners] == [1, 2, 3, 4]
    assert listeners[3].origin == CONFIG
    assert "docker.socket.d" in listeners[0].origin


@pytest.mark.parametrize(
    ("host", "reach"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("", "127.0.0.1"), ("10.0.0.1", "10.0.0.1")],
)
def test_where_a_listener_is_reached_from_the_host_itself(host, reach):
    assert Listener("x", "x", host, 1).reach == reach


CA = "--tlscacert=/ca.pem"


@pytest.mark.parametrize(
    ("options", "data", "tls", "verifies"),
    [
        ("", {}, False, False),
        ("", {"tlsverify": True, "tlscacert": "/ca.pem"}, True, True),
        ("", {"tlsverify": True}, True, False),
        ("", {"tlsverify": False, "tlscacert": "/ca.pem"}, True, False),
        ("", {"tlsverify": None, "tlscacert": "/ca.pem"}, True, True),
        ("", {"tlsverify": "true", "tlscacert": "/ca.pem"}, True, False),
        ("", {"tls": True, "tlscacert": "/ca.pem"}, True, True),
        ("", {"tls": True}, True, False),
        ("", {"tls": True, "tlsverify": False, "tlscacert": "/ca.pem"}, True, False),
        ("", {"tls": False, "tlsverify": True, "tlscacert": "/ca.pem"}, True, True),
        ("", {"tls": False, "tlscacert": "/ca.pem"}, False, False),
        ("", {"tls": None, "tlscacert": "/ca.pem"}, False, False),
        (CA, {"tlsverify": True}, True, False),
        (CA, {}, False, False),
        ("--tlsverify", {}, True, True),
        ("--tlsverify=false", {}, True, False),
        ("--tlsverify", {"tls": False}, True, True),
        ("--tls " + CA, {}, True, True),
        ("--tls", {"tlsverify": False}, True, False),
        ("--tls=false", {"tlsverify": True}, True, False),
        ("--tls=false " + CA, {}, False, False),
        ("env", {}, False, False),
        ("env " + CA, {}, False, False),
        ("env", {"tlsverify": True}, True, True),
        ("env", {"tls": True}, True, True),
        ("env", {"tls": False}, False, False),
        ("env --tls=false", {}, True, True),
        ("env --tlsverify=false", {}, True, False),
    ],
)
def test_what_counts_as_verified(host, options, data, tls, verifies):
    lines = ["DOCKER_OPTS='%s'" % options.replace("env", "").strip()]
    if options.startswith("env"):
        lines.append("DOCKER_TLS_VERIFY=0")  # whatever it says
    host.put(OPTIONS, "\n".join(lines))
    host.put(CONFIG, data)
    found = host.told()
    assert (found.tls, found.verifies) == (tls, verifies)


@pytest.mark.parametrize(
    ("options", "data", "path", "where"),
    [
        ("", {"tlsverify": True}, None, "set nowhere"),
        ("", {"tlsverify": True, "tlscert": "/a.pem"}, "/a.pem", CONFIG + " line 1"),
        ("--tlscert=/a.pem", {"tls": True}, None, "--tlscert=/a.pem in "),
        ("--tls --tlscert=/a.pem", {}, "/a.pem", "--tlscert=/a.pem in "),
        ("--tls", {"tlscert": "/a.pem"}, "/a.pem", CONFIG + " line 1"),
        ("--tls", {}, "/root/.docker/cert.pem", "dockerd's default"),
        ("--tls", {"tlscert": ""}, "/root/.docker/cert.pem", "dockerd's default"),
    ],
)
def test_the_tls_files_that_dockerd_reads(host, options, data, path, where):
    host.put(OPTIONS, "DOCKER_OPTS='%s'" % options)
    host.put(CONFIG, data)
    assert host.told().setting("tlscert") == path
    assert host.told().where("tlscert").startswith(where)


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ("HOME=/home/me", "/home/me/.docker/ca.pem"),
        ("HOME=/home/me\nDOCKER_CONFIG=/srv/conf", "/srv/conf/ca.pem"),
        ("DOCKER_CONFIG=/srv/conf\nDOCKER_CERT_PATH=/srv/certs", "/srv/certs/ca.pem"),
        ("DOCKER_CERT_PATH=srv", "/srv/ca.pem"),
    ],
)
def test_where_dockerd_looks_for_tls_files_that_nobody_names(host, environment, path):
    host.put(OPTIONS, environment + "\nDOCKER_OPTS=--tlsverify\n")
    assert host.told().setting("tlscacert") == path


# -- files


HOSTILE = [5, True, "text", [], ["a", 5, None, {}, "../../etc/x", "a\0b", "x" * 5000], {"a": []}]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name",
    [
        "hosts",
        "authorization-plugins",
        "tls",
        "tlsverify",
        "tlscacert",
        "tlscert",
        "tlskey",
        "seccomp-profile",
        "insecure-registries",
        "log-opts",
        "data-root",
    ],
)
def test_directives_of_wrong_types_are_no_traceback(host, name, value):
    host.put(CONFIG, {name: value})
    assert host.seen().told.document is not None


@pytest.mark.parametrize("path", ["/a\0b", "/loop", "/fifo", "/directory", "/" + "x" * 300, "rel"])
@pytest.mark.parametrize("names", [["tlscert", "tlskey"], ["tlscacert"], ["seccomp-profile"]])
def test_hostile_paths_are_no_traceback_and_no_hang(host, path, names):
    os.symlink("loop", host.root + "/loop")
    os.mkfifo(host.root + "/fifo")
    os.mkdir(host.root + "/directory")
    host.put(CONFIG, {"tlsverify": True, "tlskey": "/k", **dict.fromkeys(names, path)})
    seen = host.seen()
    if "tlscert" in names and path in ("/fifo", "/directory"):
        assert "no regular file" in seen.tls.problem
    if path in ("/loop", "/a\0b", "/" + "x" * 300):
        assert path in seen.unreadable


@pytest.fixture
def tls(host, pair):
    certificate, key = pair
    host.put("/tls/cert.pem", certificate)
    host.put("/tls/key.pem", key, mode=0o400)
    host.put("/tls/ca.pem", certificate)
    names = {"tlscacert": "/tls/ca.pem", "tlscert": "/tls/cert.pem", "tlskey": "/tls/key.pem"}
    host.put(CONFIG, {"tlsverify": True, **names})
    return host


def test_a_pair_that_serves(tls):
    seen = tls.seen()
    assert seen.tls.problem == ""
    assert seen.tls.leaf[:1] == b"\x30"
    units = {INSTANCE.tls_socket_path, INSTANCE.service_dropin}
    assert set(seen.digests) == {"/tls/ca.pem", "/tls/cert.pem", *units}
    assert seen.digests[INSTANCE.tls_socket_path] == ""


@pytest.mark.parametrize(
    ("dropin", "owner"),
    [
        ("", ("root", "docker", 0o660)),
        ("SocketUser=1000\nSocketGroup=1000\n", ("ci", "ci", 0o660)),
        ("SocketMode=0600\nSocketMode=rwx\n", ("root", "docker", 0o600)),
        ("SocketMode=\nSocketGroup=\n", ("root", "root", 0o666)),
    ],
)
def test_the_owner_of_the_unix_socket(host, dropin, owner):
    host.put("/etc/systemd/system/docker.socket.d/a.conf", "[Socket]\n" + dropin)
    assert host.seen().socket_owner == owner


# -- what we remember


DAMAGED = ["", "{", "[]", "5", "[" * 99999, '{"owned": 5}', '{"owned": {}, "files": 1}']
KEPT = Manifest({"log-opts": ["max-size"]}, ["/a"], {"identity": [1]}, ["unix:///run/ci.sock"])
OURS = "# Managed by hardened.docker, role dockerd.\n[Socket]\nSocketGroup=docker\n"


@pytest.mark.parametrize("raw", DAMAGED)
def test_a_damaged_manifest_is_read_from_its_spare_copy(host, raw):
    host.put(INSTANCE.manifest_path, raw)
    host.put(INSTANCE.spare_path, KEPT.dump())
    found = snapshot.read_manifest(INSTANCE, host)
    assert found.damaged.startswith("%s cannot be read (" % INSTANCE.manifest_path)
    assert replace(found, damaged="") == KEPT


def test_a_manifest_that_is_gone_is_read_from_its_spare_copy(host):
    host.put(INSTANCE.spare_path, KEPT.dump())
    gone = "%s is gone" % INSTANCE.manifest_path
    assert snapshot.read_manifest(INSTANCE, host) == replace(KEPT, damaged=gone)


@pytest.mark.parametrize("raw", [None, *DAMAGED])
def test_a_spare_copy_does_not_count_beside_the_manifest(host, raw):
    host.put(INSTANCE.manifest_path, KEPT.dump())
    if raw is not None:
        host.put(INSTANCE.spare_path, raw)
    assert snapshot.read_manifest(INSTANCE, host) == KEPT


@pytest.mark.parametrize("raw", [None, *DAMAGED])
@pytest.mark.parametrize("spare", [None, "{"])
def test_without_a_manifest_units_are_ours_that_say_so(host, raw, spare):
    """Not those of somebody else in the same place, nor directives, which bear no name."""
    for path, text in ((INSTANCE.manifest_path, raw), (INSTANCE.spare_path, spare)):
        if text is not None:
            host.put(path, text)
    host.put(CONFIG, {"icc": False})
    assert snapshot.read_manifest(INSTANCE, host).files == []
    host.put(INSTANCE.socket_dropin, OURS)
    host.put(INSTANCE.service_dropin, "[Service]\n# " + "x" * 200 + OURS)
    found = snapshot.read_manifest(INSTANCE, host)
    assert INSTANCE.manifest_path in found.damaged
    assert replace(found, damaged="") == Manifest(files=[INSTANCE.socket_dropin])


def test_a_host_that_we_never_saw_has_no_damaged_manifest(host):
    assert snapshot.read_manifest(INSTANCE, host) == Manifest()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_manifest_that_is_no_file_is_damaged(host, make):
    os.makedirs(host.real(INSTANCE.state_directory))
    make(host.real(INSTANCE.manifest_path))
    assert "no regular file" in snapshot.read_manifest(INSTANCE, host).damaged


def test_a_manifest_comes_back_as_it_was(host):
    kept = replace(KEPT, transaction="f00")
    host.put(INSTANCE.manifest_path, kept.dump())
    assert snapshot.read_manifest(INSTANCE, host) == kept
    old = json.loads(kept.dump())
    del old["hosts"], old["transaction"]
    host.put(INSTANCE.manifest_path, old)
    found = snapshot.read_manifest(INSTANCE, host)
    assert (found.hosts, found.transaction, found.damaged) == ([], "", "")


def _with_process(host, started, applied=None):
    seen = host.seen()
    process = Process(1, started, ["boot", 1, 7], ["/usr/sbin/dockerd", "-H", "fd://"])
    manifest = Manifest(applied=applied or {})
    seen = Snapshot(INSTANCE, seen.told, Does(process=process), manifest, files=seen.files)
    seen.digests = {"/tls/ca.pem": "1"}
    return seen


def test_what_was_recorded_for_this_process_counts(host):
    host.put(CONFIG, {"icc": False})
    applied = {"identity": ["boot", 1, 7], "data": {"icc": True}, "words": ["-D"]}
    applied["digests"] = {"/a": "2"}
    seen = _with_process(host, 0.0, applied)
    assert seen.recorded
    assert snapshot._infer(seen) == snapshot.Read({"icc": True}, ["-D"], {"/a": "2"})


def test_another_process_has_read_what_is_older_than_it(host):
    host.put(CONFIG, {"icc": False})
    changed = os.stat(host.real(CONFIG)).st_ctime
    applied = {"identity": ["boot", 1, 6], "data": {"icc": True}}
    after = _with_process(host, changed + 1, applied)
    assert not after.recorded
    read = snapshot._infer(after)
    assert (read.data, read.words) == ({"icc": False}, ["-H", "fd://"])
    before = snapshot._infer(_with_process(host, changed - 1, applied))
    assert before.data is None


def test_a_certificate_newer_than_the_process_was_not_read(tls):
    # A file that is moved to its place keeps the time of its content, and no other time counts.
    os.utime(tls.real("/tls/ca.pem"), (1000, 1000))
    seen = tls.seen()
    seen.files["/tls/ca.pem"] = replace(seen.files["/tls/ca.pem"], ctime=1000.0)
    started = Process(1, 2000.0, ["boot", 1, 7], [])
    read = snapshot._infer(
        Snapshot(
            INSTANCE,
            seen.told,
            Does(process=started),
            Manifest(),
            files=seen.files,
            digests=seen.digests,
        )
    )
    assert read.digests["/tls/ca.pem"] == seen.digests["/tls/ca.pem"]
    assert read.digests["/tls/cert.pem"] == "?"


def test_without_a_process_nothing_was_read(host):
    assert snapshot._infer(host.seen()) == snapshot.Read()


def test_several_lines_and_type_level_dropins(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd \\\n  -H fd:// \\\n  $DOCKER_OPTS\n")
    host.put("/etc/systemd/system/service.d/a.conf", "[Service]\nEnvironment=DOCKER_OPTS=-D\n")
    assert [word.text for word in host.told().words[1:]] == ["-H", "fd://", "-D"]
