# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which daemon is meant, and where its configuration, units, sockets and data live."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    """One Docker daemon. The defaults are the system's, as every packaging has it."""

    name: str = "system"
    service: str = "docker.service"
    socket: str = "docker.socket"
    tls_socket: str = "docker-tls.socket"
    config_path: str = "/etc/docker/daemon.json"
    socket_path: str = "/run/docker.sock"
    unit_directory: str = "/etc/systemd/system"
    state_directory: str = "/var/lib/hardened-docker/system"
    systemctl: tuple[str, ...] = ("systemctl",)

    @property
    def units(self) -> tuple[str, str, str]:
        """The service and its two sockets."""
        return self.service, self.socket, self.tls_socket

    def dropin(self, unit: str, name: str) -> str:
        """Where a drop-in of ours for ``unit`` lies."""
        return "%s/%s.d/%s" % (self.unit_directory, unit, name)

    @property
    def service_dropin(self) -> str:
        """What the operator's template says of the service."""
        return self.dropin(self.service, "hardened.conf")

    @property
    def socket_dropin(self) -> str:
        """What the operator's template says of the unix socket."""
        return self.dropin(self.socket, "hardened.conf")

    @property
    def command_dropin(self) -> str:
        """The command line without the flags that conflict; last in order, so that it holds."""
        return self.dropin(self.service, "zz-hardened-command.conf")

    @property
    def listen_dropin(self) -> str:
        """The unix socket's listeners without the TCP ones somebody added."""
        return self.dropin(self.socket, "zz-hardened-listen.conf")

    @property
    def tls_socket_path(self) -> str:
        """The unit that listens on TCP."""
        return "%s/%s" % (self.unit_directory, self.tls_socket)

    @property
    def manifest_path(self) -> str:
        """What we own on this host."""
        return "%s/manifest.json" % self.state_directory

    @property
    def journal_directory(self) -> str:
        """The former state, kept while a transaction runs."""
        return "%s/transaction" % self.state_directory
