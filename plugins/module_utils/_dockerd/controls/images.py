# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images come from and how they are stored: CIS chapter 2."""

from __future__ import annotations

from ..findings import Control, Verdict, broken, failed, not_applicable, passed, unknown
from ..snapshot import Snapshot
from ..told import strings
from .rules import chapter_two, loopback, readable


def _registries(snapshot: Snapshot) -> Verdict:
    told = snapshot.told
    problems = [
        "%s is trusted without TLS (%s)" % (name, told.where("insecure-registries"))
        for name in strings(told.setting("insecure-registries"))
        if not loopback(name)
    ]
    problems += [
        "mirror %s is plain HTTP (%s)" % (name, told.where("registry-mirrors"))
        for name in strings(told.setting("registry-mirrors"))
        if name.lower().startswith("http://") and not loopback(name[7:].partition("/")[0])
    ]
    names = ("insecure-registries", "registry-mirrors")
    return broken(problems, [told.place(name) for name in names if told.setting(name)])


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


CONTROLS = readable(
    [
        Control(
            "registries",
            "Every registry and mirror is reached over TLS",
            "high",
            "Whoever sits between the host and a plain registry chooses what runs.",
            "Remove the entry from insecure-registries or registry-mirrors.",
            _registries,
            chapter_two("2.5", "2.5"),
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
            chapter_two("2.11", "2.12"),
        ),
    ]
)
