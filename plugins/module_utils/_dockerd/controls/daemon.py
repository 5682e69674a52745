# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon itself: CIS chapter 2."""

from __future__ import annotations

from ..findings import Control, Verdict, broken, failed, not_applicable, passed, redact
from ..snapshot import Snapshot
from ..told import Place, Told
from .rules import chapter_two, directive_is, loopback, readable, unwanted


def _live_restore(snapshot: Snapshot) -> Verdict:
    if snapshot.does and snapshot.does.swarm:
        return not_applicable("a swarm node cannot have live-restore")
    if snapshot.instance.rootless:
        return not_applicable("containers of a rootless daemon end with its namespaces")
    return directive_is("live-restore", True, False)(snapshot)


def _userland_proxy(snapshot: Snapshot) -> Verdict:
    if snapshot.instance.rootless:
        # moby 28.0 is the first that asks rootlesskit itself.
        return not_applicable("ports of a rootless daemon before engine 28 need it; it has no root")
    return directive_is("userland-proxy", False, True)(snapshot)


def _rootless(snapshot: Snapshot) -> Verdict:
    if snapshot.instance.rootless:
        return passed("it runs as %s" % snapshot.instance.user.name)
    return failed("it runs as root")


def _beyond_loopback(value: object) -> str:
    """An address with a port; without a host it is bound everywhere."""
    host = str(value).rpartition(":")[0].strip("[]")
    return "" if host and loopback(host) else "is %s" % value


def _credentials(snapshot: Snapshot) -> Verdict:
    """A password that any user of the host can read."""
    told = snapshot.told
    # The command line of a process is there for all, proc_pid_cmdline(5).
    found = [
        Place(flag.path, flag.line)
        for flag in told.flags
        if redact(" ".join(flag.words)) != " ".join(flag.words)
    ]
    if found:
        return failed("a flag of dockerd shows credentials to every user", *found)
    if not snapshot.whole:
        return not_applicable("a directory with a few files in it says nothing of readers")
    status = snapshot.files.get(told.config_path)
    if status and status.mode & 0o004 and redact(_written(told)) != _written(told):
        found.append(Place(told.config_path))
    if told.service:
        for setting in told.service.settings("Service", "Environment"):
            status = snapshot.files.get(setting.path)
            if status and status.mode & 0o004 and redact(setting.value) != setting.value:
                found.append(Place(setting.path, setting.line))
    return broken(["%s shows credentials to every user" % place.path for place in found], found)


def _written(told: Told) -> str:
    return (told.raw or b"").decode("utf-8", "replace")


CONTROLS = readable(
    [
        Control(
            "rootless",
            "The daemon does not run as root",
            "low",
            "Whoever breaks out of a container has what the daemon has.",
            "Give the users who need Docker a rootless daemon each.",
            _rootless,
            chapter_two("2.1", "2.1"),
        ),
        Control(
            "live-restore",
            "Containers survive a restart of the daemon",
            "low",
            "Security updates of the engine wait for a window where restarts stop containers.",
            "Keep live-restore: true, the default of dockerd_profile.",
            _live_restore,
            chapter_two("2.15", "2.16"),
        ),
        Control(
            "userland-proxy",
            "Published ports need no proxy process",
            "low",
            "A root process for each port is attack surface, and hides the client's address.",
            "Keep userland-proxy: false, the default of dockerd_profile.",
            _userland_proxy,
            chapter_two("2.16", "2.17"),
        ),
        Control(
            "experimental",
            "Experimental features are off",
            "low",
            "They are less tested and may change.",
            "Take experimental out of dockerd_options.",
            directive_is("experimental", False, False),
            chapter_two("2.18", "2.19"),
        ),
        Control(
            "diagnostics",
            "Metrics and diagnostics are for this host alone",
            "medium",
            "Both ports are plain HTTP and ask nobody who they are.",
            "Bind metrics-addr to 127.0.0.1, and take network-diagnostic-port out of"
            " dockerd_options.",
            unwanted(
                {
                    "metrics-addr": _beyond_loopback,
                    "network-diagnostic-port": lambda value: value and "is %s" % value,
                }
            ),
            {},
        ),
        Control(
            "credentials",
            "No password lies open in the configuration",
            "high",
            "A proxy's or a mirror's password is there for every user of the host.",
            "Let the dockerd role write the file, which makes it 0600, or chmod 0600 it yourself.",
            _credentials,
            {},
        ),
    ]
)
