# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from _dockerd import addresses


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tcp://[::1]:2376", ("tcp", "[::1]", "2376", "")),
        ("TCP://h", ("tcp", "h", "", "")),
        ("https://u:p@m/p/?q#f", ("https", "m", "", "/p/")),
        ("h/p", ("", "", "", "h/p")),
        ("a:b", ("a", "", "", "")),
    ],
)
def test_urls(text, found):
    parts = addresses.url(text)
    assert (parts.scheme, parts.host, parts.port, parts.path) == found


# net/url refuses each of these.
@pytest.mark.parametrize(
    "text",
    ["tcp://a b", "tcp://[::1", "tcp://h:x", "tcp://h%zz", "://h", "1h:x", "tcp://h/%z", "\x7f"],
)
def test_no_urls(text):
    assert addresses.url(text) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.0.0.1/8", 4),
        ("fd00::1/64", 6),
        ("::ffff:10.0.0.0/104", 4),
        ("10.0.0.1", None),
        ("10.0.0.1/33", None),
        ("10.0.0.1/+8", None),
        ("01.2.3.4/8", None),
    ],
)
def test_subnets(text, version):
    assert addresses.network_version(text) == version
