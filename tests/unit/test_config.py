# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from _dockerd import config
from _dockerd.config import ConfigError
from hypothesis import given
from hypothesis import strategies as st

# -- parsing


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"", {}),
        (b" \n\t", {}),
        (b"null", {}),
        (b'{"icc": false}', {"icc": False}),
        (b'\xef\xbb\xbf{"icc": false}', {"icc": False}),
        ('{"group": "\u00e4"}'.encode("utf-16"), {"group": "\u00e4"}),
        (b'\xfe\xff' + '{"mtu": 1}'.encode("utf-16-be"), {"mtu": 1}),
        (b'{"group": "\xff"}', {"group": "\ufffd"}),
        (b'{"a": "\\ud83d\\ude00\\ud800 \\n\\u00e4"}', {"a": "\U0001f600\ufffd \n\u00e4"}),
        (b'{"a": [1, -2.5, 1e3, true, {}, []]}', {"a": [1, -2.5, 1000.0, True, {}, []]}),
    ],
)  # fmt: skip
def test_parse(raw, data):
    assert config.parse(raw).data == data


@pytest.mark.parametrize(
    ("raw", "line", "column", "words"),
    [
        (b'{"icc": false,}', 1, 14, "comma before '}'"),
        (b'{\n  "hosts": ["a",\n  ]\n}', 2, 16, "comma before ']'"),
        (b'{\n  // why\n}', 2, 3, "no comments"),
        (b'{\n  # why\n}', 2, 3, "no comments"),
        (b"{'icc': false}", 1, 2, "quotes with"),
        (b'{"icc" false}', 1, 8, "':' after the name"),
        (b'{"icc": False}', 1, 9, "a value is expected, not 'F'"),
        (b'{"mtu": NaN}', 1, 9, "a value is expected"),
        (b'{"mtu": 01}', 1, 10, "',' or '}'"),
        (b'{"mtu": -}', 1, 9, "a number"),
        (b'{"mtu": 1e999}', 1, 9, "too large"),
        (b'{"a": "x\ny"}', 1, 7, "does not end"),
        (b'{"a": "\\x"}', 1, 7, "bad escape"),
        (b'{"a": "x', 1, 7, "does not end"),
        (b'{"a": 1', 1, 8, "the file ends"),
        (b'{"a": 1} x', 1, 10, "more text"),
        (b"[]", 1, 1, "holds a list"),
        (b'"x"', 1, 1, "holds a string"),
        (b"icc=false", 1, 1, "a value is expected"),
        (b'{"a":' * 10**5, 1, 506, "nested deeper"),
        (b"[" * 10**6, 1, 102, "nested deeper"),
        ("{\"\u00e4\u00f6\": x}".encode(), 1, 8, "a value is expected"),
        (b"\x00\x01", 1, 1, "a value is expected"),
        (b'{"a": ' + b"9" * 5000 + b"}", 1, 7, "too large"),
    ],
)  # fmt: skip
def test_parse_errors(raw, line, column, words):
    with pytest.raises(ConfigError) as error:
        config.parse(raw, "/etc/docker/daemon.json")
    assert (error.value.line, error.value.column) == (line, column)
    assert words in str(error.value)
    assert str(error.value).startswith(
        "/etc/docker/daemon.json line %d, column %d: " % (line, column)
    )
    assert error.value.facts == {"line": line, "column": column}


def test_positions_and_duplicates():
    document = config.parse(b'{\n  "log-opts": {"a": "1", "a": "2"},\n  "p": [{"base": 1}]\n}')
    assert document.data == {"log-opts": {"a": "2"}, "p": [{"base": 1}]}
    assert document.positions[("log-opts",)] == (2, 3)
    assert document.positions[("p", 0, "base")] == (3, 10)
    assert document.duplicates == [(("log-opts", "a"), 2, 26)]


@given(st.binary(max_size=200))
def test_parse_never_fails_otherwise(raw):
    try:
        assert isinstance(config.parse(raw).data, dict)
    except ConfigError:
        pass


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from([None, 1, 4]))
def test_parse_reads_what_json_writes(data, indent):
    text = json.dumps(data, indent=indent)
    assert config.parse(text.encode()).data == json.loads(text)
    assert config.parse(config.render(data)).data == data


# -- merging


@pytest.mark.parametrize(
    ("current", "desired", "owned", "drop", "expected"),
    [
        pytest.param({}, {"icc": False}, {}, (), {"data": {"icc": False}, "owned": {"icc": True}},
                     id="new"),
        pytest.param({"data-root": "/d"}, {"icc": False}, {}, (),
                     {"data": {"data-root": "/d", "icc": False}, "foreign": ["data-root"]},
                     id="foreign stays, first"),
        pytest.param({"icc": True}, {"icc": False}, {}, (),
                     {"data": {"icc": False}, "displaced": {"icc": True}}, id="displaced"),
        pytest.param({"icc": 0}, {"icc": False}, {}, (),
                     {"data": {"icc": False}, "displaced": {"icc": 0}}, id="0 is not false"),
        pytest.param({"icc": True}, {"icc": False}, {"icc": True}, (),
                     {"data": {"icc": False}, "displaced": {}}, id="ours drifted"),
        pytest.param({"icc": False}, {}, {"icc": True}, (), {"data": {}, "left": ["icc"]},
                     id="left"),
        pytest.param({}, {}, {"icc": True}, (), {"data": {}, "left": []}, id="gone already"),
        pytest.param({"hosts": ["fd://"]}, {}, {}, ["hosts"],
                     {"data": {}, "displaced": {"hosts": ["fd://"]}}, id="dropped"),
        pytest.param({"hosts": ["a"]}, {"hosts": ["b"]}, {}, ["hosts"],
                     {"data": {"hosts": ["b"]}}, id="desired beats drop"),
        pytest.param({"log-opts": {"tag": "t", "max-size": "1m"}}, {"log-opts": {"max-size": "9m"}},
                     {}, (), {"data": {"log-opts": {"tag": "t", "max-size": "9m"}},
                              "owned": {"log-opts": ["max-size"]}, "foreign": ["log-opts.tag"],
                              "displaced": {"log-opts.max-size": "1m"}}, id="map"),
        pytest.param({"log-opts": {"tag": "t", "max-size": "1m"}}, {}, {"log-opts": ["max-size"]},
                     (), {"data": {"log-opts": {"tag": "t"}}, "left": ["log-opts.max-size"]},
                     id="inner key left"),
        pytest.param({"log-opts": {"max-size": "1m"}}, {}, {"log-opts": ["max-size"]}, (),
                     {"data": {}}, id="emptied map goes"),
        pytest.param({"log-opts": {}}, {}, {}, (), {"data": {"log-opts": {}},
                                                    "foreign": ["log-opts"]}, id="foreign empty"),
        pytest.param({"log-opts": ["x"]}, {"log-opts": {"a": "b"}}, {}, (),
                     {"data": {"log-opts": {"a": "b"}}, "displaced": {"log-opts": ["x"]}},
                     id="garbage"),
        pytest.param({"log-opts": ["x"]}, {}, {"log-opts": ["a"]}, (),
                     {"data": {"log-opts": ["x"]}, "foreign": ["log-opts"]}, id="garbage stays"),
        pytest.param({"icc": True}, {}, {"icc": {"a": 1}, "x": 5}, (), {"data": {"icc": True}},
                     id="manifest is garbage"),
        # Options travel with their driver.
        pytest.param({"log-driver": "syslog"}, {"log-opts": {"max-size": "1m"}}, {}, (),
                     {"data": {"log-driver": "syslog"}, "skipped": ["log-opts"], "owned": {}},
                     id="options of another driver"),
        pytest.param({"log-driver": "local"}, {"log-opts": {"max-size": "1m"}}, {}, (),
                     {"data": {"log-driver": "local", "log-opts": {"max-size": "1m"}},
                      "skipped": []}, id="options of a file driver"),
        pytest.param({"log-driver": "syslog"}, {"log-opts": {"max-size": "1m"}},
                     {"log-driver": True}, (),
                     {"data": {"log-opts": {"max-size": "1m"}}, "left": ["log-driver"]},
                     id="our driver leaves"),
        pytest.param({"log-driver": "syslog"}, {"log-opts": {"max-size": "1m"}}, {},
                     ["log-driver"], {"data": {"log-opts": {"max-size": "1m"}},
                                      "displaced": {"log-driver": "syslog"}},
                     id="dropped driver"),
        pytest.param({"log-opts": {"max-size": "1m"}}, {"log-opts": {"max-size": "9m"}},
                     {"log-opts": ["max-size"]}, (),
                     {"data": {"log-opts": {"max-size": "9m"}}, "displaced": {}},
                     id="our inner key drifted"),
        pytest.param({"log-opts": {"a": "1", "b": "2"}}, {}, {"log-opts": True}, (),
                     {"data": {}, "left": ["log-opts.a", "log-opts.b"]}, id="owned whole"),
        pytest.param({"log-driver": ["x"]}, {"log-opts": {"max-size": "1m"}}, {}, (),
                     {"data": {"log-driver": ["x"]}, "skipped": ["log-opts"]},
                     id="garbage driver"),
        pytest.param({"log-driver": "syslog", "log-opts": {"syslog-address": "udp://x"}},
                     {"log-driver": "local"}, {}, (),
                     {"data": {"log-driver": "local"},
                      "displaced": {"log-driver": "syslog",
                                    "log-opts": {"syslog-address": "udp://x"}}},
                     id="another driver displaces options"),
        pytest.param({"log-opts": {"tag": "t"}}, {"log-driver": "json-file"}, {}, (),
                     {"data": {"log-opts": {"tag": "t"}, "log-driver": "json-file"},
                      "displaced": {}}, id="the default driver named"),
    ],
)  # fmt: skip
def test_merge(current, desired, owned, drop, expected):
    before = json.dumps([current, desired, owned])
    result = config.merge(current, desired, owned, drop)
    assert {key: getattr(result, key) for key in expected} == expected
    assert list(result.data) == list(expected["data"])
    assert json.dumps([current, desired, owned]) == before


INNER = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]), max_size=3)
MAP_NAMES = ("log-opts", "default-ulimits", "features", "runtimes", "proxies")
FILES = st.fixed_dictionaries(
    {},
    optional={
        **{name: INNER | st.sampled_from([[], "x", None]) for name in MAP_NAMES},
        "log-driver": st.sampled_from(["json-file", "local", "syslog", 5]),
        "icc": st.sampled_from([True, False, 1]),
        "hosts": st.just(["fd://"]),
        "unheard-of": st.just({"a": 1}),
    },
)
WANTED = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(MAP_NAMES, INNER),
        "log-driver": st.sampled_from(["json-file", "local", "syslog"]),
        "icc": st.booleans(),
        "labels": st.just(["a=b"]),
    },
)


def facts(data):
    """Every directive with its value, inner keys of maps by themselves."""
    found = {}
    for name, value in data.items():
        if name in MAP_NAMES and isinstance(value, dict) and value:
            found.update({"%s.%s" % (name, key): inner for key, inner in value.items()})
        else:
            found[name] = value
    return found


@given(FILES, WANTED, st.sampled_from([(), ("hosts",)]))
def test_merge_is_idempotent(current, desired, drop):
    first = config.merge(current, desired, {}, drop)
    second = config.merge(first.data, desired, first.owned, drop)
    assert config.render(second.data) == config.render(first.data)
    assert second.owned == first.owned
    assert not second.displaced and not second.left
    assert second.foreign == first.foreign and second.skipped == first.skipped


@given(FILES, WANTED, WANTED)
def test_merge_leaves_exactly_the_foreign(current, desired, later):
    first = config.merge(current, desired, {})
    second = config.merge(first.data, later, first.owned)
    last = config.merge(second.data, {}, second.owned)
    assert sorted(facts(last.data)) == sorted(second.foreign) == sorted(last.foreign)
    for name, value in facts(last.data).items():
        assert config.same(value, facts(current)[name])
    assert not last.displaced and not last.owned


@given(FILES, WANTED)
def test_merge_loses_nothing_foreign_silently(current, desired):
    result = config.merge(current, desired, {})
    now = facts(result.data)
    displaced = {**result.displaced, **facts(result.displaced)}
    for name, value in facts(current).items():
        if value == {}:
            continue  # an empty map says nothing
        assert any(name in place and config.same(place[name], value) for place in (now, displaced))


def test_render():
    assert config.render({"a": {"b": ["\u00e4"]}}) == (
        b'{\n    "a": {\n        "b": [\n            "\xc3\xa4"\n        ]\n    }\n}\n'
    )


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [(1, True, False), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ([1, 2], [2, 1], False)],
)
def test_same(first, second, equal):
    assert config.same(first, second) is equal


# dockerd --validate of 26.1.5 and 28.5.2, run on each of these.
@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("\v\f{}\u00a0\u3000", True),
        ("\u2028\u0085{}\u202f", True),
        ("\ufeff\u00a0{}", True),
        ("\u00a0", True),
        ("\u00a0null", True),
        ("\u200b{}", False),
        ("{}\x1c", False),
        ("\u00a0\ufeff{}", False),
        ("{\u00a0}", False),
    ],
)
def test_white_space_around_the_document(text, read):
    if read:
        assert config.parse(text.encode()).data == {}
    else:
        with pytest.raises(ConfigError):
            config.parse(text.encode())


def test_positions_behind_white_space():
    with pytest.raises(ConfigError, match="line 2, column 3"):
        config.parse("\f\n\u00a0{x".encode())


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "\u00a0[]"])
def test_json_that_is_no_object(text):
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode())
    assert "is JSON and holds" in str(caught.value)
    assert "is no JSON" not in str(caught.value)


def test_deeper_than_we_read():
    with pytest.raises(config.TooDeepError) as caught:
        config.parse(b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}")
    assert "no JSON" not in str(caught.value)
