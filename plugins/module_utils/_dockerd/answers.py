# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host answers, reduced to what the module may answer.

A host is a stranger: whoever is root there may answer anything in the place of a module. So of an
answer only declared keys of declared types are taken, bounded in number and size, without what a
terminal would obey. The declaration is the module's own documentation of its return values.
"""

from __future__ import annotations

import json
import math

from .errors import DockerdError

SIZE_LIMIT = 2 * 1024 * 1024  # characters of a whole answer
FAILED_LIMIT = 512 * 1024  # of one that failed, all of which Ansible shows
LIST_LIMIT = 10000
LINES_LIMIT = 500  # of one side of a diff: difflib's time grows with their square
NAMES_LIMIT = 1000  # of a dictionary whose keys the host chooses
TEXT_LIMIT = 64 * 1024  # characters, but of a report or a file that is shown
WORDS_LIMIT = 2000  # characters of a warning, or of what came in the place of an answer
WARNINGS_LIMIT = 50
INTEGER_LIMIT = 2**63
DIFFS_LIMIT = 100
DIFF = ("before", "after")
HEADERS = ("before_header", "after_header")

_KINDS = {
    "str": (str, "no text"),
    "int": (int, "no whole number"),
    "float": ((int, float), "no number"),
    "bool": (bool, "neither true nor false"),
    "list": (list, "no list"),
    "dict": (dict, "no dictionary"),
}


class _Wrong(Exception):
    """What is wrong with an answer, as the rest of a sentence."""


def printable(text: str, keep: str = "\n\t", instead: str = "\ufffd") -> str:
    """The text without what a terminal, a browser or an XML reader would obey or refuse.

    What is left, with ``keep``, is within XML 1.0's characters (section 2.2).
    """
    return "".join(one if one.isprintable() or one in keep else instead for one in text)


def clean(text: object, limit: int = TEXT_LIMIT) -> str:
    """Text without control characters, cut where it is longer than ``limit`` characters."""
    text = str(text)
    more = len(text) - limit
    text = text if more <= 0 else "%s… (%d characters more)" % (text[:limit], more)
    return text if text.isprintable() else printable(text.replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """Words for one line of a terminal."""
    return " ".join(clean(str(text)[: 2 * WORDS_LIMIT], WORDS_LIMIT).split())


def accept(output: str, said: str, module: str, declared: dict) -> dict:
    """The answer of a module, from all that the host wrote to its output.

    ``said`` is what it wrote to standard error, ``declared`` the module's RETURN. Raises
    DockerdError where it is no answer of this module.
    """
    try:
        return _reduced(_parsed(output, said), declared, len(output))
    except _Wrong as wrong:
        raise DockerdError(
            "This host's answer is no answer of module %s: %s." % (module, wrong),
            # What is missing on the host, such as its Python, is in here.
            module_stdout=clean(output[: 2 * WORDS_LIMIT], WORDS_LIMIT),
            module_stderr=clean(said[: 2 * WORDS_LIMIT], WORDS_LIMIT),
        ) from None


def _parsed(output: str, said: str) -> dict:
    if len(output) > SIZE_LIMIT:
        raise _Wrong("it has %d characters, %d are taken" % (len(output), SIZE_LIMIT))
    # A shell's greeting may stand before it.
    begin = 0 if output.startswith("{") else output.find("\n{") + 1
    decoder = json.JSONDecoder(parse_constant=_no_number, parse_int=_integer)
    try:
        answer, _end = decoder.raw_decode(output, begin)
    except RecursionError:
        raise _Wrong("it is nested too deeply") from None
    except ValueError:
        words = one_line((output.strip() or said)[:300]) or "empty"
        raise _Wrong("it is no JSON (%s)" % words) from None
    if not isinstance(answer, dict):
        raise _Wrong("it is no dictionary")
    return answer


def _no_number(word: str) -> None:
    raise _Wrong("%s is no number" % word)


def _integer(digits: str) -> int:
    if len(digits) > len(str(INTEGER_LIMIT)):
        raise _Wrong("it holds a number of %d digits" % len(digits))
    return int(digits)


def _reduced(answer: dict, declared: dict, size: int) -> dict:
    failed = _typed(answer.get("failed", False), {"type": "bool"}, "failed")
    if failed and size > FAILED_LIMIT:
        raise _Wrong("it failed with %d characters, %d are taken" % (size, FAILED_LIMIT))
    result = {"failed": True} if failed else {}
    if "changed" in answer:
        result["changed"] = _typed(answer["changed"], {"type": "bool"}, "changed")
    if failed or "msg" in answer:
        result["msg"] = _typed(answer.get("msg", ""), {"type": "str"}, "msg")
    if "diff" in answer:
        result["diff"] = _diff(answer["diff"])
    # Ansible deletes an empty list of them itself.
    if answer.get("warnings"):
        result["warnings"] = _warnings(answer["warnings"])
    result.update(_members(answer, declared, "", partial=failed))
    return result


def _members(found: dict, declared: dict, where: str, partial: bool = False) -> dict:
    """The declared keys of a dictionary; ``partial`` where none of them needs to be there."""
    result = {}
    for key, kind in declared.items():
        place = "%s.%s" % (where, key) if where else key
        optional = kind.get("returned", "always") not in ("always", "success")
        if optional and where and key in found and found[key] is None:
            result[key] = None
        elif key in found:
            result[key] = _typed(found[key], kind, place)
        elif not (optional or partial):
            raise _Wrong("%s is missing" % place)
    return result


def _typed(value: object, kind: dict, where: str):
    name = kind["type"]
    wanted, wrong = _KINDS[name]
    if not isinstance(value, wanted) or (isinstance(value, bool) and name != "bool"):
        raise _Wrong("%s is %s" % (where, wrong))
    if name == "str":
        # A line break would let it say what only Ansible or we say.
        return clean(value) if kind.get("lines") else clean(value).replace("\n", " ")
    if name == "list":
        _count(value, LIST_LIMIT, where)
        entry = {**kind, "type": kind["elements"]}
        return [_typed(one, entry, where + "[]") for one in value]
    if name == "dict":
        if "contains" in kind:
            return _members(value, kind["contains"], where)
        _count(value, NAMES_LIMIT, where)
        if any("_ansible" in key for key in value):
            raise _Wrong("%s has a key of Ansible's own" % where)
        text = {"type": "str"}
        return {
            one_line(key): _typed(one, text, "an entry of " + where) for key, one in value.items()
        }
    if name == "float" and not math.isfinite(value):
        raise _Wrong("%s is no number" % where)
    if name in ("int", "float") and abs(value) >= INTEGER_LIMIT:
        raise _Wrong("%s is too large" % where)
    return value


def _shown(value: object, where: str) -> str:
    """Text of any length: the content of a file or a report."""
    if not isinstance(value, str):
        raise _Wrong("%s is no text" % where)
    return clean(value, SIZE_LIMIT)


def _count(value, limit: int, where: str) -> None:
    if len(value) > limit:
        raise _Wrong("%s has %d entries, %d are taken" % (where, len(value), limit))


def _diff(value: object) -> list:
    entries = value if isinstance(value, list) else [value]
    _count(entries, DIFFS_LIMIT, "diff")
    for one in entries:
        if not isinstance(one, dict):
            raise _Wrong("diff is no dictionary")
    return [_changed(one) for one in entries]


def _changed(told: dict) -> dict:
    found = {key: _side(_shown(told[key], "diff." + key)) for key in DIFF if key in told}
    found.update({key: one_line(told[key]) for key in HEADERS if key in told})
    return found


def _side(text: str) -> str:
    lines = text.splitlines(keepends=True)
    more = len(lines) - LINES_LIMIT
    return text if more <= 0 else "%s(%d more lines)\n" % ("".join(lines[:LINES_LIMIT]), more)


def _warnings(value: object) -> list:
    if not isinstance(value, list):
        raise _Wrong("warnings is no list")
    told = [_words(one) for one in value[:WARNINGS_LIMIT]]
    if len(value) > WARNINGS_LIMIT:
        told.append("This host gave %d warnings more." % (len(value) - WARNINGS_LIMIT))
    return told


def _words(warning: object) -> str:
    # Since ansible-core 2.19 a module sends its warnings as dictionaries, the words deep in them.
    for key in ("event", "msg"):
        if isinstance(warning, dict):
            warning = warning.get(key, warning)
    if not isinstance(warning, str):
        raise _Wrong("a warning is no text")
    return one_line(warning)
