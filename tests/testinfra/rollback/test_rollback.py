# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that cannot hold leaves the host as it was: files, daemon and containers."""

from __future__ import annotations

import json
import re

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

# What an operator may ask for, and what the error must name.
REFUSED = {
    "unknown directive": ({"no-such-directive": True}, "no-such-directive"),
    "directive of old engines": ({"disable-legacy-registry": True}, "disable-legacy-registry"),
    "bridge with bip": ({"bridge": "br0", "bip": "10.1.0.1/24"}, "bip"),
    "icc without iptables": ({"icc": False, "iptables": False}, "iptables"),
    "no seccomp profile": ({"seccomp-profile": "/etc/docker/none.json"}, "/etc/docker/none.json"),
    "no authorization plugin": ({"authorization-plugins": ["nobody"]}, "nobody"),
    "wrong type": ({"icc": "false"}, "icc"),
}
FILES = (
    "find /etc/docker /etc/systemd/system/docker* /var/lib/hardened-docker/system/manifest.json"
    " -type f -not -name key.json -not -path '/etc/docker/tls/*'"
    " -printf '%p %m %u %g ' -exec sha256sum {} \\; 2>/dev/null | sort"
)
PROCESS = "systemctl show docker.service --property=MainPID,ActiveEnterTimestampMonotonic"


@pytest.fixture
def former(host, info, survivor):
    """The host before and, once the test is over, the proof that it is the same after."""
    files, live_restore = host.check_output(FILES), info()["LiveRestoreEnabled"]
    assert live_restore is False
    assert "daemon.json" in files
    yield
    assert host.check_output(FILES) == files
    assert info()["LiveRestoreEnabled"] is live_restore
    assert info()["Labels"] == ["site=lab"]
    assert host.check_output("systemctl is-active docker.service docker.socket")
    assert not host.file("/var/lib/hardened-docker/system/transaction").exists
    survivor()


@pytest.mark.parametrize("case", REFUSED)
def test_judged_before_anything_is_touched(case, harden, host, former):
    options, named = REFUSED[case]
    process = host.check_output(PROCESS)
    run = harden(dockerd_listen=[], dockerd_options=options)
    assert run.rc != 0
    assert "nothing was changed" in run.stdout
    assert named in run.stdout
    assert host.check_output(PROCESS) == process


def test_daemon_that_does_not_start(harden, host, former):
    """A setting that nobody but the starting daemon can judge."""
    process = host.check_output(PROCESS)
    run = harden(
        dockerd_listen=[],
        dockerd_options={"storage-driver": "zfs"},
        dockerd_allow_hidden_data=True,
    )
    assert run.rc != 0
    assert "the former state was put back" in run.stdout
    assert "failed to start daemon" in run.stdout.partition("The daemon said")[2]
    assert host.check_output(PROCESS) != process


def test_foreign_service_on_the_port(harden, host, former):
    host.check_output("systemd-run --unit=squatter busybox nc -ll -p 2376 -e cat")
    try:
        run = harden()
    finally:
        host.check_output("systemctl stop squatter.service")
    assert run.rc != 0
    assert re.search(r"Port 2376 \(0\.0\.0\.0:2376\) is taken by .*busybox", run.stdout)


def test_full_disk(harden, host, former):
    fill = (
        "mkdir -p /mnt/full && mount -t tmpfs -o size=64k,mode=755 none /mnt/full"
        " && cp -a /etc/docker/. /mnt/full/ && mount --bind /mnt/full /etc/docker"
        " && cat /dev/zero > /etc/docker/fill"
    )
    assert "No space left" in host.run(fill).stderr
    process = host.check_output(PROCESS)
    try:
        run = harden(dockerd_listen=[])
        assert host.check_output(PROCESS) == process
    finally:
        host.check_output("umount /etc/docker && umount /mnt/full")
    assert run.rc != 0
    assert "/etc/docker/daemon.json has 0 KiB left" in run.stdout


def test_killed_between_write_and_restart(harden, host, former):
    """The next run puts the former state back before it does anything else."""
    written = "/etc/systemd/system/docker.socket.d/hardened.conf"
    generator = "/run/systemd/system-generators/slow"
    # systemd takes six seconds to take up new units; the killer needs no new session meanwhile.
    for path, script in (
        (generator, "sleep 6"),
        (
            "/run/killer",
            "until [ -e %s ]; do sleep 0.1; done;"
            " for process in /proc/[0-9]*; do"
            " ls -l $process/fd 2>/dev/null | grep -q hardened-docker-system.lock"
            " && kill -9 ${process#/proc/}; done" % written,
        ),
    ):
        host.check_output("mkdir -p $(dirname %s)" % path)
        host.check_output("printf '#!/bin/sh\\n%s\\n' > %s && chmod +x %s" % (script, path, path))
    process = host.check_output(PROCESS)
    host.check_output("systemd-run --quiet --collect /run/killer")
    run = harden(dockerd_listen=[])
    host.check_output("rm %s" % generator)
    assert run.rc != 0
    assert host.file(written).exists
    assert json.loads(host.check_output("cat /etc/docker/daemon.json"))["live-restore"] is True
    assert host.file("/var/lib/hardened-docker/system/transaction/journal.json").exists
    assert host.check_output(PROCESS) == process

    again = harden(dockerd_listen=[], dockerd_options={"no-such-directive": True})
    assert again.rc != 0
    assert "no-such-directive" in again.stdout


def test_after_all_that_it_hardens(harden, host, survivor):
    """Runs last: the refusals above were for their causes."""
    run = harden(dockerd_listen=[])
    assert run.rc == 0, run.stdout
    survivor()
    told = json.loads(host.check_output("cat /etc/docker/daemon.json"))
    assert told["labels"] == ["site=lab"]
    assert told["icc"] is False
    assert host.file("/etc/docker/daemon.json").mode == 0o640
