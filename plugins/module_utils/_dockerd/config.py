# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""daemon.json: a strict parser with positions, and a merge that knows owners."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Tuple

from .addresses import SPACE
from .directives import DIRECTIVES
from .errors import DockerdError

Path = Tuple[object, ...]  # keys and list indexes, from the top
Position = Tuple[int, int]  # line and column, both from 1

DEPTH_LIMIT = 100  # only the options of a runtime can be nested deeper than six


class ConfigError(DockerdError):
    """daemon.json is no JSON that dockerd reads; ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message, line=line, column=column)
        self.line = line
        self.column = column


class TooDeepError(ConfigError):
    """daemon.json is nested deeper than we read, which dockerd may take."""


# -- parsing


@dataclass
class Document:
    """daemon.json as written: values, where each key stands, and what was odd about it."""

    data: dict[str, Any]
    positions: dict[Path, Position] = field(default_factory=dict)
    duplicates: list[tuple[Path, int, int]] = field(default_factory=list)
    former: list[tuple[Path, Any]] = field(default_factory=list)  # values that duplicates replace
    bom: bool = False  # starts with a byte order mark
    empty: bool = False  # nothing but blanks
    padded: bool = False  # within white space that JSON has not
    invalid: Position | None = None  # the first byte that is no UTF-8


def parse(raw: bytes, path: str = "daemon.json") -> Document:
    """Read daemon.json as strictly as dockerd does (Go's encoding/json).

    Raises ConfigError, whose message names ``path``, line and column.
    """
    bom = True
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16", "replace")
    elif raw[:3] == b"\xef\xbb\xbf":
        raw = raw[3:]
        text = raw.decode("utf-8", "replace")
    else:
        bom = False
        text = raw.decode("utf-8", "replace")
    reader = _Reader(text, path)
    document = reader.document()
    document.bom = bom
    if "\ufffd" in text:
        try:
            raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
        except UnicodeDecodeError:
            document.invalid = reader.position(text.index("\ufffd"))
    return document


_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_END = ". dockerd does not start with a file that is no JSON."
_LITERALS = {"true": True, "false": False, "null": None}


class Number(float):
    """A number with a point or an exponent, which shows itself as it is written."""

    written: str

    def __repr__(self) -> str:
        return self.written


class _Reader:
    """A JSON reader that knows where it is."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.at = 0
        self.keys: dict[Path, int] = {}
        self.twice: list[tuple[Path, int]] = []
        self.former: list[tuple[Path, Any]] = []
        self.lines = [0] + [found.end() for found in re.finditer("\n", text)]

    def position(self, at: int) -> Position:
        line = bisect_right(self.lines, at)
        return line, at - self.lines[line - 1] + 1

    def error(
        self,
        what: str,
        at: int | None = None,
        kind: type[ConfigError] = ConfigError,
        end: str = _END,
    ) -> ConfigError:
        line, column = self.position(self.at if at is None else at)
        words = "%s line %d, column %d: %s" % (self.path, line, column, what)
        return kind(words + end, line, column)

    def document(self) -> Document:
        # dockerd takes white space away at both ends before it reads JSON.
        bare = self.text.strip(SPACE)
        padded = self.text.strip(" \t\r\n") != bare
        self.at = len(self.text) - len(self.text.lstrip(SPACE))
        self.text = self.text.rstrip(SPACE)
        self.at = start = min(self.at, len(self.text))
        empty = self.at == len(self.text)
        data = None if empty else self.value((), 0)
        self.blank()
        if self.at < len(self.text):
            raise self.error("more text after the end of the object; remove it")
        if data is not None and not isinstance(data, dict):
            what = "the file is JSON and holds a %s, where dockerd takes an object in { } only"
            raise self.error(what % named(data), start, end="")
        return Document(
            data or {},
            {path: self.position(at) for path, at in self.keys.items()},
            [(path, *self.position(at)) for path, at in self.twice],
            self.former,
            empty=empty,
            padded=padded,
        )

    def blank(self) -> None:
        self.at = _BLANK.match(self.text, self.at).end()

    def value(self, path: Path, depth: int) -> Any:
        if depth > DEPTH_LIMIT:
            what = "nested deeper than the %d levels that are read here" % DEPTH_LIMIT
            raise self.error(what, kind=TooDeepError, end="")
        character = self.text[self.at : self.at + 1]
        if character == "{":
            return self.object(path, depth)
        if character == "[":
            return self.array(path, depth)
        if character == '"':
            return self.string()
        if character == "-" or character.isdigit():
            return self.number()
        for word, meaning in _LITERALS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        raise self.error(self.unexpected("a value"))

    def unexpected(self, wanted: str) -> str:
        rest = self.text[self.at : self.at + 2]
        if not rest:
            return "the file ends where %s is expected" % wanted
        if rest[0] == "#" or rest in ("//", "/*"):
            return "JSON has no comments; remove it"
        if rest[0] == "'":
            return "JSON quotes with \" and not with '"
        return "%s is expected, not %r" % (wanted, rest[0])

    def object(self, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for at in self.items("}"):
            if self.text[at : at + 1] != '"':
                raise self.error(self.unexpected('a name in "quotes"'))
            key = self.string()
            here = (*path, key)
            if key in found:
                self.twice.append((here, at))
                self.former.append((here, found[key]))
            self.keys[here] = at
            self.blank()
            if self.text[self.at : self.at + 1] != ":":
                raise self.error(self.unexpected("':' after the name"))
            self.at += 1
            self.blank()
            found[key] = self.value(here, depth + 1)
        return found

    def array(self, path: Path, depth: int) -> list[Any]:
        found: list[Any] = []
        for index, _at in enumerate(self.items("]")):
            found.append(self.value((*path, index), depth + 1))
        return found

    def items(self, end: str) -> Iterator[int]:
        """Stand before each item in turn, and give its place; behind ``end`` after the last."""
        self.at += 1
        self.blank()
        if self.text[self.at : self.at + 1] == end:
            self.at += 1
            return
        while True:
            yield self.at
            self.blank()
            character = self.text[self.at : self.at + 1]
            if character == end:
                self.at += 1
                return
            if character != ",":
                raise self.error(self.unexpected("',' or '%s'" % end))
            comma = self.at
            self.at += 1
            self.blank()
            if self.text[self.at : self.at + 1] == end:
                raise self.error("a comma before '%s'; remove it" % end, comma)

    def string(self) -> str:
        found = _STRING.match(self.text, self.at)
        if not found:
            raise self.error("a string that does not end, or has a bad escape or line break in it")
        self.at = found.end()
        if "\\" not in found.group():
            return found.group()[1:-1]
        # Go puts U+FFFD in place of half a surrogate pair.
        return _SURROGATE.sub("\ufffd", json.loads(found.group()))

    def number(self) -> Any:
        found = _NUMBER.match(self.text, self.at)
        if not found:
            raise self.error(self.unexpected("a number"))
        if float(found.group()) in (float("inf"), float("-inf")):
            raise self.error("a number too large for dockerd")
        self.at = found.end()
        if not found.group(1) and not found.group(2):
            return int(found.group())
        number = Number(found.group())
        number.written = found.group()
        return number


def named(value: object) -> str:
    """What a value is, in JSON's words."""
    for kind, name in (
        (bool, "boolean"),
        ((int, float), "number"),
        (str, "string"),
        (list, "list"),
        (dict, "object"),
    ):
        if isinstance(value, kind):
            return name
    return "null"


# -- merging


@dataclass
class Merge:
    """The file after a merge, and what became of everything that was in it.

    Inner keys of maps are named with a dot, such as ``log-opts.max-size``.
    """

    data: dict[str, Any]
    owned: dict[str, Any] = field(default_factory=dict)  # the manifest for the next merge
    foreign: list[str] = field(default_factory=list)  # not ours, and kept
    displaced: dict[str, Any] = field(default_factory=dict)  # not ours, gone: former values
    left: list[str] = field(default_factory=list)  # ours once, no longer wanted, gone
    skipped: list[str] = field(default_factory=list)  # wanted, and not applied


def same(first: object, second: object) -> bool:
    """Whether two values are the same JSON; Python alone takes 1 for True."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def merge(
    current: dict[str, Any],
    desired: dict[str, Any],
    owned: dict[str, Any],
    drop: Iterable[str] = (),
) -> Merge:
    """Bring ``desired`` into ``current`` and leave alone what is not ours.

    ``owned`` is the manifest of the last merge: a directive with True, or with the list of
    our inner keys where it is a map. ``drop`` names directives that must go. An empty map
    says nothing to dockerd, so one that our keys leave empty goes with them.
    """
    desired = json.loads(json.dumps(desired))
    dropped = set(drop) - set(desired)
    result = Merge({})
    if not _options_fit(current, desired, owned, dropped):
        del desired["log-opts"]
        result.skipped.append("log-opts")
    other_driver = "log-driver" in desired and not same(
        desired["log-driver"], current.get("log-driver") or "json-file"
    )
    for name, value in current.items():
        gone = name in dropped or (name == "log-opts" and other_driver)
        wanted = desired.get(name, {})
        if _is_map(name) and isinstance(value, dict) and isinstance(wanted, dict):
            inner = _merge_map(result, name, value, wanted, _ours(owned, name, value), gone)
            emptied = not inner and (gone or name in owned)
            if name in desired or not emptied:
                result.data[name] = inner
                if not inner and name not in desired:
                    result.foreign.append(name)
        elif name in desired:
            if owned.get(name) is not True and not same(value, wanted):
                result.displaced[name] = value
            result.data[name] = wanted
        elif owned.get(name) is True:
            result.left.append(name)
        elif gone:
            result.displaced[name] = value
        else:
            result.data[name] = value
            result.foreign.append(name)
    for name, value in desired.items():
        result.data.setdefault(name, value)
        mapped = _is_map(name) and isinstance(value, dict)
        result.owned[name] = list(value) if mapped else True
    return result


def _is_map(name: str) -> bool:
    return name in DIRECTIVES and DIRECTIVES[name].inner


def _ours(owned: dict[str, Any], name: str, value: dict[str, Any]) -> list[str]:
    """The inner keys of a map that the manifest calls ours."""
    manifest = owned.get(name)
    if manifest is True:
        return list(value)
    return manifest if isinstance(manifest, list) else []


def _options_fit(
    current: dict[str, Any], desired: dict[str, Any], owned: dict[str, Any], dropped: set
) -> bool:
    """Whether wanted log options belong to the log driver that there will be.

    Options of json-file under somebody's syslog driver would keep dockerd from starting.
    """
    if "log-opts" not in desired or "log-driver" in desired:
        return True
    if owned.get("log-driver") is True or "log-driver" in dropped:
        return True
    return (current.get("log-driver") or "json-file") in ("json-file", "local")


def _merge_map(
    result: Merge,
    name: str,
    current: dict[str, Any],
    desired: dict[str, Any],
    ours: list[str],
    gone: bool,
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    lost: dict[str, Any] = {}
    for key, value in current.items():
        dotted = "%s.%s" % (name, key)
        if key in desired:
            if key not in ours and not same(value, desired[key]):
                result.displaced[dotted] = value
            merged[key] = desired[key]
        elif key in ours:
            result.left.append(dotted)
        elif gone:
            lost[key] = value
        else:
            merged[key] = value
            result.foreign.append(dotted)
    if lost:
        result.displaced[name] = lost
    for key, value in desired.items():
        merged.setdefault(key, value)
    return merged


def render(data: dict[str, Any]) -> bytes:
    """daemon.json as bytes: four spaces, a line break at the end, UTF-8."""
    text = json.dumps(data, indent=4, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace")
