# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host asks for Docker Content Trust, and whether its client can do that.

The variable is the client's, docker/cli cli/command/cli.go; dockerd has no such setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .host import Host
from .told import Place, Told, package_version

VARIABLE, SERVER = "DOCKER_CONTENT_TRUST", "DOCKER_CONTENT_TRUST_SERVER"
SHELLS = ("/etc/environment", "/etc/profile", "/etc/bash.bashrc", "/etc/bashrc")
DEFAULTS = "/etc/default/docker"
CLIENTS = ("docker-ce-cli", "docker-cli", "moby-cli", "docker.io")
_SET = re.compile(r"(?:^|[\s;&])(%s|%s)=[\"']?([^\"'\s;&#]*)" % (VARIABLE, SERVER))
_OFF = ("", "0", "f", "F", "false", "False", "FALSE")  # Go's strconv.ParseBool


@dataclass
class Trust:
    """Who is asked for content trust; ``client`` is the version of the docker command."""

    users: list[Place] = field(default_factory=list)  # what sets it for clients
    daemon: list[Place] = field(default_factory=list)  # what sets it for dockerd, to no effect
    server: bool = False  # whether a server other than Docker Hub's is named
    client: str = ""  # read only where somebody is asked


def read_trust(host: Host, told: Told) -> Trust:
    """What the files of a host say of content trust."""
    trust = Trust()
    scripts = ["/etc/profile.d/" + name for name in host.list("/etc/profile.d")]
    for path in (*SHELLS, *filter(lambda path: path.endswith(".sh"), scripts)):
        for name, value, place in _assignments(host, path):
            if name == SERVER:
                trust.server = trust.server or bool(value)
            elif value not in _OFF:
                trust.users.append(place)
    trust.daemon = [
        place
        for name, value, place in _assignments(host, DEFAULTS)
        if name == VARIABLE and value not in _OFF
    ]
    if told.environment.get(VARIABLE, "") not in _OFF and not trust.daemon:
        trust.daemon = [Place(told.service.path if told.service else "")]
    if trust.users:
        trust.client = _client(host)
    return trust


def _assignments(host: Host, path: str) -> list:
    found = []
    text = (host.optional(path) or b"").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            for match in _SET.finditer(line):
                place = Place(path, number, match.start(1) + 1)
                found.append((match.group(1), match.group(2), place))
    return found


def _client(host: Host) -> str:
    if not host.live:
        return package_version(host, CLIENTS)
    words = host.run(["docker", "--version"], timeout=2).out.replace(",", " ").split()
    return words[words.index("version") + 1] if "version" in words[:-1] else ""
