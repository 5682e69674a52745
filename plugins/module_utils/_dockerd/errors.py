# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, in words that name the place and the way out."""

from __future__ import annotations


class DockerdError(Exception):
    """Something the operator must know: what, where, why it matters, the way out.

    ``facts`` are machine-readable details; a module returns them beside the message.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class HostError(DockerdError):
    """The machine would not do what was asked: unreadable, full, missing, too slow."""


class Overtaken(HostError):
    """Somebody else changed a file between our reading it and our writing it."""


class Refused(DockerdError):
    """The candidate was judged and turned down; nothing was touched."""


class RolledBack(DockerdError):
    """The change did not hold, and the former state was put back as far as the message says."""
