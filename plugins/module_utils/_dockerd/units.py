# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Effective systemd units, read from their files.

``systemctl show`` answers only on a running host and only for what was loaded last; the
files answer on a mounted image too, and for a candidate that was not written yet.
Rules: systemd.unit(5), systemd.syntax(7), systemd.service(5), systemd.exec(5).
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Iterable, NamedTuple

from .directives import FLAGS, SHORT, Directive
from .errors import HostError
from .host import Host
from .instance import SYSTEM_UNITS

_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "s": " ",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_CODES = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Setting:
    """One assignment, and the file and line that made it."""

    value: str
    path: str
    line: int


class Word(NamedTuple):
    """One word of a command line: its text, where it is written, and that place in words."""

    text: str
    path: str
    line: int
    origin: str
    number: int = 0  # which word after the binary, from 1


@dataclass(frozen=True)
class Flag:
    """One flag of dockerd. ``words`` write it again; ``directive`` is its daemon.json name."""

    directive: str
    flag: str
    value: str | bool
    words: tuple[str, ...]
    origin: str
    path: str = ""
    line: int = 0


@dataclass
class Unit:
    """A unit with its drop-ins, in the order in which systemd applies them."""

    name: str
    path: str
    dropins: list[str] = field(default_factory=list)
    masked: bool = False
    assignments: list[tuple[str, str, Setting]] = field(default_factory=list)

    def settings(self, section: str, key: str) -> list[Setting]:
        """Every assignment that counts: an empty one takes back those before it."""
        found: list[Setting] = []
        for its_section, its_key, setting in self.assignments:
            if (its_section, its_key) == (section, key):
                if setting.value:
                    found.append(setting)
                else:
                    found.clear()
        return found

    def value(self, section: str, key: str) -> str | None:
        """The last assignment of a setting that takes one value; None where there is none."""
        found = self.settings(section, key)
        return found[-1].value if found else None

    def environment(self, host: Host) -> dict[str, str]:
        """What the service finds in its environment, files after assignments, systemd.exec(5).

        Raises HostError where an environment file cannot be read.
        """
        return {name: setting.value for name, setting in self.variables(host).items()}

    def variables(self, host: Host) -> dict[str, Setting]:
        """As :meth:`environment`, each variable with its file and line."""
        found: dict[str, Setting] = {}
        for setting in self.settings("Service", "Environment"):
            for word in split(setting.value):
                name, equals, value = word.partition("=")
                if equals and _VARIABLE.match(name):
                    found[name] = Setting(_specifiers(value, self.name), setting.path, setting.line)
        for setting in self.settings("Service", "EnvironmentFile"):
            for path in _matching(host, self._file(setting)):
                try:
                    text = host.read(path).decode("utf-8", "replace")
                except FileNotFoundError:
                    continue
                for name, value, line in environment_file(text):
                    found[name] = Setting(value, path, line)
        for setting in self.settings("Service", "UnsetEnvironment"):
            for name in split(setting.value):
                found.pop(name, None)
        return found

    def absent_files(self, host: Host) -> list[Setting]:
        """Each EnvironmentFile= that must be there and is not, systemd.exec(5)."""
        return [
            setting
            for setting in self.settings("Service", "EnvironmentFile")
            if setting.value.startswith(("/", "%"))
            and not any(map(host.stat, _matching(host, self._file(setting))))
        ]

    def _file(self, setting: Setting) -> str:
        return _specifiers(setting.value.lstrip("-"), self.name)

    def commands(self) -> list[Setting]:
        """Every command that ExecStart= gives, those behind a semicolon too."""
        found = []
        for setting in self.settings("Service", "ExecStart"):
            commands = "\0".join(split(setting.value)).split("\0;\0")
            found += [setting for command in commands if command.strip("\0;")]
        return found


def load(host: Host, name: str, search: Iterable[str] = SYSTEM_UNITS) -> Unit | None:
    """The unit ``name`` as systemd would load it; None where no directory has it.

    Raises HostError where one of its files cannot be read.
    """
    search = tuple(search)
    fragment = next((where for where in search if name in host.list(where)), None)
    if fragment is None:
        return None
    unit = Unit(name, posixpath.join(fragment, name))
    text = _text(host, unit.path)
    if text is None:
        unit.masked = True
        return unit
    unit.assignments += _parse(text, unit.path)
    for path in _dropins(host, name, search):
        text = _text(host, path)
        if text is not None:
            unit.dropins.append(path)
            unit.assignments += _parse(text, path)
    return unit


def activating(host: Host, service: Unit | None, name: str, search: Iterable[str]) -> list[Unit]:
    """The socket units that hand descriptors to the service ``name``, systemd.socket(5) Service=.

    Those that only bear its name are not among them. A unit is loaded only where a file of it
    names the service. Raises HostError where one of its files cannot be read.
    """
    search = tuple(search)
    known: set[str] = set()
    hints: list[str] = []
    for where in search:
        for file in host.list(where):
            place = posixpath.join(where, file)
            if file.endswith(".socket"):
                known.add(file)
                hints += [file] if _mentions(host, place, name) else []
            elif file.endswith("socket.d") and any(
                _mentions(host, posixpath.join(place, one), name) for one in host.list(place)
            ):
                hints.append(file[: -len("socket.d")].rstrip("."))
    listed = service.settings("Service", "Sockets") if service else []
    wanted = {word for setting in listed for word in split(setting.value)}
    found: dict[str, Unit] = {}
    for each in sorted(known):
        if each in wanted or any(each.startswith(hint) for hint in hints):
            unit = load(host, each, search)
            if unit and not unit.masked:
                if each in wanted or unit.value("Socket", "Service") == name:
                    found.setdefault(host.resolve(unit.path), unit)  # an alias is the same unit
    return list(found.values())


def _mentions(host: Host, path: str, name: str) -> bool:
    return name.encode() in (host.optional(path) or b"")


def _matching(host: Host, pattern: str) -> list[str]:
    """The paths that a glob(7) pattern stands for, sorted; itself where it is none.

    systemd passes over a path that is not absolute.
    """
    if not pattern.startswith("/"):
        return []
    if not re.search(r"[*?[]", pattern):
        return [pattern]
    found = [""]
    for part in pattern.strip("/").split("/"):
        plain = not re.search(r"[*?[]", part)
        found = [
            "%s/%s" % (parent, name)
            for parent in found
            for name in ([part] if plain else fnmatch.filter(host.list(parent or "/"), part))
            if plain or part.startswith(".") or not name.startswith(".")
        ]
    return found


def _text(host: Host, path: str) -> str | None:
    """The file's text; None where it is empty or a link to /dev/null, which masks."""
    status = host.stat(path)
    if status is not None and status.kind == "file":
        return host.read(path).decode("utf-8", "replace") or None
    target = posixpath.join(posixpath.dirname(path), host.link(path) or "")
    if posixpath.normpath(target) == "/dev/null":
        return None
    raise HostError(
        "%s is no readable unit file, and systemd does not load it; mend or remove it" % path,
        path=path,
    )


def _dropins(host: Host, name: str, search: tuple[str, ...]) -> list[str]:
    """Drop-ins by file name; of two with one name the more particular directory's counts."""
    stem, kind = name.rpartition(".")[::2]
    # docker-tls.socket also listens to docker-.socket.d, systemd.unit(5).
    names = [name] + [
        "%s.%s" % (stem[: at + 1], kind) for at in range(len(stem) - 2, 0, -1) if stem[at] == "-"
    ]
    places = [posixpath.join(where, each + ".d") for where in search for each in names]
    places += [posixpath.join(where, kind + ".d") for where in search]
    found: dict[str, str] = {}
    for place in places:
        for file in host.list(place):
            if file.endswith(".conf"):
                found.setdefault(file, posixpath.join(place, file))
    return [found[file] for file in sorted(found)]


def _parse(text: str, path: str) -> list[tuple[str, str, Setting]]:
    found = []
    section, start = "", 0
    pieces: list[str] = []
    lines = text.split("\n")
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r")
        if line.lstrip()[:1] in ("#", ";"):
            continue
        start = start or number
        continued = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        pieces.append(line[:-1] + " " if continued else line)
        if continued and number < len(lines):
            continue
        logical, at = "".join(pieces).strip(), start
        pieces, start = [], 0
        if logical.startswith("[") and logical.endswith("]"):
            section = logical[1:-1]
            continue
        key, equals, value = logical.partition("=")
        if equals:
            found.append((section, key.strip(), Setting(value.strip(), path, at)))
    return found


def split(text: str, escapes: bool = True) -> list[str]:
    """Words under systemd's quoting, systemd.syntax(7).

    ``escapes`` says whether a backslash starts a C escape, as in unit files, or only takes
    the next character as it is, as in a variable that is split.
    """
    words: list[str] = []
    word: str | None = None
    quote = ""
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\\" and at < len(text):
            code = _CODES.match(text, at) if escapes else None
            if code:
                digits, base = (code.group(4), 8) if code.group(4) else (code.group()[1:], 16)
                number = int(digits, base)
                word = (word or "") + (chr(number) if number < 0x110000 else "\ufffd")
                at = code.end()
                continue
            following = text[at]
            at += 1
            if escapes:
                following = _ESCAPES.get(following, "\\" + following)
            word = (word or "") + following
        elif quote:
            if character == quote:
                quote = ""
            else:
                word = (word or "") + character
        elif character in "'\"":
            quote = character
            word = word or ""
        elif character in " \t\n\r":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    if word is not None:
        words.append(word)
    return words


def environment_file(text: str) -> list[tuple[str, str, int]]:
    """The (name, value, line) of each assignment in an EnvironmentFile, systemd.exec(5)."""
    found = []
    text = text.replace("\r\n", "\n") + "\n"
    at, counted, number = 0, 0, 1
    while at < len(text):
        number += text.count("\n", counted, at)
        counted = at
        line_end = text.index("\n", at)
        line = text[at:line_end]
        name, equals = line.partition("=")[:2]
        if line.lstrip()[:1] in ("#", ";", "") or not equals:
            at = line_end + 1
            continue
        value, at = _value(text, at + len(name) + 1)
        if _VARIABLE.match(name.strip()):
            found.append((name.strip(), value, number))
    return found


def _value(text: str, at: int) -> tuple[str, int]:
    """One value of an environment file and where the next line starts.

    Quotes count at the start of the value or right after a closing quote; inside a bare
    value they are ordinary characters, as systemd reads them.
    """
    value = ""
    bare = False
    kept = 0  # how much of the value must survive the stripping of trailing blanks
    quote = ""
    while at < len(text):
        character = text[at]
        at += 1
        if quote:
            if character == quote:
                quote, bare, kept = "", False, len(value)
            elif character == "\\" and quote == '"' and at < len(text):
                following = text[at]
                at += 1
                if following != "\n":
                    value += following if following in '"\\`$' else "\\" + following
            else:
                value += character
        elif character == "\n":
            break
        elif character == "\\" and at < len(text):
            following = text[at]
            at += 1
            if following != "\n":
                value += following
                bare, kept = True, len(value)
        elif not bare and character in "'\"":
            quote = character
        elif not bare and character in " \t":
            continue
        else:
            value += character
            bare = True
    return value[:kept] + value[kept:].rstrip(" \t"), at


def _specifiers(text: str, name: str) -> str:
    """Expand %%, %n, %N and %p; the others need a running systemd and stay as written."""
    stem = name.rpartition(".")[0]
    known = {"%%": "%", "%n": name, "%N": stem, "%p": stem.partition("@")[0]}
    return re.sub(r"%.", lambda found: known.get(found.group(), found.group()), text)


def command(host: Host, unit: Unit) -> list[Word]:
    """The command line of a service, its binary first, variables expanded.

    Where several ExecStart= are left after the resets, the last is taken.
    Raises HostError where an environment file cannot be read.
    """
    settings = unit.settings("Service", "ExecStart")
    if not settings:
        return []
    setting = settings[-1]
    words = split(setting.value)
    if not words:
        return []
    binary = words[0].lstrip("-@:+!|")
    prefixes = words[0][: len(words[0]) - len(binary)]
    arguments = words[2:] if "@" in prefixes else words[1:]
    if ";" in arguments:
        arguments = arguments[: arguments.index(";")]
    origin = "ExecStart in %s line %d" % (setting.path, setting.line)
    variables = {} if ":" in prefixes else unit.variables(host)
    result = [Word(_specifiers(binary, unit.name), setting.path, setting.line, origin)]
    for argument in (_specifiers(word, unit.name) for word in arguments):
        if ":" in prefixes:
            result.append(Word(argument, setting.path, setting.line, origin))
        elif argument.startswith("$") and argument[1:2] not in ("", "{", "$"):
            variable = variables.get(argument[1:])
            if variable is None:
                continue
            place = "%s in %s" % (argument[1:], variable.path)
            result += [
                Word(piece, variable.path, variable.line, place)
                for piece in split(variable.value, escapes=False)
            ]
        else:
            text = re.sub(
                r"\$\$|\$\{([^}]*)\}",
                lambda found: "$" if found.group() == "$$" else _lookup(variables, found.group(1)),
                argument,
            )
            result.append(Word(text, setting.path, setting.line, origin))
    return result


def _lookup(variables: dict[str, Setting], name: str) -> str:
    return variables[name].value if name in variables else ""


def flags(words: Iterable[Word]) -> list[Flag]:
    """dockerd's flags on a command line, read as its flag library (spf13/pflag) does.

    Words that are no flags, such as the binary, are passed over. Unknown flags are kept.
    """
    return _parted(words)[0]


def arguments(words: Iterable[Word]) -> list[Word]:
    """The words of a command line that are no flags and no values of flags."""
    return _parted(words)[1]


def _parted(words: Iterable[Word]) -> tuple[list[Flag], list[Word]]:
    found: list[Flag] = []
    rest: list[Word] = []
    todo = deque(word._replace(number=number) for number, word in enumerate(words, 1))
    while todo:
        word = todo.popleft()
        text = word.text
        if text == "--":
            rest += todo
            break
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            row = FLAGS.get(name)
            directive = row.name if row else name
            if equals:
                found.append(_flag(directive, name, value, (text,), word, row))
            elif row and row.kind == "bool":
                found.append(Flag(directive, name, True, (text,), *_place(word)))
            elif todo and (row or not todo[0].text.startswith("-")):
                value = todo.popleft().text
                found.append(_flag(directive, name, value, (text, value), word, row))
            else:
                found.append(Flag(directive, name, True, (text,), *_place(word)))
        elif text.startswith("-") and len(text) > 1:
            found += _short(word, todo)
        else:
            rest.append(word)
    return found, rest


def boolean(text: str) -> bool | None:
    """What Go's strconv.ParseBool takes; None for anything else."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    return False if text in ("0", "f", "F", "FALSE", "false", "False") else None


def _short(word: Word, todo: deque[Word]) -> list[Flag]:
    """The flags of a word with one dash: ``-D``, ``-H y``, ``-Hy``, ``-H=y``, ``-DH y``."""
    found: list[Flag] = []
    rest = word.text[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        row = SHORT.get(letter)
        directive, name = (row.name, row.flag or letter) if row else (letter, letter)
        if rest.startswith("=") and len(rest) > 1:
            written = ("-" + letter + rest,)
            found.append(_flag(directive, name, rest[1:], written, word, row))
            break
        if row is None:
            found.append(Flag(directive, name, True, ("-" + letter + rest,), *_place(word)))
            break  # nobody knows what the letters behind it are
        if row.kind == "bool":
            found.append(Flag(directive, name, True, ("-" + letter,), *_place(word)))
        elif rest:
            found.append(_flag(directive, name, rest, ("-" + letter + rest,), word, row))
            break
        elif todo:
            value = todo.popleft().text
            found.append(_flag(directive, name, value, ("-" + letter, value), word, row))
        else:
            found.append(Flag(directive, name, True, ("-" + letter,), *_place(word)))
    return found


def _place(word: Word) -> tuple[str, str, int]:
    return word.origin, word.path, word.line


def _flag(
    directive: str,
    name: str,
    text: str,
    written: tuple[str, ...],
    word: Word,
    row: Directive | None,
) -> Flag:
    value: str | bool = text
    if row and row.kind == "bool":
        meant = boolean(text)
        value = text if meant is None else meant
    return Flag(directive, name, value, written, *_place(word))


def listeners(unit: Unit) -> list[str]:
    """The stream addresses a socket unit listens on, as written."""
    return [setting.value for setting in unit.settings("Socket", "ListenStream")]


def words(argv: Iterable[str], origin: str = "the running process") -> list[Word]:
    """A command line that no unit gave, such as a process's own, in the form of :func:`command`."""
    return [Word(text, "", 0, origin) for text in argv]
