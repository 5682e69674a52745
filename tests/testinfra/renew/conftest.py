# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of certificates share."""

from __future__ import annotations

import json
from pathlib import Path

import play
import pytest
import testinfra
from cryptography import x509
from testinfra.utils.ansible_runner import AnsibleRunner

# All hosts at once: what is proved here has nothing to do with the order.
TOGETHER = {"dockerd_serial": "100%"}


class Fleet:
    """The hosts by name, and what is done with them."""

    def __init__(self, inventory: str) -> None:
        self.inventory = inventory
        self.hosts = {
            name: testinfra.get_host("ansible://" + name, ansible_inventory=inventory)
            for name in AnsibleRunner(inventory).get_hosts("docker_hosts")
        }
        self.address = {
            name: host.ansible.get_variables()["ansible_host"] for name, host in self.hosts.items()
        }

    def other(self, name: str):
        """Another machine than this one."""
        names = list(self.hosts)
        assert len(names) > 1, "the lab needs two hosts"
        return self.hosts[names[(names.index(name) + 1) % len(names)]]

    def harden(self, *options, **more) -> play.Run:
        """Run the playbook; it has to work."""
        run = self.attempt(*options, **more)
        assert run.rc == 0, run.output
        return run

    def attempt(self, *options, **more) -> play.Run:
        return play.play(play.HARDEN, self.inventory, TOGETHER, *options, **more)

    def served(self, name: str) -> x509.Certificate:
        """The certificate that another machine is shown."""
        connect = "openssl s_client -connect %s:2376 < /dev/null 2> /dev/null"
        shown = self.other(name).run(connect % self.address[name]).stdout
        assert "BEGIN CERTIFICATE" in shown
        return x509.load_pem_x509_certificate(shown.encode())

    def version(self, name: str, directory: str = "/root/.docker/operator"):
        """Ask a daemon from another machine with that machine's client."""
        docker = "DOCKER_CERT_PATH=%s timeout 20 docker --tlsverify -H tcp://%s:2376 version"
        return self.other(name).run(docker % (directory, self.address[name]))

    def daemon(self, name: str) -> str:
        """The daemon's process, of this start."""
        properties = "MainPID,ExecMainStartTimestampMonotonic,InvocationID"
        return self.hosts[name].check_output("systemctl show docker --property " + properties)

    def containers(self, name: str) -> str:
        """The process of the container that ran before everything."""
        inspect = "docker inspect --format '{{.State.Pid}} {{.State.Running}}' survivor"
        return self.hosts[name].check_output(inspect)

    def start(self, name: str, script: str, *words: str) -> None:
        """Run one of our scripts on a host until it is stopped."""
        unit = "test-" + script.partition(".")[0]
        self.hosts[name].check_output(
            "systemd-run --quiet --collect --unit=%s python3 -c %s " + " ".join(words),
            unit,
            (play.ON_HOST / script).read_text(),
        )

    def stop(self, name: str, script: str, record: str):
        """Stop it, and take what it wrote down."""
        unit = "test-" + script.partition(".")[0]
        self.hosts[name].check_output("systemctl stop %s", unit)
        found = json.loads(self.hosts[name].check_output("cat %s", record))
        self.hosts[name].check_output("rm -f %s %s", record, record + ".ready")
        return found


@pytest.fixture(scope="session")
def fleet(inventory) -> Fleet:
    """The lab's hosts."""
    return Fleet(inventory)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A place for authorities that nothing else has to do with."""
    return tmp_path_factory.mktemp("authority")
