# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that somebody else set up keep what is theirs, and lose what conflicts, and are told."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

LOAD = Path(__file__).parents[1] / "load.py"
DROPIN = "/etc/systemd/system/docker.service.d/local.conf"
SOCKET = "/etc/systemd/system/docker.socket.d/tcp.conf"
EXEC = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd %s\n"
CONTAINERD = "--containerd=/run/containerd/containerd.sock"
CONFIG = "/etc/docker/daemon.json"

FOREIGN = {
    "data-root": "/srv/docker",
    "registry-mirrors": ["https://mirror.example.com"],
    "insecure-registries": ["registry.example.com:5000"],
    "labels": ["team=build", "site=lab"],
}
# How others set hosts up: files, what stays, and what the run must say gave way.
SETUPS = {
    "hosts in the file": (
        {
            CONFIG: {**FOREIGN, "hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"]},
            DROPIN: EXEC % CONTAINERD,
        },
        FOREIGN,
        "tcp://0.0.0.0:2375",
    ),
    "-H in a drop-in": (
        {CONFIG: FOREIGN, DROPIN: EXEC % ("-H fd:// -H tcp://0.0.0.0:2375 " + CONTAINERD)},
        FOREIGN,
        "-H tcp://0.0.0.0:2375 (ExecStart in %s line 3)" % DROPIN,
    ),
    "hosts in the file and -H in a drop-in, so that nothing runs": (
        {
            CONFIG: {**FOREIGN, "hosts": ["tcp://0.0.0.0:2375"]},
            DROPIN: EXEC % ("-H unix:///var/run/docker.sock " + CONTAINERD),
        },
        FOREIGN,
        "-H unix:///var/run/docker.sock",
    ),
    "DOCKER_OPTS": (
        {"/etc/default/docker": 'DOCKER_OPTS="-H tcp://0.0.0.0:2375 --label=team=build --icc"\n'},
        {},
        "DOCKER_OPTS in /etc/default/docker",
    ),
    "ListenStream in docker.socket": (
        {SOCKET: "[Socket]\nListenStream=2375\n", CONFIG: {"labels": ["team=build"]}},
        {"labels": ["team=build"]},
        "ListenStream=2375",
    ),
    "a whole file and a patched unit": (
        {
            CONFIG: {**FOREIGN, "log-driver": "journald", "log-opts": {"tag": "{{.Name}}"}},
            "patch": "sed -i 's#-H fd://#-H fd:// -H tcp://127.0.0.1:2375#'"
            " /usr/lib/systemd/system/docker.service",
        },
        {**FOREIGN, "log-driver": "journald", "log-opts": {"tag": "{{.Name}}"}},
        "-H tcp://127.0.0.1:2375",
    ),
}


def set_up(host, files: dict) -> None:
    """Make the host as somebody else left it."""
    for path, content in files.items():
        if path == "patch":
            host.check_output(content)
            continue
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        host.check_output("mkdir -p $(dirname %s) && printf '%%s' '%s' > %s" % (path, text, path))
    host.run("systemctl daemon-reload && systemctl restart docker.socket docker.service")


@pytest.fixture
def curl(inventory, address):
    """Ask the daemon for /_ping from the controller, which is another machine, as its client."""
    client = Path(inventory).parent / "dockerd-clients" / "admin"

    def ask(url: str) -> subprocess.CompletedProcess:
        files = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        options = [word for name in files for word in ("--" + name, client / files[name])]
        command = ["curl", "--silent", "--max-time", "3", *options, url % address]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    return ask


@pytest.mark.parametrize("case", SETUPS)
def test_adopted(case, virgin, host, curl, harden, start_survivor, survivor):
    files, stays, named = SETUPS[case]
    set_up(host, files)
    ran = host.run("systemctl is-active docker.service").stdout.strip() == "active"
    assert ran == ("nothing runs" not in case)
    if ran:
        assert host.run("docker info").rc == 0
        start_survivor()
    if "0.0.0.0" in str(files):
        assert (curl("http://%s:2375/_ping").stdout == "OK") == ran

    run = harden()
    assert run.rc == 0, run.stdout
    assert named in run.stdout
    for directive in stays:
        assert re.search("kept: .*%s" % directive, run.stdout), run.stdout

    told = json.loads(host.check_output("cat %s" % CONFIG))
    assert {name: told.get(name) for name in stays} == stays
    assert "hosts" not in told
    assert told["icc"] is False
    assert curl("http://%s:2375/_ping").returncode == 7
    assert curl("https://%s:2376/_ping").stdout == "OK"
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["DockerRootDir"] == stays.get("data-root", "/var/lib/docker")
    if "DOCKER_OPTS" in case:
        assert info["Labels"] == ["team=build"]
    if ran:
        survivor()

    again = harden()
    assert "changed=0" in again.stdout.partition("PLAY RECAP")[2], again.stdout


OPENSSL = """
set -e
mkdir -p /etc/docker/own && cd /etc/docker/own
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=own -keyout ca-key.pem -out ca.pem
for name in server client; do
  openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name-key.pem -out $name.csr
  printf 'subjectAltName=IP:%s\n' > $name.ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
    -extfile $name.ext -out $name.pem
done
"""


def test_own_authority_and_flags(virgin, host, address, curl, harden, start_survivor, survivor):
    """A daemon with an openssl-made authority and --tlsverify flags goes over to ours."""
    host.check_output("cat > /var/tmp/own.sh <<'END'\n%s\nEND" % (OPENSSL % address))
    host.check_output("sh /var/tmp/own.sh")
    own = "/etc/docker/own"
    flags = "-H fd:// -H tcp://0.0.0.0:2376 --tlsverify --tlscacert=%s/ca.pem" % own
    flags += " --tlscert=%s/server.pem --tlskey %s/server-key.pem " % (own, own)
    set_up(host, {DROPIN: EXEC % (flags + CONTAINERD)})
    start_survivor()
    theirs = "curl --silent --cacert {0}/ca.pem --cert {0}/client.pem --key {0}/client-key.pem"
    theirs = theirs.format(own) + " https://%s:2376/_ping" % address
    assert host.run(theirs).stdout == "OK"
    host.check_output("cat > /var/tmp/load.py <<'END'\n%s\nEND" % LOAD.read_text())
    host.check_output(
        f"systemd-run --quiet --unit=load python3 /var/tmp/load.py {address} {address}"
    )

    run = harden()

    assert run.rc == 0, run.stdout
    host.run("systemctl stop load.service")
    load = json.loads(host.check_output("cat /var/tmp/load.json"))
    print(load)
    assert load["socket"]["lost"] == 0, load["socket"]["why"]
    assert load["socket"]["slowest"] < 5  # no longer than a restart
    assert curl("https://%s:2376/_ping").stdout == "OK"
    assert host.run(theirs).rc != 0
    assert "gave way: --tlsverify (ExecStart in %s line 3)" % DROPIN in run.stdout
    survivor()
    assert "changed=0" in harden().stdout.partition("PLAY RECAP")[2]


def test_listeners_move_close_and_open(virgin, host, curl, harden, start_survivor, survivor):
    """What leaves the variables leaves the host."""
    start_survivor()
    assert harden().rc == 0
    assert curl("https://%s:2376/_ping").stdout == "OK"

    moved = harden(dockerd_listen=["0.0.0.0:2377"])
    assert moved.rc == 0, moved.stdout
    assert curl("https://%s:2377/_ping").stdout == "OK"
    assert curl("https://%s:2376/_ping").returncode == 7

    closed = harden(dockerd_listen=[])
    assert closed.rc == 0, closed.stdout
    assert curl("https://%s:2377/_ping").returncode == 7
    assert not host.file("/etc/systemd/system/docker-tls.socket").exists
    assert "tls" not in host.check_output("cat %s" % CONFIG)
    assert "changed=0" in harden(dockerd_listen=[]).stdout.partition("PLAY RECAP")[2]

    assert harden().rc == 0
    assert curl("https://%s:2376/_ping").stdout == "OK"
    survivor()


def test_socket_changes_hands_at_once(virgin, host, harden):
    """The live socket takes its new owner without a restart, systemd.socket(5) only at the next."""
    assert harden(dockerd_listen=[]).rc == 0
    host.check_output("groupadd ci && useradd --groups docker builder && useradd stranger")
    process = host.check_output("systemctl show docker.service --property=MainPID")
    asked = "su builder -s /bin/sh -c 'docker version'"
    assert host.run(asked).rc == 0

    run = harden(dockerd_listen=[], dockerd_socket_group="ci", dockerd_socket_group_members=[])
    assert run.rc == 0, run.stdout
    socket = host.file("/run/docker.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", "ci", 0o660)
    assert host.check_output("systemctl show docker.service --property=MainPID") == process
    assert "permission denied" in host.run(asked).stderr

    members = {"dockerd_socket_group": "ci", "dockerd_socket_group_members": ["builder"]}
    assert harden(dockerd_listen=[], **members).rc == 0
    assert host.run(asked).rc == 0
    assert "permission denied" in host.run("su stranger -s /bin/sh -c 'docker version'").stderr
    assert "changed=0" in harden(dockerd_listen=[], **members).stdout.partition("PLAY RECAP")[2]
    host.check_output("systemctl restart docker.socket docker.service")
    assert host.file("/run/docker.sock").group == "ci"

    unknown = harden(dockerd_listen=[], dockerd_socket_group="nobody-knows")
    assert unknown.rc != 0
    assert "nothing was changed" in unknown.stdout
    assert "nobody-knows" in unknown.stdout


def test_a_swarm_node_hardens_and_rolls_back_without_live_restore(
    virgin, host, address, harden, start_survivor
):
    """dockerd refuses live-restore on a swarm node, so neither the plan nor the way back has it."""
    host.check_output("docker swarm init --advertise-addr %s" % address)
    start_survivor()
    refused = harden(dockerd_listen=[])
    assert refused.rc != 0
    assert "dockerd_allow_container_stop" in refused.stdout

    process = host.check_output("systemctl show docker.service --property=MainPID")
    broken = harden(
        dockerd_listen=[],
        dockerd_options={"storage-driver": "zfs"},
        dockerd_allow_container_stop=True,
        dockerd_allow_hidden_data=True,
    )
    assert broken.rc != 0
    assert "was put back; but these containers did not survive: survivor. Cause" in broken.stdout
    assert host.check_output("systemctl show docker.service --property=MainPID") != process
    assert not host.file(CONFIG).exists
    assert host.check_output("docker info --format '{{.Swarm.LocalNodeState}}'") == "active"

    run = harden(dockerd_listen=[], dockerd_allow_container_stop=True)
    assert run.rc == 0, run.stdout
    assert "live-restore is left out" in run.stdout
    assert "live-restore" not in host.check_output("cat %s" % CONFIG)
    assert "changed=0" in harden(dockerd_listen=[]).stdout.partition("PLAY RECAP")[2]
