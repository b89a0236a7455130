"""Markup that cannot be broken by what it holds: strings are escaped, ``Html`` is made here."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from circuit.present.characters import visible
from circuit.present.document import Cell
from circuit.present.numbers import NOTHING, written


@dataclass(frozen=True)
class Html:
    """Markup that was made here."""

    text: str


def escaped(text: str) -> str:
    """Return ``text`` as characters of a page, whatever it holds."""
    return escape(visible(text), quote=True)


def cell_text(cell: Cell) -> str:
    """Write a cell; what does not exist is a dash."""
    text = written(cell)
    return "–" if text == NOTHING and not isinstance(cell, str) else text


def element(name: str, *children: str | Html, **attributes: str) -> Html:
    """Make an element; ``class_`` is the attribute ``class``, ``data_x`` is ``data-x``."""
    written_out = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    inside = "".join(
        child.text if isinstance(child, Html) else escaped(child) for child in children
    )
    return Html(f"<{name}{written_out}>{inside}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    """Put elements one after the other, a line each."""
    return Html("\n".join(part.text for part in parts))
