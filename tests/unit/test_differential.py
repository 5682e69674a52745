# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from conftest import CONFIG, SERVICE

cases = pytest.importorskip("cases")  # in a checkout only


@pytest.mark.parametrize("kind", ["validate", "start"])
def test_a_number_is_a_case(kind):
    first, again = (cases.make(kind, 1, 7) for _index in range(2))
    assert first == again
    assert first.digest == again.digest != cases.make(kind, 2, 7).digest


@pytest.mark.parametrize("number", range(0, 200, 2))
def test_systemd_gives_dockerd_the_words_of_a_case(host, number):
    """The generator's quoting and our reading of units are two sides of one rule."""
    case = cases.make("validate", 5, number)
    host.put(SERVICE, host.text(SERVICE).replace("#", ""))
    for path, data in case.files.items():
        if isinstance(data, bytes) and path != CONFIG:
            host.put(path, data)
    told = host.told()
    assert [word.text for word in told.words[1:]] == case.argv
    assert case.environment.items() <= told.environment.items()


def test_every_ingredient_is_tried_alone():
    names = cases.ENGINES["start"]
    count = len(cases.STARTS) * len(names)
    tried = {cases.make("start", 1, number).digest for number in range(count)}
    assert len(tried) > count * 0.9
