#!/usr/bin/env python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway hosts with their own systemd, network and dockerd. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time

import hosts
import machine
import rootfs
from hosts import Host
from machine import LabError, say

DEFAULT_HOSTS = "bookworm:1 trixie:1"

INVENTORY = """\
# Written by tests/lab/lab.py: the hosts that are up.
docker_hosts:
  vars:
    ansible_user: root
    ansible_ssh_private_key_file: {key}
    ansible_ssh_common_args: >-
      -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null
      -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes
    # Two labs may use one address; what Ansible keeps of connections is told apart by address only.
    ansible_control_path_dir: {state}/cp
    ansible_ssh_pipelining: true
    ansible_python_interpreter: /usr/bin/python3
    lab_network: {network}
    lab_gateway: {gateway}
    # TCP for the lower half of the network, a client on the controller, and one on each host to
    # reach the others with.
    dockerd_listen: ["0.0.0.0:2376"]
    dockerd_listen_allow: ["{allowed}"]
    # The machine that carries the lab may not be allowed to raise limits above its own.
    dockerd_options: {{default-ulimits: {{nofile: {{Name: nofile, Soft: 8192, Hard: 16384}}}}}}
    dockerd_tls_clients:
      - name: admin
      - name: operator
        hosts: "{{{{ groups['docker_hosts'] }}}}"
        user: root
  children:
"""


def wanted(text: str) -> list:
    """Return the hosts that a word list such as ``bookworm:1 trixie:2`` asks for.

    :raises LabError: it asks for what is not there.
    """
    found = []
    for word in text.split():
        release, _colon, count = word.partition(":")
        if release not in rootfs.RELEASES or not (count or "1").isdigit():
            raise LabError(
                f"LAB_HOSTS or --hosts: {word!r} is not RELEASE:NUMBER with a release "
                f"of {', '.join(rootfs.RELEASES)}"
            )
        found += [Host(f"{release}{n}") for n in range(1, int(count or 1) + 1)]
    return found


def named(names: list) -> list:
    """Return the hosts with these names, or all that there are.

    :raises LabError: a name belongs to no host of the lab.
    """
    there = {host.name: host for host in hosts.existing()}
    unknown = sorted(set(names) - set(there))
    if unknown:
        raise LabError(f"{', '.join(unknown)}: not in the lab ({', '.join(there) or 'empty'})")
    return [there[name] for name in names] if names else list(there.values())


def boot(new: list) -> None:
    """Start these hosts from scratch, tell all hosts of all, and wait until they are up."""
    rootfs.build_all({host.release for host in new})
    names = {host.name for host in new}
    there = hosts.existing()
    hosts.discard([host for host in there if host.name in names or not host.running()])
    stay = [host for host in there if host.name not in names and host.running()]
    everyone = sorted(stay + new, key=lambda host: host.address)
    for host in new:
        host.start(everyone)
    for host in everyone:
        host.introduce(everyone)
    for host in everyone:
        state = host.wait()
        if host.name in names:
            say(f"{host.name}: {state} at {host.address}")


def write_inventory() -> None:
    """Write the inventory and known_hosts for the hosts that run."""
    running = [host for host in hosts.existing() if host.running()]
    known_hosts = machine.STATE / "known_hosts"
    known_hosts.write_text("".join(host.known for host in running))
    text = INVENTORY.format(
        state=machine.STATE,
        key=hosts.KEY,
        known_hosts=known_hosts,
        network=machine.NETWORK,
        gateway=machine.GATEWAY,
        allowed=next(machine.NETWORK.subnets()),
    )
    for release in rootfs.RELEASES:
        members = [host for host in running if host.release == release]
        if members:
            text += f"    {release}:\n      hosts:\n"
        for host in members:
            text += f"        {host.name}:\n          ansible_host: {host.address}\n"
    path = machine.STATE / "inventory.yml"
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def up(options: argparse.Namespace) -> None:
    """Boot the hosts that are wanted and not up yet."""
    new = [host for host in wanted(options.hosts) if not host.running()]
    machine.raise_limits()
    machine.network_up()
    hosts.key(hosts.KEY, "lab")
    boot(new)
    write_inventory()
    total = len(hosts.existing())
    say(f"{total} hosts up, {len(new)} of them new: {machine.STATE / 'inventory.yml'}")


def reset(options: argparse.Namespace) -> None:
    """Take hosts back to their first boot."""
    boot(named(options.names))
    write_inventory()


def down(options: argparse.Namespace) -> None:
    """Take everything away but the cache and the keys."""
    there = hosts.existing()
    hosts.discard(there)
    machine.network_down()
    machine.remove(machine.HOSTS)
    for name in ("inventory.yml", "known_hosts"):
        machine.remove(machine.STATE / name)
    if options.cache:
        rootfs.clear()
    say(f"{len(there)} hosts taken down{', cache emptied' if options.cache else ''}")


def status(_options: argparse.Namespace) -> None:
    """Show the hosts."""
    for host in hosts.existing():
        leader = host.leader()
        print(f"{host.name:<12}{host.address!s:<16}{host.state():<12}{leader or ''}")


def reboot(options: argparse.Namespace) -> None:
    """Reboot a host as its administrator would; its disk stays."""
    for host in named([options.name]):
        before = host.leader()
        host.run("systemctl", "reboot")
        deadline = time.monotonic() + hosts.BOOT_SECONDS
        while host.leader() in (before, None):
            if time.monotonic() > deadline:
                raise LabError(f"{host.name}: went down for its reboot and did not come back")
            time.sleep(0.1)
        say(f"{host.name}: {host.wait()} again")


def cut(options: argparse.Namespace) -> None:
    """Cut a host's power: everything in it dies at once, the disk stays."""
    for host in named([options.name]):
        host.bury(host.kill())
        say(f"{host.name}: without power")


def boot_again(options: argparse.Namespace) -> None:
    """Boot a host from the disk that it has."""
    for host in named([options.name]):
        host.boot()
        say(f"{host.name}: {host.wait()} again")


def execute(options: argparse.Namespace) -> None:
    """Become a command in a host, without ssh."""
    (host,) = named([options.name])
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    command = host.command(*(words or ["bash", "--login"]))
    os.execvpe(command[0], command, hosts.ENVIRONMENT)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = top.add_subparsers(dest="command_name", metavar="COMMAND", required=True)

    def add(name: str, call, locks: bool = True) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=call.__doc__, description=call.__doc__)
        one.set_defaults(call=call, locks=locks)
        return one

    one = add("up", up)
    default = os.environ.get("LAB_HOSTS") or DEFAULT_HOSTS
    one.add_argument("--hosts", default=default, metavar="LIST", help=f"default: {default}")
    add("reset", reset).add_argument("names", nargs="*", metavar="NAME", help="default: all")
    add("down", down).add_argument("--cache", action="store_true", help="empty the cache too")
    add("status", status, locks=False)
    add("reboot", reboot).add_argument("name", metavar="NAME")
    # Power does not wait for whoever boots another host.
    add("cut", cut, locks=False).add_argument("name", metavar="NAME")
    add("boot", boot_again).add_argument("name", metavar="NAME")
    one = add("exec", execute, locks=False)
    one.add_argument("name", metavar="NAME")
    one.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return top


def main() -> int:
    """Run the command; return the exit status."""
    options = parser().parse_args()
    try:
        machine.require()
        if options.locks:
            with machine.locked(machine.STATE / "lock"):
                options.call(options)
        else:
            options.call(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the next up or down cleans up", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
