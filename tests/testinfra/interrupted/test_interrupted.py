# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are cut off, and others who write meanwhile, on hardened hosts with containers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Harden

testinfra_hosts = ["ansible://docker_hosts"]

CONFIG = "/etc/docker/daemon.json"
STATE = "/var/lib/hardened-docker/system"
JOURNAL = STATE + "/transaction/journal.json"
LISTENER = "/etc/systemd/system/docker-tls.socket"
GUARD = "/etc/systemd/system/docker.service.d/hardened-guard.conf"
RECOVERY = "hardened-docker-recovery-system.service"
RESCUE = "hardened-docker-rescue-system.service"
TLS = "/etc/docker/tls"
# It passes every check and does not start: the kernel has no such file system.
BAD = {"dockerd_options": {"storage-driver": "zfs"}, "dockerd_allow_hidden_data": True}
MEDDLE = Path(__file__).parents[1] / "on_host" / "meddle.py"
LAB = Path(__file__).parents[2] / "lab" / "lab.py"
UNITS = ["docker.service", "docker.socket", "docker-tls.socket"]
# systemd takes long to read units, which is time enough to cut a run off in.
SLOW = "/run/systemd/system-generators/slow"


@pytest.fixture(scope="module", autouse=True)
def meddler(host):
    """Whoever meddles is on the host."""
    text = shlex.quote(MEDDLE.read_text(encoding="utf-8"))
    host.check_output("printf %%s %s > /var/tmp/meddle.py" % text)


@pytest.fixture(autouse=True)
def rested(host):
    """systemd starts a unit three times a minute, and counts those of the test before."""
    host.run("systemctl reset-failed docker.service docker.socket docker-tls.socket")


@pytest.fixture
def harden(name, inventory) -> Harden:
    """Runs the role that is cut off and overtaken here."""
    return Harden(inventory, name, "--tags", "dockerd")


@pytest.fixture
def meddle(host):
    """Have somebody act at one moment of the run that follows."""

    def start(when: str, what: str, argument: str = "") -> None:
        words = ["python3", "/var/tmp/meddle.py", when, what, argument]
        host.check_output("systemd-run --quiet --collect %s" % shlex.join(words))

    return start


@pytest.fixture
def slow(host):
    """systemd reads units slowly, until the test or a boot ends that."""
    host.check_output("mkdir -p %s" % SLOW.rpartition("/")[0])
    host.check_output("printf '#!/bin/sh\\nsleep 15\\n' > %s && chmod +x %s" % (SLOW, SLOW))
    yield
    host.check_output("rm -f %s" % SLOW)


@pytest.fixture
def reached(inventory, address):
    """How the API answers on TCP, asked from the machine that runs the lab: client, plain, None."""
    client = Path(inventory).parent / "dockerd-clients" / "admin"
    leaf = [
        "--cacert",
        client / "ca.pem",
        "--cert",
        client / "cert.pem",
        "--key",
        client / "key.pem",
    ]

    def curl(*words) -> bool:
        done = subprocess.run(["curl", "-sf", "-m", "5", "-o", "/dev/null", *words], check=False)
        return done.returncode == 0

    def ask() -> str | None:
        if curl("http://%s:2376/_ping" % address):
            return "plain"
        return "client" if curl(*leaf, "https://%s:2376/_ping" % address) else None

    return ask


@pytest.fixture
def pids(host):
    """The processes of the containers."""

    def ask() -> str:
        return host.check_output("docker inspect -f '{{.Name}} {{.State.Pid}}' survivor returning")

    return ask


@pytest.fixture
def whole(host, harden, reached):
    """After the test the host is whole and clean, and the next run changes nothing."""
    yield
    again = harden()
    assert again.rc == 0, again.stdout
    assert re.search(r" changed=0 ", again.stdout), again.stdout
    assert host.check_output("systemctl is-active %s" % " ".join(UNITS)).split() == ["active"] * 3
    assert reached() == "client"
    left = "find /etc/docker /etc/systemd %s -name '.*' -type f -o -name 'transaction*'" % STATE
    assert host.check_output(left) == ""


@pytest.fixture
def well(whole, pids):
    """As whole, and the containers live."""
    before = pids()
    yield
    assert pids() == before


def told(host) -> dict:
    """What daemon.json says."""
    return json.loads(host.check_output("cat %s" % CONFIG))


def power(name: str, what: str) -> None:
    """Cut a host's power, or boot it again."""
    subprocess.run([sys.executable, LAB, what, name], check=True, stdout=subprocess.DEVNULL)


def write(host, path: str, text: str) -> None:
    """Write a file as an administrator does."""
    host.check_output("printf %%s %s > %s" % (shlex.quote(text), path))


# -- cut at the wrong moment


def test_a_daemon_json_that_verifies_nobody_closes_tcp(host, harden, reached, well):
    """Whoever wrote it, and whatever was written before power failed: no listener without TLS."""
    former = host.check_output("cat %s" % CONFIG)
    write(host, CONFIG, '{"live-restore": true}')
    host.check_output("systemctl restart docker.service")
    assert host.check_output("docker version --format '{{.Server.Version}}'")
    assert reached() is None
    write(host, CONFIG, json.dumps({**json.loads(former), "tlscacert": ""}))
    host.check_output("systemctl restart docker.service")
    assert reached() is None
    assert harden().rc == 0
    assert reached() == "client"


def test_a_listener_that_is_not_there_keeps_no_daemon_down(host, harden, reached, well):
    host.check_output("rm %s && systemctl daemon-reload" % LISTENER)
    host.check_output("systemctl restart docker.service")
    assert host.check_output("systemctl is-active docker.service") == "active"
    assert reached() is None
    assert harden().rc == 0


def test_no_python_keeps_no_daemon_down_and_opens_nothing(host, harden, reached, well):
    """As in the middle of an upgrade of Python itself."""
    write(host, CONFIG, '{"live-restore": true}')
    host.check_output("mv %s/hardened-docker.pyz %s/away" % (STATE, STATE))
    host.check_output("systemctl restart docker.service")
    assert reached() is None
    host.check_output("rm %s/away" % STATE)
    assert harden().rc == 0


def test_power_loss_is_undone_by_the_boot(name, host, harden, reached, slow, whole):
    """No controller is needed: a minute after the boot the former configuration runs."""
    former = host.check_output("cat %s" % CONFIG)
    run = harden.start(dockerd_listen=[], dockerd_options={"icc": True, "mtu": 1400})
    deadline = time.monotonic() + 60
    while host.file(LISTENER).exists and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not host.file(LISTENER).exists
    power(name, "cut")
    assert run.wait().rc != 0
    begun = time.monotonic()
    power(name, "boot")
    assert host.check_output("cat %s" % CONFIG) == former
    assert reached() == "client"
    assert time.monotonic() - begun < 60
    assert "the former one is back" in host.check_output("journalctl -b -o cat -u %s" % RECOVERY)
    assert not host.file(STATE + "/transaction").exists
    host.check_output("docker start survivor")


def test_a_boot_of_a_host_that_is_well_does_nothing(name, host, whole):
    power(name, "cut")
    power(name, "boot")
    host.check_output("docker start survivor")
    shown = host.check_output(
        "systemctl show %s --property=ConditionResult,ExecMainStartTimestamp" % RECOVERY
    )
    assert set(shown.split()) == {"ConditionResult=no", "ExecMainStartTimestamp="}
    assert host.check_output("systemctl is-failed %s || true" % RECOVERY) == "inactive"


def rescued(host) -> None:
    """Wait until no change is left that was cut off."""
    deadline = time.monotonic() + 60
    while host.file(JOURNAL).exists and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not host.file(JOURNAL).exists


@pytest.mark.parametrize("killed", [False, True])
def test_a_daemon_that_does_not_start_is_rescued(killed, host, harden, meddle, reached, well):
    """Whoever started it with that is dead, and no controller comes, even if the rescue dies."""
    if killed:
        once = "until systemctl -q is-active {0} && systemctl kill -s KILL {0}; do sleep 0.05; done"
        host.check_output(
            "systemd-run --quiet --collect --unit=killer sh -c %s", once.format(RESCUE)
        )
    meddle("command:systemctl restart docker.service", "kill")
    assert harden(**BAD).rc != 0
    rescued(host)
    assert host.check_output("docker version --format '{{.Server.Version}}'")
    assert reached() == "client"
    words = host.check_output("journalctl -b -o cat -u %s" % RESCUE)
    assert "the former one is back" in words
    assert killed == ("code=killed" in words)
    assert not host.run("systemctl is-active killer").stdout.startswith("active")
    assert harden().rc == 0
    assert host.run("systemctl is-failed %s" % RESCUE).stdout.strip() == "inactive"


def test_no_sandbox_of_the_service_s_keeps_tcp_open(host, harden, reached, well, dropin):
    """The guard must reach systemd and the program, whatever dockerd may reach."""
    dropin("[Service]\nInaccessiblePaths=/usr/bin/systemctl %s\nPrivateTmp=yes\n" % STATE)
    former = host.check_output("cat %s" % CONFIG)
    write(host, CONFIG, '{"live-restore": true}')
    host.check_output("systemctl restart docker.service")
    assert reached() is None
    write(host, CONFIG, former)
    host.check_output("systemctl restart docker.service")
    assert harden().rc == 0
    assert reached() == "client"


@pytest.fixture
def dropin(host):
    """Somebody's own drop-in, until the test ends."""
    path = "/etc/systemd/system/docker.service.d/theirs.conf"

    def put(text: str) -> None:
        write(host, path, text)
        host.check_output("systemctl daemon-reload")

    yield put
    host.check_output("rm -f %s && systemctl daemon-reload" % path)


def test_what_others_want_done_on_failure_keeps_no_unit_from_loading(
    host, harden, meddle, reached, well, dropin
):
    """And the rescue comes all the same: systemd allows one OnFailure= with such a job mode."""
    dropin("[Unit]\nOnFailure=multi-user.target\nOnFailureJobMode=isolate\n")
    assert host.check_output("systemctl show docker -p LoadState --value") == "loaded"
    meddle("command:systemctl restart docker.service", "kill")
    assert harden(**BAD).rc != 0
    rescued(host)
    assert reached() == "client"


def test_a_daemon_that_systemd_would_start_for_ever_is_rescued(
    host, harden, meddle, reached, well, dropin
):
    dropin("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=5\n")
    meddle("command:systemctl restart docker.service", "kill")
    assert harden(**BAD).rc != 0
    rescued(host)
    assert reached() == "client"


def test_a_unit_that_systemd_does_not_load_is_named_and_nothing_touched(
    host, harden, reached, well, dropin
):
    dropin("[Unit]\nOnFailure=a.target b.target\nOnFailureJobMode=isolate\n")
    run = harden(dockerd_options={"mtu": 1400})
    assert run.rc != 0
    assert "systemd does not load docker.service" in " ".join(run.stdout.split())
    assert "mtu" not in told(host)
    assert reached() == "client"


@pytest.mark.parametrize("renamed", [True, False])
def test_a_certificate_and_its_key_that_were_decided_on(renamed, host, reached, well):
    """Cut off before or between the two renames: a restart gets the pair, and not half of it."""
    key, certificate = TLS + "/server-key.pem", TLS + "/server-cert.pem"
    ready = TLS + "/.server-key.pem.hardened-next"
    host.check_output("mv %s /root/key && mv %s /root/certificate" % (key, certificate))
    other = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout %s -out %s"
    host.check_output(other % (key, certificate))
    host.check_output("mv /root/key %s" % ready)
    host.check_output("mv /root/certificate %s/.server-cert.pem.hardened-next" % TLS)
    if renamed:
        host.check_output("mv -f %s %s" % (ready, key))
    host.check_output("systemctl restart docker.service")
    assert reached() == "client"
    assert host.check_output("ls -A %s" % TLS).split() == [
        "ca.pem",
        "server-cert.pem",
        "server-key.pem",
    ]


def test_a_key_that_does_not_fit(host, harden, reached, well):
    """Nothing is touched, and it is named; on each engine."""
    key = TLS + "/server-key.pem"
    host.check_output("cp -a %s /root/key" % key)
    host.check_output("openssl genpkey -algorithm ed25519 -out %s" % key)
    run = harden(dockerd_options={"mtu": 1400})
    host.check_output("mv -f /root/key %s" % key)
    assert run.rc != 0
    words = " ".join(run.stdout.split())
    assert "nothing was changed" in words
    assert "it is not the key of the first certificate in tlscert" in words
    assert "mtu" not in told(host)
    assert harden().rc == 0  # the file was moved to its place since dockerd read it


# -- overtaken by others


def test_a_daemon_json_that_is_put_back_before_the_restart(host, harden, meddle, reached, well):
    """What starts is looked at in the last moment, and whoever wrote is named."""
    other = json.dumps({"labels": ["managed=elsewhere"], "live-restore": True})
    meddle("holds:%s:1400" % CONFIG, "write:%s" % CONFIG, other)
    run = harden(dockerd_options={"mtu": 1400})
    assert run.rc != 0
    assert "%s was changed by somebody else" % CONFIG in run.stdout
    assert host.check_output("cat %s" % CONFIG) == other
    assert host.check_output("systemctl is-active docker.service") == "active"
    assert reached() != "plain"
    assert harden().rc == 0
    assert told(host)["labels"] == ["managed=elsewhere"]
    write(host, CONFIG, json.dumps({k: v for k, v in told(host).items() if k != "labels"}))
    assert harden().rc == 0


@pytest.mark.parametrize("text", ['{"labels": ["by=hand"], "live-restore": true}', "{ no JSON"])
def test_an_edit_at_the_moment_the_journal_appears(text, host, harden, meddle, well):
    former = host.check_output("cat %s" % CONFIG)
    meddle("exists:%s" % JOURNAL, "write:%s" % CONFIG, text)
    run = harden(dockerd_options={"mtu": 1400})
    assert run.rc != 0
    assert "changed by somebody else" in run.stdout
    aside = host.file(CONFIG + ".does-not-start")
    assert text in (host.check_output("cat %s" % CONFIG), aside.exists and aside.content_string)
    assert host.check_output("docker version --format '{{.Server.Version}}'")
    write(host, CONFIG, former)
    host.check_output("rm -f %s.does-not-start" % CONFIG)
    assert harden().rc == 0


def test_an_edit_after_a_run_was_killed(host, harden, meddle, slow, well):
    meddle("lacks:%s:ListenStream" % LISTENER, "kill")
    assert harden(dockerd_listen=[]).rc != 0
    assert host.file(JOURNAL).exists
    edited = {**told(host), "labels": ["by=hand"]}
    write(host, CONFIG, json.dumps(edited))
    host.check_output("rm %s" % SLOW)
    run = harden()
    assert run.rc == 0, run.stdout
    assert "%s was changed by somebody else" % CONFIG in run.stdout
    assert told(host)["labels"] == ["by=hand"]
    write(host, CONFIG, json.dumps({k: v for k, v in told(host).items() if k != "labels"}))
    assert harden().rc == 0


# How a daemon falls silent, and what a run says of it.
SILENT = {
    "its socket is gone": ("rm /run/docker.sock", "nobody listens at /run/docker.sock"),
    "it hangs": ("kill -STOP $(systemctl show -P MainPID docker.service)", "does not answer"),
    "its socket unit lost its listener": (
        "systemctl mask docker.socket && systemctl unmask docker.socket",
        "docker.socket is active without a listener",
    ),
}


@pytest.mark.parametrize("how", SILENT)
def test_a_silent_daemon_is_a_finding_and_is_brought_back(how, host, harden, well):
    command, words = SILENT[how]
    host.check_output(command)
    run = harden("--check", "--diff")
    assert run.rc == 0, run.stdout
    assert words in run.stdout
    assert harden().rc == 0
    assert host.check_output("docker version --format '{{.Server.Version}}'")


def test_a_daemon_that_dies_at_the_end(host, harden, meddle, well):
    """Its answers were good; a moment later it is gone. systemd brings it back, or we do."""
    meddle("exists:%s/transaction/written" % STATE, "end")
    harden(dockerd_options={"mtu": 1400})
    assert harden().rc == 0


def test_a_program_that_is_gone(host, harden, well):
    host.check_output("mv /usr/sbin/dockerd /usr/sbin/dockerd.away")
    run = harden()
    host.check_output("mv /usr/sbin/dockerd.away /usr/sbin/dockerd")
    assert run.rc != 0
    assert "There is no /usr/sbin/dockerd" in run.stdout


def test_a_listener_at_an_address_that_is_not_the_hosts(host, harden, reached, well):
    run = harden(dockerd_listen=["10.9.9.9:2376"])
    assert run.rc != 0
    assert "the former state was put back" in run.stdout
    assert reached() == "client"


def test_a_daemon_that_has_read_a_file_which_is_there_no_more(host, harden, reached, well):
    """Moved away and back, so that no time of its content tells."""
    unguarded = GUARD.replace("hardened-guard", "zz-unguarded")
    write(host, unguarded, "[Service]\nExecStartPre=\nExecStartPost=\n")
    host.check_output("cp -p %s /etc/docker/kept && systemctl daemon-reload" % CONFIG)
    write(host, CONFIG, '{"live-restore": true}')
    host.check_output("systemctl restart docker.service")
    assert reached() == "plain"
    host.check_output("rm %s && systemctl daemon-reload" % unguarded)
    host.check_output("mv /etc/docker/kept %s" % CONFIG)
    assert harden().rc == 0
    assert reached() == "client"


def test_containers_that_outlived_their_daemon(host, harden, well):
    host.check_output("systemctl stop docker.socket docker.service")
    run = harden(dockerd_options={"live-restore": False})
    assert run.rc != 0
    assert "2 containers have outlived the daemon" in " ".join(run.stdout.split())
    assert harden().rc == 0


def test_a_container_that_starts_again_and_again_is_no_reason_to_roll_back(host, harden, well):
    host.check_output("docker run -d --name loop --restart=always busybox sleep 1")
    time.sleep(3)
    assert harden(dockerd_options={"mtu": 1400}).rc == 0
    host.check_output("docker rm --force loop")
    assert harden().rc == 0


# -- rolling back the roll-back


def test_a_roll_back_that_is_killed_again_and_again(host, harden, meddle, well):
    """Wherever it is cut, no restart finds containers before live-restore is on."""
    for after in ("1.0", "2.0", "1.5", "0.5"):
        meddle("exists:%s" % JOURNAL, "kill", after)
        assert harden(**BAD).rc != 0
    run = harden(**BAD)
    assert "the former state was put back" in run.stdout


def test_sockets_that_are_made_anew_come_up_without_us(host, harden, meddle, reached, well):
    """Killed while all of it is down: systemd has the job, not we."""
    host.check_output("rm /run/docker.sock")
    meddle("command:systemctl restart docker.socket", "kill")
    assert harden().rc != 0
    deadline = time.monotonic() + 20
    while reached() != "client" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert host.check_output("docker version --format '{{.Server.Version}}'")
    assert reached() == "client"
    assert harden().rc == 0


NULL = '{"files": [], "containers": null}'
WITHOUT_MODE = '{"files": [{"path": "/etc/docker/daemon.json", "mode": null, "blob": null}]}'
# What a host may hold of former runs, by path, and what a run says of it; None where it need not.
REMAINS = {
    "a journal without its list": ({"/transaction/0": ""}, "has no journal.json"),
    "a journal of nulls": ({"/transaction/journal.json": NULL}, "is damaged"),
    "an entry without a mode": ({"/transaction/journal.json": WITHOUT_MODE}, "is damaged"),
    "a draft that is a file": ({"/transaction.draft": ""}, None),
    "a file that was being written": ({"/.manifest.json.hardened-new": "{"}, None),
    "a damaged manifest": ({"/manifest.json": "{"}, "manifest.json cannot be read"),
    "two of them": ({"/manifest.json": "{", "/manifest.spare.json": "{"}, "and neither can"),
}


@pytest.mark.parametrize("what", REMAINS)
def test_remains_of_former_runs(what, host, harden, well):
    files, words = REMAINS[what]
    for path, text in files.items():
        host.check_output("mkdir -p %s" % (STATE + path).rpartition("/")[0])
        write(host, STATE + path, text)
    run = harden()
    assert (words or "PLAY RECAP") in " ".join(run.stdout.split()), run.stdout
    damaged = host.file(STATE + "/transaction").exists
    assert (run.rc != 0) is damaged
    host.check_output("rm -rf %s/transaction" % STATE)


def test_a_file_system_without_inodes(host, harden, well):
    """As many bytes as one likes, and no new file."""
    fill = (
        "mkdir -p /mnt/full && mount -t tmpfs -o size=64m,nr_inodes=10,mode=755 none /mnt/full"
        " && cp -a /etc/docker/daemon.json /mnt/full/ && mkdir /mnt/full/tls"
        " && cp -a /etc/docker/tls/. /mnt/full/tls/ && mount --bind /mnt/full /etc/docker"
        " && for n in 1 2 3 4 5 6 7 8 9; do touch /etc/docker/fill$n; done"
    )
    assert "No space left" in host.run(fill).stderr
    try:
        run = harden(dockerd_options={"mtu": 1400})
    finally:
        host.check_output("umount /etc/docker && umount /mnt/full")
    assert run.rc != 0
    assert "has no inode left" in run.stdout


def test_a_disk_that_fills_up_before_the_roll_back(host, harden, meddle, reached, well):
    """What was there lies ready: the way back takes no space."""
    mount = (
        "mkdir -p /mnt/full && mount -t tmpfs -o size=4m,mode=755 none /mnt/full"
        " && cp -a /etc/docker/. /mnt/full/ && mount --bind /mnt/full /etc/docker"
    )
    host.check_output(mount)
    former = host.check_output("cat %s" % CONFIG)
    try:
        meddle("holds:%s:zfs" % CONFIG, "fill:/etc/docker/fill")
        run = harden(**BAD)
        left = int(host.check_output("stat --file-system --format=%a /etc/docker"))  # 4 KiB blocks
        now = host.check_output("cat %s" % CONFIG)
        up = host.run("docker version")
    finally:
        host.check_output("umount /etc/docker && umount /mnt/full")
    assert run.rc != 0
    assert "the former state was put back" in " ".join(run.stdout.split())
    assert left < 8  # what the way back itself has given free
    assert now == former
    assert up.rc == 0
    assert reached() == "client"
