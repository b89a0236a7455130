"""The page of a report: HTML that loads nothing, and in which text from an artifact can only be text.

A ``str`` is escaped wherever it is put; only ``Html``, which is made here, is markup. Control characters, lone surrogates and the marks that
turn the direction of writing are shown as escapes. Pictures are inside the page as base64, styles in its head; a Content-Security-Policy
forbids everything else. On a narrow screen text wraps, and wide tables and figures scroll in boxes of their own.
"""

import base64
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from circuit.stages.figures.archive import Picture

PNG = b"\x89PNG\r\n\x1a\n"
WIDE = 1000  # pixels at 200 per inch: beyond a column, it would be too small on a phone
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 50rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; background: #fff;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
.lead { font-size: 1.05rem; } .small, figcaption { font-size: .85rem; color: #555; }
.warning { border-left: .3rem solid #D55E00; padding: .3rem .8rem; background: #fdf3ec; }
ul.findings { list-style: none; padding: 0; } ul.findings li { margin: .9rem 0; padding-left: .8rem; border-left: .3rem solid #bbb; }
ul.findings li.strong { border-color: #0072B2; } ul.findings li.some { border-color: #56B4E9; }
.word { font-size: .75rem; font-weight: 600; padding: .1rem .5rem; border-radius: 1rem; background: #eee; white-space: nowrap; }
.strong > .word { background: #0072B2; color: #fff; } .some > .word { background: #d5ebf8; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; } figure.wide img { max-width: none; width: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1.5px solid #222; }
table.prose td, table.prose th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; } code { font-size: .85em; }
"""


@dataclass(frozen=True)
class Html:
    """Markup that was made here."""

    text: str


@dataclass(frozen=True)
class Finding:
    """A sentence about ``subject``, the word that its evidence allows, and how strong that is (0 to 2)."""

    subject: str
    word: str
    strength: int
    text: str


@dataclass(frozen=True)
class Table:
    """Numbers in rows; ``prose``: cells are text that wraps; ``folded``: shown when it is opened."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    prose: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """What one artifact contributes to a report."""

    lead: str
    findings: Sequence[Finding]
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    checklist: Sequence[tuple[str, bool, str]] = field(default_factory=tuple)


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


def page(title: str, body: Sequence[Html]) -> bytes:
    """Return the whole document."""
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    parts = (element("head", head).text, element("body", element("main", joined(body))).text)
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', *parts, "</html>", ""]).encode()


def finding(found: Finding) -> Html:
    """A sentence with its word in front."""
    strength = ("none", "some", "strong")[found.strength]
    word = element("span", found.word, class_="word")
    subject = element("strong", found.subject)
    return element("li", word, " ", subject, ": ", found.text, class_=strength)


def table(content: Table) -> Html:
    """A table in a box that scrolls; a folded one opens on its title."""
    header = element("tr", *(element("th", cell, scope="col") for cell in content.header))
    rows = [element("tr", *(element("td", cell) for cell in row)) for row in content.rows]
    parts = [element("thead", header), element("tbody", joined(rows))]
    grid = element("table", *parts, class_="prose" if content.prose else "numbers")
    box = element("div", grid, class_="scroll", tabindex="0")
    note = [element("p", content.note, class_="small")] if content.note else []
    if content.folded:
        return element("details", element("summary", content.title), *note, box)
    return joined([element("h3", content.title), *note, box])


def figure(picture: Picture) -> Html:
    """A picture inside the page, its caption below and as its description."""
    data = base64.b64encode(picture.image).decode()
    width, height = struct.unpack(">II", picture.image[16:24])
    # Half of its pixels is its size in print; a phone, held closer but coarser, needs a little more to be read. It scrolls.
    narrowest = f' style="min-width: {int(0.55 * width)}px"' if width > WIDE else ""
    image = Html(
        f'<img src="data:image/png;base64,{data}" alt="{escaped(picture.caption)}" '
        f'width="{width // 2}" height="{height // 2}"{narrowest}>'
    )
    box = element("div", image, class_="scroll", tabindex="0")
    kind = "wide" if width > WIDE else "column"
    return element("figure", box, element("figcaption", picture.caption), class_=kind)
