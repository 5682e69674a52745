# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the daemon treats its containers, images and logs: CIS chapter 2."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from urllib.parse import urlsplit

from .. import config
from ..findings import Control, Verdict, broken, failed, not_applicable, passed, redact, unknown
from ..snapshot import Snapshot
from ..told import Place, Told, strings


def _cis(old: str, new: str) -> dict:
    # 1.8 has a new 2.7 and moves everything after it by one.
    return {"1.6": old, "1.7": old, "1.8": new}


def _told(directive: str, wanted: object, default: object):
    """A control on one directive's effective value, from flag or file."""

    def judge(snapshot: Snapshot) -> Verdict:
        value = snapshot.told.setting(directive, default)
        if config.same(value, wanted):
            return passed("%s is %s" % (directive, _text(wanted)))
        written = snapshot.told.setting(directive) is not None
        source = snapshot.told.where(directive) if written else "dockerd's default"
        place = snapshot.told.place(directive)
        return failed("%s is %s (%s)" % (directive, _text(value), source), place)

    return judge


def _unwanted(rules: dict):
    """Directives that may not hold certain values: name -> (what of a value is wrong)."""

    def judge(snapshot: Snapshot) -> Verdict:
        told = snapshot.told
        found = []
        for name, wrong in rules.items():
            value = told.setting(name)
            complaint = "" if value is None else wrong(value)
            if complaint:
                found.append((name, "%s %s (%s)" % (name, complaint, told.where(name))))
        return broken([text for dummy, text in found], [told.place(name) for name, dummy in found])

    return judge


def _is(unwanted: object):
    return lambda value: "is %s" % _text(value) if config.same(value, unwanted) else ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _icc(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("bridge") == "none":
        return not_applicable("there is no default bridge")
    told = _told("icc", False, True)(snapshot)
    if told.status != "passed" or snapshot.does is None:
        return told
    if snapshot.does.bridge.get("com.docker.network.bridge.enable_icc") == "true":
        return failed(
            "icc is false, but the live bridge still says enable_icc: true; it is made anew when"
            " dockerd starts without containers on it"
        )
    return told


def _live_restore(snapshot: Snapshot) -> Verdict:
    if snapshot.does and snapshot.does.swarm:
        return not_applicable("a swarm node cannot have live-restore")
    return _told("live-restore", True, False)(snapshot)


def _log_level(snapshot: Snapshot) -> Verdict:
    if snapshot.told.setting("debug", False) is True:
        told = snapshot.told
        return failed("debug is on (%s)" % told.where("debug"), told.place("debug"))
    return _told("log-level", "info", "info")(snapshot)


def _loopback(name: str) -> bool:
    """Whether a registry or network, as insecure-registries names it, is this host itself."""
    try:
        return ipaddress.ip_network(name, strict=False).is_loopback
    except ValueError:
        pass
    try:
        host = urlsplit("//" + name).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _registries(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    problems = [
        "%s is trusted without TLS (%s)" % (name, told.where("insecure-registries"))
        for name in strings(told.setting("insecure-registries"))
        if not _loopback(name)
    ]
    problems += [
        "mirror %s is plain HTTP (%s)" % (name, told.where("registry-mirrors"))
        for name in strings(told.setting("registry-mirrors"))
        if name.lower().startswith("http://")
    ]
    names = ("insecure-registries", "registry-mirrors")
    return broken(problems, [told.place(name) for name in names if told.setting(name)])


def _seccomp(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    if told.setting("seccomp-profile") == "unconfined":
        return failed(
            "seccomp-profile is unconfined (%s)" % told.where("seccomp-profile"),
            told.place("seccomp-profile"),
        )
    options = _options(snapshot)
    if any("seccomp" in option and "unconfined" in option for option in options):
        return failed("/info says %s" % ", ".join(options))
    return passed()


def _options(snapshot: Snapshot) -> list[str]:
    """What /info says of security, moby daemon/info.go fillSecurityOptions."""
    return strings(snapshot.does.info.get("SecurityOptions")) if snapshot.does else []


def _rootless(snapshot: Snapshot) -> Verdict:
    if snapshot.instance.rootless:
        return passed("it runs as %s" % snapshot.instance.user.name)
    return failed("it runs as root")


def _userns(snapshot: Snapshot) -> Verdict:
    if snapshot.instance.rootless:
        return passed("a rootless daemon is in a user namespace itself")
    told = snapshot.told
    if told.setting("userns-remap") in (None, "", "root"):  # moby: root switches it off again
        return failed("containers have the host's user ids", told.place("userns-remap"))
    if snapshot.does and snapshot.does.answers:
        if not any(option.startswith("name=userns") for option in _options(snapshot)):
            return failed("userns-remap is told (%s), not done" % told.where("userns-remap"))
    return passed("userns-remap is %s" % told.setting("userns-remap"))


def _storage(snapshot: Snapshot) -> Verdict:
    told, does = snapshot.told, snapshot.does
    live = does.info.get("Driver") if does else None
    driver = live or told.setting("storage-driver")
    if driver is None and does:
        return unknown("the daemon does not say which one it chose")
    if driver in ("aufs", "devicemapper"):
        return failed("the storage driver is %s" % driver, told.place("storage-driver"))
    return passed("the storage driver is %s" % (driver or "dockerd's own choice"))


def _base_size(snapshot: Snapshot) -> Verdict:
    told, does = snapshot.told, snapshot.does
    driver = (does.info.get("Driver") if does else None) or told.setting("storage-driver")
    if driver != "devicemapper":
        return not_applicable("devicemapper alone has a base device")
    sizes = [one for one in strings(told.setting("storage-opts")) if "dm.basesize" in one]
    return broken(sizes, [told.place("storage-opts")])


def _cgroup(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    parent = told.setting("cgroup-parent")
    if parent in (None, ""):
        return passed("containers are in dockerd's own cgroup")
    if parent in snapshot.slices:
        return passed("%s is a unit" % parent)
    return failed(
        "cgroup-parent is %s (%s), and no unit says what that may use"
        % (parent, told.where("cgroup-parent")),
        told.place("cgroup-parent"),
    )


# Drivers that leave the logs on the host, docs.docker.com/config/containers/logging/configure.
_LOCAL = ("json-file", "local", "none", "")


def _remote(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    driver = told.setting("log-driver", "json-file")
    if driver == "journald":
        return unknown("journald may or may not send its logs on")
    address = str(_log_options(snapshot).get("syslog-address", ""))
    if driver in _LOCAL or (driver == "syslog" and not address.startswith(("tcp", "udp"))):
        return failed("the %s driver keeps logs on this host" % driver, told.place("log-driver"))
    return passed("the log driver is %s" % driver)


def _log_options(snapshot: Snapshot) -> dict:
    """log-opts of file and flags."""
    told = snapshot.told
    written = told.data.get("log-opts")
    options = dict(written) if isinstance(written, dict) else {}
    for flag in told.flags:
        if flag.directive == "log-opts":
            name, value = str(flag.value).partition("=")[::2]
            options[name] = value
    return options


def _beyond_loopback(value: object) -> str:
    """An address with a port; without a host it is bound everywhere."""
    host = str(value).rpartition(":")[0].strip("[]")
    return "" if host and _loopback(host) else "is %s" % value


def _credentials(snapshot: Snapshot) -> Verdict:
    """A password that any user of the host can read."""
    told = snapshot.told
    if not snapshot.whole:
        return not_applicable("a directory with a few files in it says nothing of readers")
    found = []
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


def _ulimits(snapshot: Snapshot) -> Verdict:
    return passed() if snapshot.told.setting("default-ulimits") else failed("no default-ulimits")


def _ulimits_grantable(snapshot: Snapshot) -> Verdict:
    """runc refuses to start a container whose limits it may not set, setrlimit(2)."""
    problems = []
    ulimits = snapshot.told.setting("default-ulimits")
    for name, ulimit in ulimits.items() if isinstance(ulimits, dict) else []:
        soft, hard = ulimit.get("Soft", 0), ulimit.get("Hard", 0)
        most = snapshot.does.limits.get(name) if snapshot.does else None
        if soft > hard:
            problems.append("%s: Soft %d is above Hard %d" % (name, soft, hard))
        elif most is not None and hard > most:
            problems.append("%s: this host grants at most %d, not %d" % (name, most, hard))
    return broken(problems)


def _logs_bounded(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    driver = told.setting("log-driver", "json-file")
    if driver != "json-file":
        return not_applicable("the %s driver bounds its own logs" % driver)
    size = _log_options(snapshot).get("max-size")
    if size:
        return passed("max-size is %s" % size)
    return failed("json-file without max-size grows until the disk is full", told.place("log-opts"))


def _readable(judge):
    """``judge``, where daemon.json can be read; whatever it holds is unknown otherwise."""

    def either(snapshot: Snapshot) -> Verdict:
        if snapshot.told.document is None:
            return unknown("daemon.json cannot be read")
        return judge(snapshot)

    return either


_CONTROLS = [
    Control(
        "icc",
        "Containers on the default bridge cannot reach each other",
        "medium",
        "One broken container is otherwise a neighbour of all others.",
        "Keep icc: false, the default of dockerd_profile.",
        _icc,
        _cis("2.2", "2.2"),
    ),
    Control(
        "log-level",
        "The daemon logs at level info",
        "low",
        "Less hides attacks, more leaks what passes through the API.",
        "Keep log-level: info and debug: false in dockerd_options.",
        _log_level,
        _cis("2.3", "2.3"),
    ),
    Control(
        "iptables",
        "dockerd sets its packet filter rules",
        "high",
        "Without them containers are neither isolated nor their ports filtered.",
        "Remove iptables: false and ip6tables: false.",
        _unwanted({"iptables": _is(False), "ip6tables": _is(False)}),
        _cis("2.4", "2.4"),
    ),
    Control(
        "registries",
        "Every registry and mirror is reached over TLS",
        "high",
        "Whoever sits between the host and a plain registry chooses what runs.",
        "Remove the entry from insecure-registries or registry-mirrors.",
        _registries,
        _cis("2.5", "2.5"),
    ),
    Control(
        "ulimits",
        "Containers have default ulimits",
        "low",
        "A container without limits starves the host of files and processes.",
        "Keep default-ulimits, which dockerd_profile sets.",
        _ulimits,
        _cis("2.8", "2.9"),
    ),
    Control(
        "ulimits-grantable",
        "The default ulimits are ones that this host can grant",
        "critical",
        "No container starts whose limits the runtime may not set.",
        "Lower default-ulimits in dockerd_options.",
        _ulimits_grantable,
        {},
        blocks=True,
    ),
    Control(
        "no-new-privileges",
        "Containers cannot gain privileges",
        "medium",
        "A setuid program in an image is otherwise a way to root in the container.",
        "Keep no-new-privileges: true, the default of dockerd_profile.",
        _told("no-new-privileges", True, False),
        _cis("2.14", "2.15"),
    ),
    Control(
        "live-restore",
        "Containers survive a restart of the daemon",
        "low",
        "Security updates of the engine wait for a window where restarts stop containers.",
        "Keep live-restore: true, the default of dockerd_profile.",
        _live_restore,
        _cis("2.15", "2.16"),
    ),
    Control(
        "userland-proxy",
        "Published ports need no proxy process",
        "low",
        "A root process for each port is attack surface, and hides the client's address.",
        "Keep userland-proxy: false, the default of dockerd_profile.",
        _told("userland-proxy", False, True),
        _cis("2.16", "2.17"),
    ),
    Control(
        "seccomp",
        "Containers run under a seccomp profile",
        "critical",
        "Without one a container reaches every system call of the kernel.",
        "Remove seccomp-profile: unconfined.",
        _seccomp,
        _cis("2.17", "2.18"),
    ),
    Control(
        "rootless",
        "The daemon does not run as root",
        "low",
        "Whoever breaks out of a container has what the daemon has.",
        "Give the users who need Docker a rootless daemon each.",
        _rootless,
        _cis("2.1", "2.1"),
    ),
    Control(
        "userns-remap",
        "Root in a container is nobody on the host",
        "low",
        "Without a user namespace, root that leaves a container is root outside.",
        "Set dockerd_profile: level2, or userns-remap in dockerd_options.",
        _userns,
        _cis("2.9", "2.10"),
    ),
    Control(
        "storage-driver",
        "The storage driver is neither aufs nor devicemapper",
        "medium",
        "Both are without maintainers, and gone from Engine 24 and 25.",
        "Set storage-driver: overlay2 in dockerd_options, and move the images.",
        _storage,
        {"1.6": "2.6", "1.7": "2.6", "1.8": "2.6, 2.7"},
    ),
    Control(
        "base-device-size",
        "devicemapper's base device has its default size",
        "low",
        "A larger one lets a single container fill the pool.",
        "Take dm.basesize out of storage-opts in dockerd_options.",
        _base_size,
        _cis("2.11", "2.12"),
    ),
    Control(
        "cgroup-parent",
        "Containers are in a cgroup whose limits somebody set",
        "low",
        "A cgroup that no unit describes has no limits.",
        "Make a slice unit and name it, or take cgroup-parent out of dockerd_options.",
        _cgroup,
        _cis("2.10", "2.11"),
    ),
    Control(
        "logs-remote",
        "Container logs leave the host",
        "low",
        "Whoever takes the host takes the logs that would tell.",
        "Set log-driver and log-opts in dockerd_options.",
        _remote,
        _cis("2.13", "2.14"),
    ),
    Control(
        "experimental",
        "Experimental features are off",
        "low",
        "They are less tested and may change.",
        "Take experimental out of dockerd_options.",
        _told("experimental", False, False),
        _cis("2.18", "2.19"),
    ),
    Control(
        "forwarding",
        "dockerd drops packets that were not asked for",
        "medium",
        "Each of these lets the network reach containers past their published ports.",
        "Take the directive named out of dockerd_options.",
        _unwanted(
            {
                "allow-direct-routing": _is(True),
                "ip-forward-no-drop": _is(True),
                "bridge-accept-fwmark": lambda value: value and "is %s" % value,
            }
        ),
        {},
    ),
    Control(
        "diagnostics",
        "Metrics and diagnostics are for this host alone",
        "medium",
        "Both ports are plain HTTP and ask nobody who they are.",
        "Bind metrics-addr to 127.0.0.1 and take network-diagnostic-port out of dockerd_options.",
        _unwanted(
            {
                "metrics-addr": _beyond_loopback,
                "network-diagnostic-port": lambda value: value and "is %s" % value,
            }
        ),
        {},
    ),
    Control(
        "node-resource-interface",
        "No plugin of the node resource interface changes containers",
        "medium",
        "Such a plugin may add mounts and hooks, which is root on the host.",
        "Take nri-opts out of dockerd_options.",
        _unwanted(
            {
                "nri-opts": lambda value: (
                    isinstance(value, dict) and value.get("enable") is True and "enables it"
                )
            }
        ),
        {},
    ),
    Control(
        "namespaces",
        "Containers have namespaces of their own by default",
        "medium",
        "A shared namespace shows a container what its neighbours do.",
        "Keep default-ipc-mode and default-cgroupns-mode private in dockerd_options.",
        _unwanted(
            {
                "default-ipc-mode": lambda value: value == "shareable" and "is shareable",
                "default-cgroupns-mode": lambda value: value == "host" and "is host",
            }
        ),
        {},
    ),
    Control(
        "credentials",
        "No password lies open in the configuration",
        "high",
        "A proxy's or a mirror's password is there for every user of the host.",
        "Let the dockerd role write the file, which makes it 0600; or chmod 0600 the file named.",
        _credentials,
        {},
    ),
    Control(
        "logs-bounded",
        "Container logs are bounded",
        "medium",
        "A chatty container otherwise fills the disk and stops every other.",
        "Keep log-opts, which dockerd_profile sets.",
        _logs_bounded,
        {},
    ),
]

CONTROLS = [replace(control, judge=_readable(control.judge)) for control in _CONTROLS]
