# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from conftest import CONFIG, SERVICE

FILES = {"tlscacert": "/ca", "tlscert": "/cert", "tlskey": "/key"}
HOME = ("/root/.docker/ca.pem", "", "")  # the default authority counts, there or not


@pytest.mark.parametrize(
    ("data", "flags", "environment", "expected"),
    [
        # moby cmd/dockerd/options.go setDefaultOptions, daemon.go loadDaemonCliConfig
        ({}, "", "", None),
        (FILES, "", "", None),
        ({**FILES, "tls": False}, "", "", None),
        ({**FILES, "tls": True}, "", "", (True, "/ca", "/cert", "/key")),
        ({**FILES, "tlsverify": True}, "", "", (True, "/ca", "/cert", "/key")),
        ({**FILES, "tlsverify": False}, "", "", (False, "/ca", "/cert", "/key")),
        ({**FILES, "tls": False, "tlsverify": False}, "", "", (False, "/ca", "/cert", "/key")),
        ({**FILES, "w": {"tlsverify": False}}, "", "", (True, "/ca", "/cert", "/key")),
        ({**FILES, "w": {"tls": True}}, "", "", None),
        ({"tls": True}, "--tlscert=/c --tlskey=/k", "", (True, "", "", "")),
        ({}, "--tls --tlscert=/c --tlskey=/k", "", (True, HOME[0], "/c", "/k")),
        ({}, "--tlsverify=false", "", (False, *HOME)),
        ({"tls": False}, "--tlsverify", "", (True, *HOME)),
        ({"tlscert": "rel"}, "--tls", "", (True, HOME[0], "/rel", "")),
        ({}, "", "DOCKER_TLS_VERIFY=1", None),
        ({"tls": True}, "", "DOCKER_TLS_VERIFY=1", (True, *HOME)),
        ({}, "--tls", "DOCKER_CERT_PATH=/certs", (True, "/certs/ca.pem", "/certs/cert.pem", "")),
    ],
)
def test_tls(host, data, flags, environment, expected):
    host.put("/certs/cert.pem", "")
    unit = "[Service]\nEnvironment=%s\nExecStart=/usr/sbin/dockerd %s\n" % (environment, flags)
    host.put(SERVICE, unit)
    host.put(CONFIG, data)
    tls = host.told().tls
    found = tls and (tls.verify, tls.tlscacert, tls.tlscert, tls.tlskey)
    assert found == expected


def test_words_that_are_no_flags(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd serve -D -- --icc\n")
    assert [word.text for word in host.told().arguments] == ["serve", "--icc"]
