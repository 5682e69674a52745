# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The authorization plugins an instance is told to ask: where they are, and whether they answer.

Sources: moby pkg/plugins/discovery.go and client.go, plugin/store.go.
"""

from __future__ import annotations

import json
import posixpath
import re
import socket
from dataclasses import dataclass, field

from .errors import HostError
from .host import Host
from .instance import Instance
from .told import Told, strings

PATIENCE = 1  # seconds that a plugin has for its answer; dockerd gives it 30


@dataclass(frozen=True)
class Plugin:
    """An authorization plugin. ``alive`` is None where that cannot be known from here."""

    path: str = ""  # its socket, specification or, for a managed one, its state; empty: not found
    address: str = ""  # URL
    tls: dict | None = field(default=None, hash=False)  # TLSConfig of a .json specification
    alive: bool | None = None
    problem: str = ""  # why it is not, or why that is not known


def read_plugins(instance: Instance, host: Host, told: Told, root: str) -> dict[str, Plugin]:
    """The plugins that are told, by name; ``root`` is the daemon's data-root."""
    names = strings(told.setting("authorization-plugins"))
    managed = _managed(host, root) if names else {}
    found = {}
    for name in names:
        tagged = name if ":" in name.rpartition("/")[2] else name + ":latest"
        found[name] = managed.get(tagged) or _legacy(instance, host, name)
    return found


def _managed(host: Host, root: str) -> dict[str, Plugin]:
    """The plugins that ``docker plugin install`` put there, moby plugin/v2/plugin.go."""
    found = {}
    for entry in host.list(root + "/plugins"):
        path = "%s/plugins/%s/config.json" % (root, entry)
        plugin = _object(host.optional(path)).get("plugin")
        if isinstance(plugin, dict):
            off = plugin.get("Enabled") is not True
            problem = "it is disabled" if off else ""
            found[plugin.get("Name")] = Plugin(path, alive=False if off else None, problem=problem)
    return found


def _legacy(instance: Instance, host: Host, name: str) -> Plugin:
    for path in _paths(instance, name):
        status = host.stat(path)
        if not status:
            continue
        if path.endswith(".sock"):
            if status.kind == "socket":
                return _tried(host, path, "unix://" + path)
        else:
            return _specified(host, path)
    if instance.rootless:
        return Plugin(problem="its socket may be in the daemon's own mount namespace")
    return Plugin()


def _paths(instance: Instance, name: str) -> list[str]:
    """Where dockerd looks, in its order."""
    if not re.match(r"[\w.:-]{1,200}$", name):
        return []
    # A rootless daemon has its own /run, and looks for specifications in /etc all the same.
    sockets = [] if instance.rootless else ["/run/docker/plugins"]
    library = "%s/.local/lib" % instance.user.home if instance.rootless else "/usr/lib"
    places = [(directory, ("sock",)) for directory in sockets]
    places += [
        (directory, ("spec", "json"))
        for directory in ("/etc/docker/plugins", library + "/docker/plugins")
    ]
    return [
        posixpath.join(directory, *between, "%s.%s" % (name, ending))
        for directory, endings in places
        for ending in endings
        for between in ((), (name,))
    ]


def _specified(host: Host, path: str) -> Plugin:
    raw = host.optional(path)
    if raw is None:
        return Plugin(path, problem="%s cannot be read" % path)
    tls = None
    if path.endswith(".json"):
        fields = {key.lower(): value for key, value in _object(raw).items()}  # as Go matches them
        address, tls = fields.get("addr"), fields.get("tlsconfig")
        if isinstance(tls, dict):
            tls = {key.lower(): value for key, value in tls.items()}
    else:
        address = raw.decode("utf-8", "replace").strip()
    if (
        not isinstance(address, str)
        or "://" not in address
        or not isinstance(tls, (dict, type(None)))
    ):
        return Plugin(path, alive=False, problem="%s has no address that dockerd reads" % path)
    return _tried(host, path, address, tls)


def _tried(host: Host, path: str, address: str, tls: dict | None = None) -> Plugin:
    """Greet a plugin as dockerd does before it asks it anything, and only then.

    Plugin.Activate carries nothing and changes nothing; a plugin answers it at every start and
    reload of the daemon with what it implements. One on the network is left alone.
    """
    scheme, target = address.partition("://")[::2]
    if not host.live or scheme != "unix":
        return Plugin(path, address, tls, None, "it was not tried")
    try:
        with host.session(target, PATIENCE) as ask:
            status, body = ask("/Plugin.Activate", "POST")
    except HostError as error:
        slow = isinstance(error.__cause__, socket.timeout)
        return Plugin(path, address, tls, None if slow else False, str(error))
    if status == 200 and "authz" in strings(_object(body).get("Implements")):
        return Plugin(path, address, tls, True)
    return Plugin(path, address, tls, False, "%s does not say that it implements authz" % target)


def _object(raw: bytes | None) -> dict:
    try:
        data = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
