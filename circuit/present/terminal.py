"""A document as plain text for a terminal.

Figures are left out: a terminal shows numbers. A table has its first column to the left and the
others to the right; one of sentences has all to the left. Findings that follow each other are one
table; the sentence of a finding stands below it where it is the only one, since a wall of sentences
is not read. Text from an artifact can move no cursor: control characters are shown as escapes.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from circuit.present.characters import visible, width
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
from circuit.present.numbers import baselines_text, best_baseline, layer_text, written

BAR = 20  # characters of a share of 1


def terminal(document: Document) -> str:
    """Return the document as text, without a newline at its end."""
    blocks = [[visible(document.title)]] if document.title else []
    for kind, same in groupby(document.parts, type):
        if kind is Finding:
            blocks.append(_findings([part for part in same if isinstance(part, Finding)]))
        else:
            blocks += [block for part in same if (block := _block(part))]
    lines: list[str] = []
    for number, block in enumerate(blocks):
        # Sections and tables stand apart from what precedes them.
        if number and _stands_apart(block):
            lines.append("")
        lines += block
    return "\n".join(lines)


def _stands_apart(block: Sequence[str]) -> bool:
    return block[0].startswith("=== ") or (
        len(block) > 1 and set("-") <= set(block[1]) <= set("- ")
    )


def _block(part: Part) -> list[str]:
    match part:
        case Text():
            return [visible(line) for line in part.lines]
        case Facts():
            return [f"{visible(name)}: {visible(written(value))}" for name, value in part.items]
        case Notice():
            return [f"Note: {visible(part.text)}"]
        case Finding():
            return _findings([part])
        case Table():
            return _table(part)
        case Figure():
            return []
        case Controls():
            done = [(" x"[each.controlled], each.item, each.detail) for each in part.items]
            lines = [f"  [{mark}] {item}: {detail}" for mark, item, detail in done]
            return [_heading("What was controlled"), *map(visible, lines)]
        case Section():
            inner = terminal(Document("", part.parts)).splitlines()
            return [_heading(part.title), *inner]


def _heading(title: str) -> str:
    return f"=== {visible(title, keep='')} ==="


def _findings(found: Sequence[Finding]) -> list[str]:
    if len(found) == 1:
        (only,) = found
        text = f"{only.subject}: {only.verdict}. {only.sentence}{baselines_text(only)}"
        return [visible(text)]
    measures = dict.fromkeys(each.measure for each in found if each.score is not None)
    header = ["question", "verdict", " / ".join(measures) or "score", "best baseline"]
    header += ["n", "groups", "layer"]
    return columns(header, [_finding(each) for each in found])


def _finding(found: Finding) -> list[Cell]:
    return [
        found.subject,
        found.verdict,
        # Without a star: the verdict says what it allows.
        None if found.score is None else replace(found.score, marked=False),
        best_baseline(found) or None,
        found.n,
        found.n_groups,
        None if found.layer is None else layer_text(found.layer),
    ]


def _table(table: Table) -> list[str]:
    title = [_heading(table.title)] if table.title else []
    note = [visible(table.note)] if table.note else []
    return [*title, *columns(table.header, table.rows, prose=table.prose), *note]


def columns(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, prose: bool = False
) -> list[str]:
    """Lay cells out in columns: the first (or each, if they are ``prose``) left, others right."""
    texts = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(width(row[i]) for row in texts) for i in range(len(header))]
    lines = []
    for row in texts:
        gaps = [" " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)]
        cells = [
            cell + gap if prose or not i else gap + cell
            for i, (cell, gap) in enumerate(zip(row, gaps, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * each for each in widths))
    return lines if rows else [*lines, "(none)"]


def _cell(cell: Cell) -> str:
    """Write a cell on one line."""
    text = visible(written(cell), keep="")
    if isinstance(cell, Share):
        share = min(max(cell.value, 0.0), 1.0)
        return f"{text} {'#' * round(BAR * share):<{BAR}}"
    return text
