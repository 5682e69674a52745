# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients live where, for the role dockerd_tls."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ..module_utils._dockerd.errors import Refused
from ..module_utils._dockerd.leaves import clients_at


def dockerd_clients(clients: list, groups: dict, host: str = "") -> list:
    """The clients of a host. Raises AnsibleFilterError."""
    try:
        return clients_at(clients, groups, host)
    except Refused as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict:
        return {"dockerd_clients": dockerd_clients}
