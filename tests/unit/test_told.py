# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from conftest import CONFIG, SERVICE


def test_words_that_are_no_flags(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd serve -D -- --icc\n")
    assert [word.text for word in host.told().arguments] == ["serve", "--icc"]


@pytest.mark.parametrize(
    ("data", "on"),
    [
        # moby daemon/config/config.go configValuesSet, IsValueSet: seen with 26.1.5 and 28.5.2
        ({"w": {"tlsverify": False}}, True),
        ({"proxies": {"tlsverify": None}}, True),
        ({"log-opts": {"tlsverify": "x"}}, False),
        ({"w": {"tls": True}}, False),
    ],
)
def test_tlsverify_within_an_object_turns_tls_on(host, data, on):
    host.put(CONFIG, data)
    assert host.told().tls == on
