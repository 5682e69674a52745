# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorization plugins: found, alive, asked for every request, and told apart from impostors."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..told import strings
from .rules import chapter_two, loopback

DIRECTIVE = "authorization-plugins"
GRPC_SINCE = (29, 2)  # moby commit d210449d85


def _configured(judge):
    """``judge``, where a plugin is configured; it gets their names."""

    def either(snapshot: Snapshot) -> Verdict:
        names = strings(snapshot.told.setting(DIRECTIVE))
        if names:
            return judge(snapshot, names)
        if snapshot.told.document is None:
            return unknown("daemon.json cannot be read")
        return not_applicable("no authorization plugin is configured")

    return either


def _any(snapshot: Snapshot) -> Verdict:
    if snapshot.told.document is None:
        return unknown("daemon.json cannot be read")
    names = strings(snapshot.told.setting(DIRECTIVE))
    if names:
        return passed("%s (%s)" % (", ".join(names), snapshot.told.where(DIRECTIVE)))
    return failed("every client may do everything", snapshot.told.place(DIRECTIVE))


def _present(snapshot: Snapshot, names: list[str]) -> Verdict:
    if snapshot.does is None:
        return unknown("plugins can be found on a running host only")
    plugins = {name: snapshot.plugins[name] for name in names}
    missing = [
        "authorization plugin %s (%s) has no socket in /run/docker/plugins and no"
        " specification in /etc/docker/plugins or /usr/lib/docker/plugins"
        % (name, snapshot.told.where(DIRECTIVE))
        for name, plugin in plugins.items()
        if not plugin.path and not plugin.problem
    ]
    hidden = [
        "%s: %s" % (name, plugin.problem) for name, plugin in plugins.items() if not plugin.path
    ]
    if hidden and not missing:
        return unknown("; ".join(hidden))
    return broken(missing, [snapshot.told.place(DIRECTIVE)])


def _alive(snapshot: Snapshot, names: list[str]) -> Verdict:
    if snapshot.does is None:
        return not_applicable("only a running host shows whether a plugin answers")
    plugins = {name: snapshot.plugins[name] for name in names}
    plugins = {name: plugin for name, plugin in plugins.items() if plugin.path or plugin.problem}
    if not plugins:
        return not_applicable("there is no plugin to answer")
    dead = [
        "%s: %s" % (name, plugin.problem)
        for name, plugin in plugins.items()
        if plugin.alive is False
    ]
    asked = _asked_by_daemon(snapshot)
    # The daemon's own answer came through every plugin that it asks.
    unsure = [
        "%s: %s" % (name, plugin.problem or "it was not tried")
        for name, plugin in plugins.items()
        if plugin.alive is None and name not in asked
    ]
    if unsure and not dead:
        return unknown("; ".join(unsure))
    return broken(dead, [snapshot.told.place(DIRECTIVE)])


def _asked_by_daemon(snapshot: Snapshot) -> list[str]:
    info = snapshot.does.info if snapshot.does.answers else {}
    return strings((info.get("Plugins") or {}).get("Authorization"))


def _asked(snapshot: Snapshot, names: list[str]) -> Verdict:
    if snapshot.does is None:
        return not_applicable("only a running daemon tells whom it asks")
    if not snapshot.does.answers:
        return unknown("the daemon does not tell whom it asks: %s" % snapshot.does.problem)
    asked = _asked_by_daemon(snapshot)
    return broken(
        [
            "/info does not list %s (%s): requests pass it by"
            % (name, snapshot.told.where(DIRECTIVE))
            for name in names
            if name not in asked
        ],
        [snapshot.told.place(DIRECTIVE)],
    )


def _by_flag(snapshot: Snapshot, names: list[str]) -> Verdict:
    return broken(
        [
            "%s in %s: the next reload drops it" % (" ".join(flag.words), flag.origin)
            for flag in snapshot.told.flags
            if flag.directive == DIRECTIVE
        ],
        [snapshot.told.place(DIRECTIVE)],
    )


def _insecure(address: str, tls: dict | None, path: str) -> str:
    """What is wrong with the way to a plugin, moby pkg/plugins/discovery.go and client.go."""
    try:
        parts = urlsplit(address)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        return "%s is no address" % address
    if scheme == "unix" or loopback(host):
        return ""
    if scheme != "https":
        return "%s is plain HTTP to another host" % address
    # Without TLSConfig, Go checks the certificate against the system's store.
    if path.endswith(".json") and (
        tls is None or (tls.get("cafile") and not tls.get("insecureskipverify"))
    ):
        return ""
    return "dockerd takes any certificate from %s, because no CAFile says which" % address


def _verified(snapshot: Snapshot, names: list[str]) -> Verdict:
    given = {name: snapshot.plugins[name] for name in names}
    given = {name: plugin for name, plugin in given.items() if plugin.address}
    if not given:
        return not_applicable("no plugin has an address that could be looked at")
    found = {
        "%s (%s)" % (name, plugin.path): _insecure(plugin.address, plugin.tls, plugin.path)
        for name, plugin in given.items()
    }
    return broken(["%s: %s" % pair for pair in found.items() if pair[1]])


def _grpc(snapshot: Snapshot, names: list[str]) -> Verdict:
    version = snapshot.told.version
    if version is None:
        return unknown("the engine's version is not known")
    if version < GRPC_SINCE:
        return passed("engine %s" % snapshot.told.version_text)
    return failed(
        "engine %s hands gRPC on the unix socket to its builder before any plugin is asked, as its"
        " source has it" % snapshot.told.version_text
    )


CONTROLS = [
    Control(
        "authorization-plugin",
        "A plugin authorizes what clients ask for",
        "low",
        "The API itself has no roles: every client is root on the host.",
        "Start a plugin on the host and name it in authorization-plugins, in dockerd_options.",
        _any,
        chapter_two("2.12", "2.13"),
    ),
    Control(
        "plugins-present",
        "Every authorization plugin can be found",
        "critical",
        "dockerd waits for a plugin that is not there, and then does not start.",
        "Start the plugin first, or take it out of authorization-plugins in dockerd_options.",
        _configured(_present),
        {},
        starts=True,
    ),
    Control(
        "authorization-alive",
        "Every authorization plugin answers",
        "critical",
        "A dead plugin refuses every request, and dockerd does not start again without it.",
        "Start the plugin, or take it out of authorization-plugins in dockerd_options.",
        _configured(_alive),
        {},
        starts=True,
    ),
    Control(
        "authorization-asked",
        "The running daemon asks every authorization plugin that it is told of",
        "critical",
        "A plugin that is configured and not asked allows everything.",
        "Run the dockerd role, which reloads the daemon, or systemctl reload docker.",
        _configured(_asked),
        {},
    ),
    Control(
        "authorization-by-flag",
        "Authorization plugins are in daemon.json and not in a flag",
        "high",
        "A reload reads daemon.json alone and drops a plugin that only a flag names.",
        "Name it in authorization-plugins, in dockerd_options; the role removes the flag.",
        _configured(_by_flag),
        {},
    ),
    Control(
        "authorization-spec-insecure",
        "dockerd knows the plugin that it asks over the network",
        "high",
        "Whoever sits between the daemon and its plugin allows what they like.",
        "Let the plugin listen on a unix socket, or write a .json specification with an https Addr"
        " and TLSConfig.CAFile.",
        _configured(_verified),
        {},
    ),
    Control(
        "grpc-bypass",
        "No request can pass the authorization plugins by",
        "low",
        "Since 29.2 BuildKit's gRPC on the unix socket is served apart from the rest of the API;"
        " this is a warning from reading the source, no advisory says so.",
        "Let nobody but root use the unix socket (dockerd_socket_group, dockerd_socket_mode), and"
        " give clients TCP with TLS in dockerd_listen, where gRPC is not taken.",
        _configured(_grpc),
        {},
    ),
]
