"""A document as HTML that loads nothing, and in which text from an artifact can only be text.

A ``str`` is escaped wherever it is put; only ``Html``, which is made here, is markup. Control characters, lone surrogates and the marks that
turn the direction of writing are shown as escapes. Pictures are inside the page as base64, styles in its head; a Content-Security-Policy
forbids everything else. On a narrow screen text wraps, and wide tables and figures scroll in boxes of their own.

Findings become one compact table: subject, verdict, score with its interval drawn as a bar, baselines, size, layer; the sentence of
each row is shown when the row is opened.
"""

import base64
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from circuit.present.document import (
    Document,
    Facts,
    Figure,
    Finding,
    Notice,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import layer_text, written

PNG = b"\x89PNG\r\n\x1a\n"
WIDE = 1000  # pixels at 200 per inch: beyond a column, it would be too small on a phone
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
BAR = (130, 16)  # width and height of an interval's picture, in pixels
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 56rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: #222; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
.small, figcaption { font-size: .85rem; color: #555; }
.warning { border-left: .3rem solid #D55E00; padding: .3rem .8rem; background: #fdf3ec; }
.word { font-size: .75rem; font-weight: 600; padding: .1rem .5rem; border-radius: 1rem;
  background: #eee; white-space: nowrap; }
.strong .word { background: #0072B2; color: #fff; } .some .word { background: #d5ebf8; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; }
figure.wide img { max-width: none; width: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1.5px solid #222; }
table.prose td, table.prose th, table.findings td, table.findings th { text-align: left; }
table.prose td, table.prose th { white-space: normal; overflow-wrap: anywhere; }
table.findings td.wraps { white-space: normal; }
table.findings td.sentence { white-space: normal; border-bottom: 1px solid #ddd; padding-top: 0; }
table.findings tr.row td { border-bottom: none; }
svg { vertical-align: middle; }
details { margin: .6rem 0; } summary { cursor: pointer; } code { font-size: .85em; }
td details { margin: 0; } td summary { color: #555; }
"""


@dataclass(frozen=True)
class Html:
    """Markup that was made here."""

    text: str


def escaped(text: str) -> str:
    """Return ``text`` as characters of a page, whatever it holds."""
    return escape("".join(map(_visible, text)), quote=True)


def _visible(character: str) -> str:
    hidden = character in TURNS or unicodedata.category(character) in {"Cc", "Cs"}
    if hidden and character not in "\n\t":
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return character


def element(name: str, *children: str | Html, **attributes: str) -> Html:
    """Make an element; ``class_`` is the attribute ``class``."""
    given = "".join(f' {key.rstrip("_")}="{escaped(value)}"' for key, value in attributes.items())
    inside = "".join(
        child.text if isinstance(child, Html) else escaped(child) for child in children
    )
    return Html(f"<{name}{given}>{inside}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    """Put elements one after the other, a line each."""
    return Html("\n".join(part.text for part in parts))


def page(document: Document) -> bytes:
    """Return a document as a whole page."""
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", document.title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    body = [element("h1", document.title), *fragments(document.parts)]
    parts = (element("head", head).text, element("body", element("main", joined(body))).text)
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', *parts, "</html>", ""]).encode()


def fragments(parts: Sequence[Part], level: int = 2) -> list[Html]:
    """Return the elements of parts; findings that follow each other are one table."""
    found: list[Html] = []
    for kind, same in groupby(parts, type):
        if kind is Finding:
            found.append(findings([part for part in same if isinstance(part, Finding)]))
        else:
            found += [_fragment(part, level) for part in same]
    return found


def _fragment(part: Part, level: int) -> Html:
    match part:
        case Text():
            return joined(element("p", line) for line in part.lines)
        case Facts():
            rows = [(name, written(value)) for name, value in part.items]
            return table(Table(header=["what", "value"], rows=rows, prose=True))
        case Notice():
            return element("p", part.text, class_="warning")
        case Finding():
            return findings([part])
        case Table():
            return table(part)
        case Figure():
            return figure(part)
        case Section():
            inner = fragments(part.parts, level + 1)
            return joined([element(f"h{min(level, 6)}", part.title), *inner])


def findings(found: Sequence[Finding]) -> Html:
    """Return findings as one compact table, strongest first, each with its sentence folded under it."""
    header = ["question", "verdict", "score", "", "baselines", "n (groups)", "layer"]
    ordered = sorted(found, key=lambda each: -each.strength)
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    rows = [row for each in ordered for row in _finding(each)]
    grid = element(
        "table", element("thead", head), element("tbody", joined(rows)), class_="findings"
    )
    return element("div", grid, class_="scroll", tabindex="0")


def _finding(found: Finding) -> list[Html]:
    strength = ("none", "some", "strong")[found.strength]
    size = "" if found.n is None else f"{found.n} ({found.n_groups})"
    score = "" if found.score is None else written(found.score)
    cells = [
        element("td", element("strong", found.subject), class_="wraps"),
        element("td", element("span", found.verdict, class_="word")),
        element("td", score),
        element("td", bar(found)),
        element("td", _baselines(found), class_="wraps"),
        element("td", size),
        element("td", "" if found.layer is None else layer_text(found.layer)),
    ]
    details = element("details", element("summary", "in words"), found.sentence)
    sentence = element("td", details, class_="sentence", colspan=str(len(cells)))
    return [
        element("tr", *cells, class_=f"row {strength}"),
        element("tr", sentence, class_=strength),
    ]


def _baselines(found: Finding) -> str:
    return ", ".join(
        name if value is None else f"{name} {value:.2f}" for name, value in found.baselines.items()
    )


def bar(found: Finding) -> Html:
    """Draw a score between the ends of its scale: the interval as a line, chance as a tick, baselines as small marks."""
    if found.score is None or found.score.value is None:
        return Html("")
    width, height = BAR
    first, last = found.scale

    def x(value: float) -> float:
        share = (value - first) / (last - first)
        return round(4 + (width - 8) * min(max(share, 0.0), 1.0), 1)

    middle, value = height / 2, found.score.value
    low = value if found.score.low is None else found.score.low
    high = value if found.score.high is None else found.score.high
    colour = ("#888", "#56B4E9", "#0072B2")[found.strength]
    shapes = [_line(x(first), x(last), middle, "#ddd", 1)]
    if found.chance is not None:
        shapes.append(_tick(x(found.chance), "#222", height))
    shapes += [
        _tick(x(each), "#D55E00", height / 2)
        for each in found.baselines.values()
        if each is not None
    ]
    shapes += [
        _line(x(low), x(high), middle, colour, 4),
        Html(f'<circle cx="{x(value)}" cy="{middle}" r="3.5" fill="{colour}"/>'),
    ]
    return Html(
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escaped(written(found.score))}">'
        f"{joined(shapes).text}</svg>"
    )


def _line(start: float, end: float, y: float, colour: str, thickness: int) -> Html:
    return Html(
        f'<line x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="{thickness}"/>'
    )


def _tick(x: float, colour: str, length: float) -> Html:
    top = (BAR[1] - length) / 2
    return Html(
        f'<line x1="{x}" x2="{x}" y1="{top}" y2="{top + length}" stroke="{colour}" stroke-width="1.5"/>'
    )


def table(content: Table) -> Html:
    """Return a table in a box that scrolls; a folded one opens on its title."""
    header = element("tr", *(element("th", cell, scope="col") for cell in content.header))
    rows = [element("tr", *(element("td", written(cell)) for cell in row)) for row in content.rows]
    parts = [element("thead", header), element("tbody", joined(rows))]
    grid = element("table", *parts, class_="prose" if content.prose else "numbers")
    box = element("div", grid, class_="scroll", tabindex="0")
    note = [element("p", content.note, class_="small")] if content.note else []
    if content.folded:
        return element("details", element("summary", content.title), *note, box)
    title = [element("h3", content.title)] if content.title else []
    return joined([*title, *note, box])


def figure(content: Figure) -> Html:
    """Return a picture inside the page, its caption below and as its description."""
    image = content.png()
    data = base64.b64encode(image).decode()
    width, height = struct.unpack(">II", image[16:24])
    # Half of its pixels is its size in print; a phone, held closer but coarser, needs a little
    # more to be read. It scrolls.
    narrowest = f' style="min-width: {int(0.55 * width)}px"' if width > WIDE else ""
    drawn = Html(
        f'<img src="data:image/png;base64,{data}" alt="{escaped(content.caption)}" '
        f'width="{width // 2}" height="{height // 2}"{narrowest}>'
    )
    box = element("div", drawn, class_="scroll", tabindex="0")
    kind = "wide" if width > WIDE else "column"
    return element("figure", box, element("figcaption", content.caption), class_=kind)
