# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How systemd and dockerd take up what was written.

Each step is one job of systemd's own, which it carries through whatever becomes of us: there is no
moment at which the daemon and its sockets are down and only we would start them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from .does import LOADS, Does, load_error, units_of
from .errors import HostError, Overtaken
from .host import Host, digest
from .instance import Instance

ATTEMPTS = 10.0  # seconds that a reload may take until /info shows it


def systemctl(
    instance: Instance, host: Host, *words: str, timeout: float = 90.0, check: bool = True
) -> bool:
    """Ask the manager that runs the daemon; whether it did. Raises HostError unless ``check``."""
    answer = host.run(instance.systemctl(*words), timeout=timeout)
    if check and answer.rc:
        raise HostError("systemctl %s: %s" % (" ".join(words), answer.words))
    return answer.rc == 0


def not_loaded(instance: Instance, host: Host) -> list[str]:
    """What systemd says of the daemon's units that it does not load as they are on disk."""
    shown = host.run(instance.systemctl("show", *instance.units, "--property=" + ",".join(LOADS)))
    return [*filter(None, map(load_error, units_of(shown.out)))]


def restart(
    instance: Instance,
    host: Host,
    does: Does,
    remake: set[str],
    timeout: float,
    expected: dict[str, bytes | None] | None = None,
    last_look: Callable[[], None] = lambda: None,
    must_guard: bool = True,
) -> None:
    """Start the daemon anew, with the sockets in ``remake``, whose listeners are not as told.

    ``expected`` are files that must be as given when dockerd reads them; the guard in its unit
    looks at them in the last moment, and a user's daemon has none. Without ``must_guard`` a disk
    that has no place for them is no reason to leave the daemon down. ``last_look`` raises HostError
    where the daemon may not be stopped. Raises HostError where it does not start, too.
    """
    guarded = expected and not instance.rootless
    systemctl(instance, host, "reset-failed", *instance.units, check=False)
    if guarded:
        told = {path: digest(data) for path, data in expected.items()}
        try:
            host.write(instance.expected_path, json.dumps(told).encode(), 0o600)
        except HostError:
            if must_guard:
                raise
            host.remove(instance.expected_path)
    try:
        for path, data in (expected or {}).items():
            if host.optional(path) != data:
                raise Overtaken("%s was changed by somebody else meanwhile" % path)
        last_look()
        if instance.tls_socket in remake and does.active(instance.tls_socket):
            # dockerd holds what it was given, and the restart below opens what is told. A unit
            # that is gone, systemd has let go of already.
            systemctl(instance, host, "stop", instance.tls_socket, check=False)
        if instance.socket in remake and does.active(instance.socket):
            # The service requires this socket and goes down and up with it, systemd.unit(5).
            systemctl(instance, host, "restart", instance.socket, timeout=timeout)
            systemctl(instance, host, "start", instance.service, timeout=timeout)
        else:
            systemctl(instance, host, "restart", instance.service, timeout=timeout)
    finally:
        if guarded:
            host.remove(instance.expected_path)


def start_again(instance: Instance, host: Host, units: list[str]) -> None:
    """Start what systemd stopped with the daemon; nothing happens to what runs."""
    for unit in units:
        systemctl(instance, host, "start", "--no-block", unit, check=False)


def await_answer(instance: Instance, host: Host, patience: float = 15.0) -> None:
    """Wait until the daemon answers on its unix socket; ``patience`` is in seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            status = host.get(instance.socket_path, "/info")[0]
            if status == 200:
                return
            problem = HostError("%s answers /info with %d" % (instance.socket_path, status))
        except HostError as error:
            problem = error
        if time.monotonic() > deadline:
            raise problem
        time.sleep(0.1)


def await_live_restore(instance: Instance, host: Host, wanted: bool) -> None:
    """Wait until a reload has set live-restore. Raises HostError where it does not."""
    deadline = time.monotonic() + ATTEMPTS
    while time.monotonic() < deadline:
        status, body = host.get(instance.socket_path, "/info")
        if status == 200 and json.loads(body).get("LiveRestoreEnabled") is wanted:
            return
        time.sleep(0.05)
    raise HostError(
        "dockerd did not set live-restore to %s on reload, so a restart would stop containers"
        % str(wanted).lower()
    )


def set_members(host: Host, group: str, members: list[str]) -> None:
    """Let a group have these members. Raises HostError."""
    answer = host.run(["gpasswd", "--members", ",".join(members), group])
    if answer.rc:
        raise HostError("gpasswd %s: %s" % (group, answer.words))


def set_inode(instance: Instance, host: Host, owner: tuple[str, str, int]) -> None:
    """Give the live unix socket its user, group and mode. Raises HostError."""
    user, group, mode = owner
    host.own(instance.socket_path, mode, host.uid(user) or 0, host.gid(group) or 0)
