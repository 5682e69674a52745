# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A check run changes nothing, and says exactly what the real run then does."""

from __future__ import annotations

import json
from pathlib import Path

import play
import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner

LOOK = play.ON_HOST / "look.py"
# What lives by itself on any host: logs, clocks and random seeds, dockerd's own data, and the
# index that apt builds anew for whoever asks it something, as Ansible's package module does.
ALIVE = ("/var/log", "/var/lib/systemd", "/var/lib/docker", "/var/lib/containerd", "/var/cache/apt")
PLACES = (
    "/etc",
    "/root",
    "/home",
    "/opt",
    "/srv",
    "/usr/local",
    "/usr/lib/systemd",
    "/tmp",
    "/var",
)
# The record of what we own, and the lock.
STATE = "/var/lib/hardened-docker"
TLS = "Keep the daemon's key, certificate and trust"
CLIENTS = "Keep the clients that live on this host"
CLIENTS_HERE = "Keep the clients that live on the controller"
DAEMON = "Bring the daemon to its desired state"
# Ten seconds less than the 90 days that the leaf was given; more than that have gone by.
DUE = {"dockerd_tls_renew_before": "%ds" % (90 * 86400 - 10), "dockerd_tls_clock_skew": "5s"}


class Story:
    """One look at everything before, between and after the runs, in the order of their names."""

    def __init__(self, inventory: str) -> None:
        self.inventory = inventory
        self.names = AnsibleRunner(inventory).get_hosts("docker_hosts")
        self.virgin = self.look()
        self.predicted = self.harden("--check", "--diff")
        self.unmoved = self.look()
        self.done = self.harden("--diff")
        self.hardened = self.look()
        self.nothing = self.harden("--check", "--diff")
        self.unmoved_again = self.look()
        self.renewal = self.harden("--check", "--diff", DUE)
        self.unmoved_still = self.look()
        self.renewed = self.harden("--diff", DUE)
        self.last = self.look()

    def harden(self, *options) -> play.Run:
        run = play.play(play.HARDEN, self.inventory, *options)
        assert run.rc == 0, run.output
        return run

    def look(self) -> dict:
        """Each host, and the controller's half of it below its name."""
        words = " ".join([*PLACES, *("-" + path for path in ALIVE)])
        seen = {}
        for name in self.names:
            host = testinfra.get_host("ansible://" + name, ansible_inventory=self.inventory)
            seen[name] = json.loads(host.check_output("python3 -c %s " + words, LOOK.read_text()))
        seen["controller"] = self.look_here()
        return seen

    def look_here(self) -> dict:
        """The playbooks, and what lies beside the inventory but disks and open connections."""
        here = Path(self.inventory).parent
        leave = ["-%s" % (here / name) for name in ("hosts", "cache", "cp")]
        words = [str(LOOK), str(here), str(play.HARDEN.parent), *leave]
        return json.loads(play.output("python3", *words))


@pytest.fixture(scope="module")
def story(inventory) -> Story:
    """The runs, once for all tests."""
    return Story(inventory)


def predictions(run: play.Run, name: str) -> list:
    """The files that a run says it writes on a host."""
    return sorted(path for task in (TLS, CLIENTS, DAEMON) for path in run.of(name, task)["files"])


def differences(before: dict, after: dict) -> list:
    """What is new, gone or otherwise: paths, and what is known of the daemon."""
    known = [{**one.get("files", {}), **one.get("daemon", {})} for one in (before, after)]
    return sorted(key for key in {*known[0], *known[1]} if known[0].get(key) != known[1].get(key))


def written(before: dict, after: dict) -> list:
    """Files that differ, without directories that only hold such, and without our own state."""
    paths = [path for path in differences(before, after) if path.startswith("/")]
    return [
        path
        for path in paths
        if not any(one.startswith(path + "/") for one in paths) and not path.startswith(STATE + "/")
    ]


def unmoved(before: dict, after: dict) -> bool:
    """Whether two looks at all machines saw the same. Prints what they did not."""
    moved = {name: differences(before[name], after[name]) for name in before}
    print(moved)
    return not any(moved.values()) and before == after


testinfra_hosts = ["ansible://docker_hosts"]


def test_check_of_a_virgin_host_changes_nothing(story):
    assert unmoved(story.virgin, story.unmoved)


def test_check_predicts_the_tasks_that_change(story, name):
    assert story.predicted.changed(name) == story.done.changed(name)
    changed = {task.rpartition(" : ")[2] for task in story.done.changed(name)}
    canary = {CLIENTS_HERE} if name == story.names[0] else set()
    assert changed == {TLS, CLIENTS, DAEMON} | canary


def test_check_predicts_the_files(story, name):
    assert predictions(story.predicted, name) == predictions(story.done, name)
    assert "/etc/docker/daemon.json" in predictions(story.predicted, name)


def test_no_other_file_is_written(story, name):
    promised = predictions(story.predicted, name)
    promised = [path for path in promised if not path.startswith(STATE + "/")]
    assert written(story.unmoved[name], story.hardened[name]) == promised


def test_check_predicts_the_files_on_the_controller(story, inventory):
    promised = {
        path
        for entry in story.predicted.results
        for path in entry["result"].get("controller_files", [])
    } | set(story.predicted.of(story.names[0], CLIENTS_HERE)["files"])
    # What a run found is new in each run, and the lock holds nothing.
    report = str(Path(inventory).parent / "dockerd-report.json")
    lock = str(Path(inventory).parent / "dockerd-authority" / ".lock")
    found = written(story.unmoved["controller"], story.hardened["controller"])
    assert promised
    assert set(found) - {report, lock} == promised


def test_check_predicts_the_restart(story, name):
    for what in ("activation", "reasons", "foreign", "displaced", "notes", "left"):
        assert story.predicted.of(name, DAEMON)[what] == story.done.of(name, DAEMON)[what]
    assert story.done.of(name, DAEMON)["activation"] == "restart"
    before, after = story.unmoved[name]["daemon"], story.hardened[name]["daemon"]
    assert before["units"] != after["units"]
    assert before["containers"] == after["containers"] != ""


def test_check_shows_the_diff_of_the_real_run(story, name):
    predicted, done = (run.of(name, DAEMON)["diff"] for run in (story.predicted, story.done))
    assert predicted == done


def test_check_of_a_hardened_host_predicts_nothing(story, name):
    assert story.nothing.changed(name) == []
    assert predictions(story.nothing, name) == []
    assert story.nothing.of(name, DAEMON)["activation"] == "none"
    assert unmoved(story.hardened, story.unmoved_again)


def test_check_predicts_a_renewal_and_its_restart(story, name):
    for run in (story.renewal, story.renewed):
        (leaf,) = run.of(name, TLS)["leaves"]
        assert "inside dockerd_tls_renew_before" in " ".join(leaf["reasons"])
        assert len(run.changed(name)) == 2
        assert predictions(run, name) == ["/etc/docker/tls/server-cert.pem"]
        assert run.of(name, DAEMON)["activation"] == "restart"
    assert unmoved(story.hardened, story.unmoved_still)


def test_renewal_writes_the_leaf_alone(story, name):
    before, after = story.hardened[name], story.last[name]
    assert written(before, after) == ["/etc/docker/tls/server-cert.pem"]
    assert before["daemon"]["containers"] == after["daemon"]["containers"]
