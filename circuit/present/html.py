"""A document as HTML that loads nothing, and in which text from an artifact can only be text.

A ``str`` is escaped wherever it is put; only ``Html``, which is made here, is markup. Control
characters, lone surrogates and the marks that turn the direction of writing are shown as escapes.
Pictures are inside the page as base64, styles in its head; a Content-Security-Policy forbids
everything else. There is no script.

Findings are one compact table (``present.findings``); tables and figures that are wider than the
screen scroll in boxes of their own.
"""

import base64
import struct
from collections.abc import Sequence
from itertools import groupby

from circuit.present.document import (
    Cell,
    Controls,
    Document,
    Facts,
    Figure,
    Finding,
    Notice,
    Part,
    Section,
    Share,
    Table,
    Text,
)
from circuit.present.findings import findings
from circuit.present.markup import Html, cell_text, element, escaped, joined
from circuit.present.style import PAGE_STYLE, STYLE

WIDE = 1000  # pixels at 200 per inch: beyond a column, it would be too small on a phone
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(document: Document) -> bytes:
    """Return a document as a whole page."""
    title = [element("h1", document.title)] if document.title else []
    return page_of(document.title, [*title, *fragments(document.parts)])


def page_of(title: str, body: Sequence[Html]) -> bytes:
    """Return a page with ``body`` as its content."""
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{PAGE_STYLE}{STYLE}</style>"),
        ]
    )
    main = element("main", joined(body), class_="circuit")
    parts = (element("head", head).text, element("body", main).text)
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', *parts, "</html>", ""]).encode()


def fragments(parts: Sequence[Part], level: int = 2) -> list[Html]:
    """Return the elements of parts; findings that follow each other are one table."""
    made: list[Html] = []
    for kind, same in groupby(parts, type):
        if kind is Finding:
            made.append(findings([("", [part for part in same if isinstance(part, Finding)])]))
        else:
            made += [_fragment(part, level) for part in same]
    return made


def _fragment(part: Part, level: int) -> Html:
    match part:
        case Text():
            return joined(element("p", line, class_="line") for line in part.lines)
        case Facts():
            return facts(part)
        case Notice():
            return element("p", part.text, class_="warning")
        case Finding():
            return findings([("", [part])])
        case Table():
            return table(part, level)
        case Figure():
            return figure(part)
        case Controls():
            return joined([element(_heading(level), "What was controlled"), controls(part)])
        case Section():
            inner = fragments(part.parts, level + 1)
            return joined([element(_heading(level), part.title), *inner])


def _heading(level: int) -> str:
    return f"h{min(level, 6)}"


def facts(content: Facts) -> Html:
    """Return names and values as the rows of a table without a header."""
    rows = [
        element("tr", element("td", name), element("td", cell_text(value)))
        for name, value in content.items
    ]
    return _scrolling(element("table", element("tbody", joined(rows)), class_="prose"))


def controls(content: Controls) -> Html:
    """Return what was controlled and what was not as a table."""
    rows = [
        ("✓ yes" if each.controlled else "✗ no", each.item, each.detail) for each in content.items
    ]
    return table(Table(header=["controlled", "item", "how far"], rows=rows, prose=True))


def table(content: Table, level: int = 3) -> Html:
    """Return a table in a box that scrolls; a folded one opens on its title."""
    header = element("tr", *(element("th", name, scope="col") for name in content.header))
    rows = [element("tr", *map(_cell, row)) for row in content.rows]
    if not rows:
        rows = [element("tr", element("td", "none", colspan=str(max(1, len(content.header)))))]
    parts = [element("thead", header), element("tbody", joined(rows))]
    grid = _scrolling(element("table", *parts, class_="prose" if content.prose else "numbers"))
    note = [element("p", content.note, class_="small")] if content.note else []
    if content.folded:
        return element("details", element("summary", content.title), *note, grid)
    title = [element(_heading(level), content.title)] if content.title else []
    return joined([*title, *note, grid])


def _cell(cell: Cell) -> Html:
    if not isinstance(cell, Share):
        return element("td", cell_text(cell))
    length = 60 * min(max(cell.value, 0.0), 1.0)
    drawn = f'<svg width="60" height="10"><rect width="{length:.1f}" height="10" fill="#56B4E9"/>'
    return element("td", cell_text(cell), " ", Html(f"{drawn}</svg>"))


def _scrolling(content: Html) -> Html:
    return element("div", content, class_="scroll", tabindex="0")


def figure(content: Figure, *, caption_folded: bool = False) -> Html:
    """Return a picture inside the page, its caption below and as its description."""
    image = content.png()
    data = base64.b64encode(image).decode()
    width, height = struct.unpack(">II", image[16:24])
    # Half of its pixels is its size in print; a phone, held closer but coarser, needs a little
    # more to be read. It scrolls.
    narrowest = f' style="min-width: {int(0.45 * width)}px"' if width > WIDE else ""
    drawn = Html(
        f'<img src="data:image/png;base64,{data}" alt="{escaped(content.caption)}" '
        f'width="{width // 2}" height="{height // 2}"{narrowest}>'
    )
    caption: str | Html = content.caption
    if caption_folded:
        caption = element("details", element("summary", "How to read this figure"), caption)
    kind = "wide" if width > WIDE else "column"
    return element("figure", _scrolling(drawn), element("figcaption", caption), class_=kind)
