# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from _dockerd import units
from _dockerd.errors import HostError
from _dockerd.host import Candidate, Host
from _dockerd.units import Setting, Word

DEBIAN = """\
[Unit]
Description=Docker Application Container Engine
Requires=docker.socket

[Service]
Type=notify
EnvironmentFile=-/etc/default/docker
# the packaged command line
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
ExecReload=/bin/kill -s HUP $MAINPID
LimitCORE=infinity

[Install]
WantedBy=multi-user.target
"""
DOCKER_CE = """\
[Service]
Type=notify
ExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock
"""
SOCKET = """\
[Socket]
ListenStream=/run/docker.sock
SocketMode=0660
"""
VENDOR = "/usr/lib/systemd/system"
ADMIN = "/etc/systemd/system"


@pytest.fixture
def host(tmp_path):
    """A host in a directory, and a way to put files on it."""
    made = Host(str(tmp_path))

    def put(path, text):
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            os.symlink("/dev/null", str(target))
        else:
            target.write_text(text)

    made.put = put
    return made


def texts(words):
    return [word.text for word in words]


def service(host, text, name="docker.service"):
    host.put("%s/%s" % (VENDOR, name), text)
    return units.load(host, name)


# -- loading


def test_no_unit(host):
    assert units.load(host, "docker.service") is None


def test_usr_merged_links_do_not_count_twice(host, tmp_path):
    host.put(VENDOR + "/docker.service", DEBIAN)
    host.put(VENDOR + "/docker.service.d/a.conf", "[Service]\nEnvironment=A=1\n")
    (tmp_path / "lib").symlink_to("usr/lib")
    unit = units.load(host, "docker.service")
    assert unit.path == VENDOR + "/docker.service"
    assert unit.dropins == [VENDOR + "/docker.service.d/a.conf"]


def test_administrators_unit_replaces_the_packaged_one(host):
    host.put(VENDOR + "/docker.service", DEBIAN)
    host.put(ADMIN + "/docker.service", DOCKER_CE)
    unit = units.load(host, "docker.service")
    assert unit.path == ADMIN + "/docker.service"
    assert texts(units.command(host, unit))[0] == "/usr/bin/dockerd"


@pytest.mark.parametrize("text", ["", None])
def test_masked(host, text):
    host.put(VENDOR + "/docker.service", DEBIAN)
    host.put(ADMIN + "/docker.service", text)
    unit = units.load(host, "docker.service")
    assert unit.masked
    assert units.command(host, unit) == []


def test_dropins_in_order_of_name_over_all_directories(host):
    host.put(VENDOR + "/docker.service", DOCKER_CE)
    host.put(VENDOR + "/docker.service.d/20-b.conf", "[Service]\nTasksMax=20\n")
    host.put(ADMIN + "/docker.service.d/10-a.conf", "[Service]\nTasksMax=10\n")
    host.put(ADMIN + "/service.d/30-c.conf", "[Service]\nTasksMax=30\n")
    host.put(ADMIN + "/docker.service.d/notes.txt", "[Service]\nTasksMax=99\n")
    unit = units.load(host, "docker.service")
    assert unit.dropins == [
        ADMIN + "/docker.service.d/10-a.conf",
        VENDOR + "/docker.service.d/20-b.conf",
        ADMIN + "/service.d/30-c.conf",
    ]
    assert unit.value("Service", "TasksMax") == "30"
    assert [s.value for s in unit.settings("Service", "TasksMax")] == ["10", "20", "30"]


@pytest.mark.parametrize("mask", ["", None, "[Service]\nTasksMax=1\n"])
def test_dropin_of_the_same_name_in_a_higher_directory_masks(host, mask):
    host.put(VENDOR + "/docker.service", DOCKER_CE)
    host.put(VENDOR + "/docker.service.d/a.conf", "[Service]\nTasksMax=20\nDelegate=yes\n")
    host.put(ADMIN + "/docker.service.d/a.conf", mask)
    unit = units.load(host, "docker.service")
    assert unit.value("Service", "Delegate") is None
    assert unit.value("Service", "TasksMax") == ("1" if mask else None)


def test_unit_type_directory_counts_less_than_the_units_own(host):
    host.put(VENDOR + "/docker.service", DOCKER_CE)
    host.put(VENDOR + "/docker.service.d/a.conf", "[Service]\nTasksMax=1\n")
    host.put(ADMIN + "/service.d/a.conf", "[Service]\nTasksMax=2\n")
    assert units.load(host, "docker.service").value("Service", "TasksMax") == "1"


def test_dash_directories(host):
    host.put(ADMIN + "/docker-tls.socket", "[Socket]\nListenStream=2376\n")
    host.put(ADMIN + "/docker-.socket.d/a.conf", "[Socket]\nListenStream=2375\n")
    assert units.listeners(units.load(host, "docker-tls.socket")) == ["2376", "2375"]


def test_candidate_shows_the_unit_as_it_would_be(host):
    host.put(VENDOR + "/docker.service", DOCKER_CE)
    dropin = ADMIN + "/docker.service.d/x.conf"
    candidate = Candidate(host, {dropin: b"[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n"})
    assert texts(units.command(candidate, units.load(candidate, "docker.service"))) == [
        "/usr/bin/dockerd"
    ]
    assert units.load(host, "docker.service").dropins == []


def test_directory_in_place_of_a_unit_is_an_error(host, tmp_path):
    (tmp_path / "etc/systemd/system/docker.service").mkdir(parents=True)
    with pytest.raises(HostError, match="no readable unit file"):
        units.load(host, "docker.service")


def test_syntax(host):
    unit = service(
        host,
        "[Service]\n"
        "; a comment\n"
        "  # another\n"
        "ExecStart = /usr/bin/dockerd \\\n"
        "# a comment within\n"
        "    --icc=false \\\n"
        "    -D\n"
        "Environment=A=\\\\\n"
        "nonsense\n"
        "[X-Foo]\n"
        "ExecStart=/bin/false\n"
        "[Service]\n"
        "User=root\\",
    )
    assert unit.settings("Service", "ExecStart") == [
        Setting("/usr/bin/dockerd      --icc=false      -D", VENDOR + "/docker.service", 4)
    ]
    assert unit.settings("Service", "Environment")[0].line == 8
    assert unit.value("Service", "User") == "root"


# -- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c 'd'\" e'f g'h", ["a b", "c 'd'", "ef gh"]),
        (r"a\x20b \u00e4 \101 \s", ["a b", "\u00e4", "A", " "]),
        (r"'a\'b' \"c", ["a'b", '"c']),
        (r"\d", [r"\d"]),
        ("'' x", ["", "x"]),
        ("'open x", ["open x"]),
        ("tail\\", ["tail\\"]),
        ("", []),
    ],
)
def test_split(text, words):
    assert units.split(text) == words


def test_split_of_a_variable_takes_backslashes_literally():
    assert units.split(r"a\ b \n 'c d'", escapes=False) == ["a b", "n", "c d"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\n# B=2\n; C=3\n\nD = 4 \n", [("A", "1", 1), ("D", "4", 5)]),
        ("A=\"x 'y z'\"\n", [("A", "x 'y z'", 1)]),
        ("A='x \"y\"'\nB=2", [("A", 'x "y"', 1), ("B", "2", 2)]),
        ("A=one \\\n two\nB=1\n", [("A", "one  two", 1), ("B", "1", 3)]),
        ('A="one\ntwo"\nB=1\n', [("A", "one\ntwo", 1), ("B", "1", 3)]),
        (r'A="a\"b\$c\d"', [("A", r'a"b$c\d', 1)]),
        ("A=-H 'x y'\n", [("A", "-H 'x y'", 1)]),
        ("A='x' 'y'\n", [("A", "xy", 1)]),
        ("export A=1\n1B=2\nnothing\n", []),
        ("A=\n", [("A", "", 1)]),
        ("A=x # no comment\r\n", [("A", "x # no comment", 1)]),
        ("A='open\nB=1\n", [("A", "open\nB=1\n\n", 1)]),
    ],
)
def test_environment_file(text, found):
    assert units.environment_file(text) == found


def test_environment(host):
    host.put("/etc/default/docker", "A=file\nC=3\n")
    unit = service(
        host,
        "[Service]\n"
        "Environment=\"A=a b\" B=2 'D=50%%' =x 7=x\n"
        "EnvironmentFile=-/etc/default/docker\n"
        "EnvironmentFile=-/etc/default/absent\n"
        "UnsetEnvironment=C\n",
    )
    assert unit.environment(host) == {"A": "file", "B": "2", "D": "50%"}


# -- command lines


def test_debian_without_options(host):
    unit = service(host, DEBIAN)
    words = units.command(host, unit)
    assert texts(words) == [
        "/usr/sbin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock",
    ]  # fmt: skip
    assert words[0] == Word(
        "/usr/sbin/dockerd",
        VENDOR + "/docker.service",
        9,
        "ExecStart in %s/docker.service line 9" % VENDOR,
    )


def test_debian_with_options(host):
    host.put(
        "/etc/default/docker",
        "# Debian\nDOCKER_OPTS=\"-H tcp://0.0.0.0:2375 --label 'a b=c'\"\n",
    )
    words = units.command(host, service(host, DEBIAN))
    assert texts(words)[4:] == ["-H", "tcp://0.0.0.0:2375", "--label", "a b=c"]
    assert {word[1:4] for word in words[4:]} == {
        ("/etc/default/docker", 2, "DOCKER_OPTS in /etc/default/docker")
    }
    found = units.flags(words)
    assert [(flag.directive, flag.value) for flag in found] == [
        ("hosts", "fd://"),
        ("containerd", "/run/containerd/containerd.sock"),
        ("hosts", "tcp://0.0.0.0:2375"),
        ("labels", "a b=c"),
    ]
    assert found[2].words == ("-H", "tcp://0.0.0.0:2375")
    assert found[2].origin == "DOCKER_OPTS in /etc/default/docker"


def test_dropin_that_resets(host):
    host.put(VENDOR + "/docker.service", DEBIAN)
    path = ADMIN + "/docker.service.d/override.conf"
    host.put(path, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2375\n")
    words = units.command(host, units.load(host, "docker.service"))
    assert texts(words) == ["/usr/sbin/dockerd", "-H", "tcp://0.0.0.0:2375"]
    assert words[2].path == path and words[2].line == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-/usr/bin/dockerd -D", ["/usr/bin/dockerd", "-D"]),
        ("+!/usr/bin/dockerd", ["/usr/bin/dockerd"]),
        ("@/usr/bin/dockerd docker -D", ["/usr/bin/dockerd", "-D"]),
        (":/usr/bin/dockerd $A ${A}", ["/usr/bin/dockerd", "$A", "${A}"]),
        ("/usr/bin/dockerd $A", ["/usr/bin/dockerd", "x", "y z"]),
        ("/usr/bin/dockerd ${A}", ["/usr/bin/dockerd", "x 'y z'"]),
        ("/usr/bin/dockerd --label=a=${B}-$B", ["/usr/bin/dockerd", "--label=a=b-$B"]),
        ("/usr/bin/dockerd $NONE --x=${NONE}", ["/usr/bin/dockerd", "--x="]),
        (
            "/usr/bin/dockerd $$A 5%% %n %t",
            ["/usr/bin/dockerd", "$A", "5%", "docker.service", "%t"],
        ),
        ("/usr/bin/dockerd -D ; /bin/true", ["/usr/bin/dockerd", "-D"]),
        ("/usr/bin/dockerd $", ["/usr/bin/dockerd", "$"]),
    ],
)
def test_command(host, line, words):
    unit = service(host, "[Service]\nEnvironment=\"A=x 'y z'\" B=b\nExecStart=%s\n" % line)
    assert texts(units.command(host, unit)) == words


def test_no_command(host):
    assert units.command(host, service(host, "[Service]\nExecStart=/bin/a\nExecStart=\n")) == []


# -- flags


def read(line):
    words = [Word(text, "", 0, "") for text in units.split(line)]
    return [(flag.directive, flag.flag, flag.value, flag.words) for flag in units.flags(words)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--host=tcp://x", [("hosts", "host", "tcp://x", ("--host=tcp://x",))]),
        ("--host tcp://x", [("hosts", "host", "tcp://x", ("--host", "tcp://x"))]),
        ("-H y", [("hosts", "host", "y", ("-H", "y"))]),
        ("-Hy", [("hosts", "host", "y", ("-Hy",))]),
        ("-H=y", [("hosts", "host", "y", ("-H=y",))]),
        ("--icc", [("icc", "icc", True, ("--icc",))]),
        ("--icc=false x", [("icc", "icc", False, ("--icc=false",))]),
        ("--icc=0", [("icc", "icc", False, ("--icc=0",))]),
        ("--icc=no", [("icc", "icc", "no", ("--icc=no",))]),
        ("--icc false", [("icc", "icc", True, ("--icc",))]),
        ("-D", [("debug", "debug", True, ("-D",))]),
        ("-D=false", [("debug", "debug", False, ("-D=false",))]),
        (
            "-DH fd://",
            [("debug", "debug", True, ("-D",)), ("hosts", "host", "fd://", ("-H", "fd://"))],
        ),
        (
            "-Dldebug",
            [("debug", "debug", True, ("-D",)), ("log-level", "log-level", "debug", ("-ldebug",))],
        ),
        ("--new=x", [("new", "new", "x", ("--new=x",))]),
        ("--new x -D", [("new", "new", "x", ("--new", "x")), ("debug", "debug", True, ("-D",))]),
        ("--new -D", [("new", "new", True, ("--new",)), ("debug", "debug", True, ("-D",))]),
        ("--label --icc", [("labels", "label", "--icc", ("--label", "--icc"))]),
        ("--label", [("labels", "label", True, ("--label",))]),
        ("-Z", [("Z", "Z", True, ("-Z",))]),
        ("/usr/bin/dockerd - x", []),
        ("-- -D", []),
        ("--add-runtime a=/b", [("runtimes", "add-runtime", "a=/b", ("--add-runtime", "a=/b"))]),
    ],
)
def test_flags(line, found):
    assert read(line) == found


# -- sockets


@pytest.mark.parametrize(
    ("dropin", "addresses"),
    [
        ("", ["/run/docker.sock"]),
        ("[Socket]\nListenStream=2375\n", ["/run/docker.sock", "2375"]),
        ("[Socket]\nListenStream=\nListenStream=0.0.0.0:2376\n", ["0.0.0.0:2376"]),
        ("[Socket]\nListenStream=[::]:2376\n", ["/run/docker.sock", "[::]:2376"]),
    ],
)
def test_listeners(host, dropin, addresses):
    host.put(VENDOR + "/docker.socket", SOCKET)
    host.put(ADMIN + "/docker.socket.d/x.conf", dropin)
    assert units.listeners(units.load(host, "docker.socket")) == addresses


def test_large_files_take_no_long_time(host):
    host.put("/etc/default/docker", "A=1\n" * 200_000 + "DOCKER_OPTS='" + "-D " * 200_000 + "'\n")
    unit = service(host, DEBIAN + "X=1 \\\n" * 100_000)
    assert len(units.flags(units.command(host, unit))) == 200_002


def test_environment_files_by_wildcard(host):
    for name, value in (("20-b", "b"), ("10-a", "a"), (".hidden", "no")):
        host.put("/etc/docker.d/%s/env" % name, "X=%s\nFROM_%s=1\n" % (value, value))
    unit = service(
        host, "[Service]\nEnvironmentFile=/etc/docker.d/*/e?v\nEnvironmentFile=-relative*\n"
    )
    assert unit.environment(host) == {"X": "b", "FROM_a": "1", "FROM_b": "1"}
    assert unit.absent_files(host) == []


@pytest.mark.parametrize(
    ("value", "absent"),
    [
        ("/nosuch", True),
        ("-/nosuch", False),
        ("/etc/nosuch*", True),
        ("/etc/host*", False),
        ("relative", False),
    ],
)
def test_environment_files_that_must_be_there(host, value, absent):
    host.put("/etc/hostname", "h")
    unit = service(host, "[Service]\nEnvironmentFile=%s\n" % value)
    assert bool(unit.absent_files(host)) == absent


@pytest.mark.parametrize(
    ("higher", "lower"),
    [
        ("/etc/systemd/system.control", "/run/systemd/system.control"),
        ("/run/systemd/system.control", "/run/systemd/transient"),
        ("/run/systemd/transient", "/run/systemd/generator.early"),
        ("/run/systemd/generator.early", "/etc/systemd/system"),
        ("/etc/systemd/system", "/etc/systemd/system.attached"),
        ("/etc/systemd/system.attached", "/run/systemd/system"),
        ("/run/systemd/system", "/run/systemd/system.attached"),
        ("/run/systemd/system.attached", "/run/systemd/generator"),
        ("/run/systemd/generator", "/usr/local/lib/systemd/system"),
        ("/usr/lib/systemd/system", "/run/systemd/generator.late"),
    ],
)
def test_search_path(host, higher, lower):
    for place in (higher, lower):
        host.put("%s/docker.service" % place, "[Service]\nExecStart=%s\n" % place)
        host.put("%s/docker.service.d/x.conf" % place, "[Unit]\nDescription=%s\n" % place)
    unit = units.load(host, "docker.service")
    assert unit.value("Service", "ExecStart") == unit.value("Unit", "Description") == higher


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("ExecStart=/a\nExecStart=/b", 2),
        ("ExecStart=/a\nExecStart=\nExecStart=/b", 1),
        ("ExecStart=/a x ; /b y", 2),
        ("ExecStart=/a x ;", 1),
        ("ExecStart=/a 'x;y'", 1),
    ],
)
def test_commands(host, text, number):
    assert len(service(host, "[Service]\n%s\n" % text).commands()) == number


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.socket": "[Socket]\nService=docker.service\n"}, ["a.socket"]),
        ({"a.socket": "[Socket]\nService=other.service\n"}, []),
        ({"a.socket": "[Socket]\n# docker.service\n"}, []),
        ({"a.socket": "", "docker.service.d/x.conf": "[Service]\nSockets=a.socket\n"}, []),
        (
            {"a.socket": "[Socket]\n", "docker.service": "[Service]\nSockets=b.socket a.socket\n"},
            ["a.socket"],
        ),
        (
            {
                "a-b.socket": "[Socket]\n",
                "a-.socket.d/x.conf": "[Socket]\nService=docker.service\n",
            },
            ["a-b.socket"],
        ),
        (
            {
                "a.socket": "[Socket]\nService=docker.service\n",
                "a.socket.d/x.conf": "[Socket]\nService=other.service\n",
            },
            [],
        ),
    ],
)
def test_sockets_of_a_service(host, files, found):
    for path, text in files.items():
        host.put("%s/%s" % (ADMIN, path), text)
    name = "docker.service"
    made = units.activating(host, units.load(host, name), name, units.SYSTEM_UNITS)
    assert [unit.name for unit in made] == found


def test_an_alias_of_a_socket_is_the_same_socket(host, tmp_path):
    host.put("%s/b.socket" % ADMIN, "[Socket]\nService=docker.service\n")
    os.symlink("b.socket", str(tmp_path / ADMIN.lstrip("/") / "a.socket"))
    assert len(units.activating(host, None, "docker.service", units.SYSTEM_UNITS)) == 1
