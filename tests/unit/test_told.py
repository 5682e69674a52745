# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from conftest import SERVICE


def test_words_that_are_no_flags(host):
    host.put(SERVICE, "[Service]\nExecStart=/usr/sbin/dockerd serve -D -- --icc\n")
    assert [word.text for word in host.told().arguments] == ["serve", "--icc"]
