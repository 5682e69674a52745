# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the judge says of a user's daemon, as the role leaves it and as somebody else would."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://docker_hosts"]

HOME = "/home/bob/.config"
DROPIN = HOME + "/systemd/user/docker.service.d/test.conf"
# As bob, who has a manager of his own.
MINE = "runuser --user=bob -- env XDG_RUNTIME_DIR=/run/user/$(id -u bob) systemctl --user "
UNIT = (
    "printf '[Service]\\nEnvironment=%s\\n' > "
    + DROPIN
    + " && %sdaemon-reload && %srestart docker.service" % (MINE, MINE)
)
TOLD = (
    "python3 -c \"import json; path = '%s/docker/daemon.json'; data = json.load(open(path));"
    " data.update(%%s); json.dump(data, open(path, 'w'))\"" % HOME
)
# What breaks each control.
BROKEN = {
    "rootless-userns-remap": TOLD % "{'userns-remap': 'default'}",
    "rootless-directives": TOLD % "{'live-restore': True}",
    "rootless-ids": "sed -i '/^bob:/s/:65536$/:1000/' /etc/subuid",
    "rootless-linger": "loginctl disable-linger bob",
    "rootless-loopback": UNIT % "DOCKERD_ROOTLESS_ROOTLESSKIT_DISABLE_HOST_LOOPBACK=false",
    "rootless-socket": "chmod 0755 /run/user/$(id -u bob)",
}
# Without linger bob's manager ends, and with it comes again after a moment.
RESTORE = """
cp -p /var/tmp/daemon.json %s/docker/daemon.json; cp -p /var/tmp/subuid /etc/subuid
loginctl enable-linger bob
for turn in $(seq 100); do %s is-active docker.service && break; sleep 0.2; done
chmod 0700 /run/user/$(id -u bob)
if test -e %s; then rm %s; %s daemon-reload; %s restart docker.service; fi
""" % (HOME, MINE, DROPIN, DROPIN, MINE, MINE)


@pytest.fixture
def judge(host):
    """The status of each control on bob's daemon."""

    def ask() -> dict:
        result = host.ansible("hardened.docker.dockerd_validate", "instances=user:bob", check=False)
        return {one["id"]: one["status"] for one in result["findings"]}

    return ask


@pytest.fixture
def restored(host):
    host.check_output("cp -p %s/docker/daemon.json /etc/subuid /var/tmp/" % HOME)
    yield
    host.run(RESTORE)


def test_as_the_role_leaves_it(judge):
    found = judge()
    # It cannot be seen failing: with NET=host neither engine of the lab starts.
    assert found["rootless-network"] == "passed"
    assert {control: found[control] for control in BROKEN} == dict.fromkeys(BROKEN, "passed")
    assert (found["rootless"], found["userns-remap"]) == ("passed", "passed")
    # The lab's machine keeps its control groups to itself, and so limits do nothing there.
    assert found["rootless-limits"] == "failed"
    assert found["rootless-beside"] == "failed"


@pytest.mark.parametrize("control", BROKEN)
def test_what_somebody_else_would_leave(judge, host, restored, control):
    host.check_output(BROKEN[control])
    # The script of 20.10 knows no such variable, and what rootlesskit does is what counts.
    old = "version 20." in host.check_output("dockerd --version")
    heeded = not (old and control == "rootless-loopback")
    assert judge()[control] == ("failed" if heeded else "passed")


def test_nothing_beside_it(judge, host):
    host.check_output("systemctl stop docker.service docker.socket docker-tls.socket")
    try:
        assert judge()["rootless-beside"] == "passed"
    finally:
        host.check_output("systemctl start docker.socket docker.service")
