# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from ..answers import printable
from .words import (
    SEVERITIES,
    STATUSES,
    benchmark,
    counted,
    position,
    standing,
    verdict,
)

MARKS = {True: ("passed", "\u2713"), False: ("critical", "\u2717"), None: ("unknown", "?")}
FOLDED = ("passed", "not applicable")
HEADINGS = {"unknown": "Could not be judged"}

# Every text has a contrast of 4.5:1 and more on its ground, light and dark (WCAG 2.1, 1.4.3).
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f8fa; --card: #ffffff; --edge: #d0d7de; --text: #1f2328; --dim: #57606a;
  --critical: #a40e26; --high: #bc4c00; --medium: #7d4e00; --low: #0969da; --passed: #1a7f37;
  --unknown: #6639ba; --waived: #57606a; --on: #ffffff;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #0d1117; --card: #161b22; --edge: #30363d; --text: #e6edf3; --dim: #9198a1;
    --critical: #ff7b72; --high: #ffa657; --medium: #e3b341; --low: #79c0ff; --passed: #7ee787;
    --unknown: #d2a8ff; --waived: #9198a1; --on: #0d1117;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem;
  background: var(--ground); color: var(--text); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
h1 { margin: 0; font-size: 2.25rem; line-height: 1.2; letter-spacing: -0.02em; }
h2 { margin: 2.5rem 0 0.75rem; font-size: 1.25rem; }
h3 { margin: 0; font-size: 1.05rem; line-height: 1.4; }
p, ul, dl, dd { margin: 0; }
header p { margin-top: 0.35rem; }
ul { padding: 0; list-style: none; }
a { color: inherit; text-decoration: none; }
code, .evidence {
  font: 0.875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
.dim, dt { color: var(--dim); }
.verdict {
  display: flex; gap: 1rem; align-items: center; margin: 1.5rem 0 1rem; padding: 1.1rem 1.25rem;
  border-radius: 0.75rem; background: var(--tone); color: var(--on);
  font-size: 1.3rem; font-weight: 600; line-height: 1.35;
}
.verdict span { font-size: 1.8rem; line-height: 1; }
.counts { display: grid; grid-template-columns: repeat(auto-fit, minmax(4.9rem, 1fr)); }
.counts { gap: 0.6rem; }
.counts a {
  display: block; height: 100%; padding: 0.5rem; border: 1px solid var(--edge);
  border-top: 4px solid var(--tone); border-radius: 0.5rem; background: var(--card);
  font-size: 0.8rem; line-height: 1.3; color: var(--dim); overflow-wrap: normal;
}
.counts a:hover, .counts a:focus { border-color: var(--tone); }
.counts b { display: block; font-size: 1.5rem; color: var(--tone); }
.counts .none a { border-top-color: var(--edge); }
.counts .none b { color: var(--dim); font-weight: 400; }
article, details {
  margin: 0 0 0.75rem; padding: 1rem 1.25rem; border: 1px solid var(--edge);
  border-radius: 0.5rem; background: var(--card); break-inside: avoid;
}
article { border-left: 4px solid var(--tone); }
.about { display: flex; flex-wrap: wrap; gap: 0.25rem 0.9rem; align-items: center; }
.about { margin: 0.35rem 0 0; font-size: 0.875rem; color: var(--dim); }
.badge {
  padding: 0.05rem 0.55rem; border-radius: 1rem; background: var(--tone); color: var(--on);
  font-size: 0.8rem; font-weight: 600;
}
.evidence {
  margin: 0.75rem 0 0; padding: 0.6rem 0.8rem; max-height: 20rem; overflow-y: auto;
  border-radius: 0.375rem; background: var(--ground); white-space: pre-wrap;
}
dl { display: grid; grid-template-columns: 7rem 1fr; gap: 0.3rem 1rem; margin-top: 0.75rem; }
details { margin-top: 2.5rem; break-inside: auto; }
details + details { margin-top: 0; }
details li { margin-top: 0.75rem; break-inside: avoid; }
details h3 { font-size: 1rem; font-weight: 500; }
summary { cursor: pointer; }
summary h2 { display: inline; font-size: 1.05rem; }
.critical { --tone: var(--critical); } .high { --tone: var(--high); }
.medium { --tone: var(--medium); } .low { --tone: var(--low); }
.passed { --tone: var(--passed); } .unknown { --tone: var(--unknown); }
.waived, .not-applicable { --tone: var(--waived); }
@media (max-width: 34rem) {
  body { padding: 1.5rem 0.9rem 3rem; }
  h1 { font-size: 1.75rem; }
  .verdict { font-size: 1.1rem; }
  article, details { padding: 0.9rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.5rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 0.8rem; }
  .verdict, .badge, .counts a { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .evidence { max-height: none; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-%s'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<style>%s</style>
</head>
<body>
%s
</body>
</html>
"""


def render(result: dict) -> str:
    """The page: whether dockerd starts, the counts, the instances, the findings, worst first."""
    answer = verdict(result["starts"], result["instances"])
    body = [
        "<header>",
        _element("h1", "Docker daemon on %s" % result["host"]),
        _element("p", _judged(result), "dim"),
        "</header>\n<main>",
        _answer(result["starts"], answer),
        _counts(result["counts"]),
        "<h2>Instances</h2>" if result["instances"] else "",
        *(_instance(one, result) for one in result["instances"]),
        *(_section(key, result) for key in (*SEVERITIES, *STATUSES)),
        "</main>",
    ]
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    title = _text("%s: %s" % (result["host"], answer))
    return PAGE % (digest, title, STYLE, "\n".join(part for part in body if part))


def _judged(result: dict) -> str:
    tool = result["tool"]
    return "Judged %s by %s %s" % (_moment(result["judged_at"]), tool["name"], tool["version"])


def _answer(starts: bool | None, answer: str) -> str:
    tone, mark = MARKS[starts]
    shown = '<p class="verdict %s"><span aria-hidden="true">%s</span> <strong>%s</strong></p>'
    return shown % (tone, mark, _text(answer))


def _counts(counts: dict) -> str:
    tiles = []
    for key in (*SEVERITIES, *STATUSES):
        tone = _tone(key) if counts[key] else "%s none" % _tone(key)
        tile = '<li class="%s"><a%s><b>%d</b> %s</a></li>'
        link = ' href="#%s"' % _tone(key) if counts[key] else ""
        tiles.append(tile % (tone, link, counts[key], key))
    return '<ul class="counts">\n%s\n</ul>' % "\n".join(tiles)


def _instance(instance: dict, result: dict) -> str:
    engine = instance["engine"]
    state = {True: "running", False: "not running", None: "not seen"}[engine["running"]]
    containers = "" if engine["containers"] is None else "%d" % engine["containers"]
    several = [
        ("Starts", _text(verdict(instance["starts"], [instance]))),
        ("Found", counted(instance["counts"])),
    ]
    rows = [
        *(several if len(result["instances"]) > 1 else []),
        ("Configuration", _element("code", instance["config"])),
        ("Engine", _text("%s, %s" % (engine["version"] or "version unknown", state))),
        ("Containers", containers),
        ("Listeners", ", ".join(_element("code", one) for one in engine["listeners"])),
        ("Certificates", "<br>".join(_certificate(one) for one in instance["certificates"])),
    ]
    parts = (MARKS[instance["starts"]][0], _element("h3", instance["name"]), _rows(rows))
    return '<article class="%s">\n%s\n%s\n</article>' % parts


def _certificate(certificate: dict) -> str:
    told = "%s, %s, until %s" % (
        certificate["role"],
        certificate["subject"],
        _moment(certificate["not_after"]),
    )
    return "%s %s" % (_text(told), _element("code", certificate["path"]))


def _section(key: str, result: dict) -> str:
    """All findings that count under this key."""
    found = [one for one in result["findings"] if standing(one) == key]
    if not found:
        return ""
    name = HEADINGS.get(key, key.capitalize())
    heading = '<h2 id="%s">%s (%d)</h2>' % (_tone(key), name, len(found))
    if key in FOLDED:
        items = "\n".join("<li>%s</li>" % _head(one, result) for one in found)
        return "<details>\n<summary>%s</summary>\n<ul>\n%s\n</ul>\n</details>" % (heading, items)
    return "\n".join([heading, *(_article(one, result, key) for one in found)])


def _article(finding: dict, result: dict, key: str) -> str:
    rows = [
        ("Where", "<br>".join(_element("code", position(one)) for one in finding["places"])),
        ("Why", _text(finding["why"])),
        ("Remedy", _text(finding["remedy"])),
    ]
    parts = (_tone(key), _head(finding, result, key), _rows(rows))
    return '<article class="%s">\n%s\n%s\n</article>' % parts


def _head(finding: dict, result: dict, badge: str = "") -> str:
    """Title, what it is known by, and the evidence; a badge for what is not folded."""
    about = [
        _element("span", badge, "badge"),
        _element("code", finding["id"]),
        _element("span", finding["instance"]) if len(result["instances"]) > 1 else "",
        _element("span", finding["severity"]) if badge in ("unknown", "waived") else "",
        _element("span", benchmark(finding["cis"])),
    ]
    return '%s\n<p class="about">%s</p>\n%s' % (
        _element("h3", finding["title"]),
        " ".join(part for part in about if part),
        _element("div", finding["evidence"], "evidence"),
    )


def _rows(rows: list[tuple]) -> str:
    """Terms with what is already HTML; without the empty ones."""
    told = ["<dt>%s</dt><dd>%s</dd>" % row for row in rows if row[1]]
    return "<dl>\n%s\n</dl>" % "\n".join(told)


def _element(tag: str, text: str, of_class: str = "") -> str:
    """The element with this text, or nothing for none."""
    attribute = ' class="%s"' % of_class if of_class else ""
    return "<%s%s>%s</%s>" % (tag, attribute, _text(text), tag) if text else ""


def _text(text: str) -> str:
    return escape(printable(text))


def _tone(key: str) -> str:
    return key.replace(" ", "-")


def _moment(when: str) -> str:
    return when.replace("T", " ").replace("Z", " UTC")
