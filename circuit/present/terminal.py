"""A document as plain text for a terminal.

Figures are left out: a terminal shows numbers. A table has its first column to the left and the others to the right.
"""

from collections.abc import Sequence

from circuit.present.document import (
    Cell,
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
from circuit.present.numbers import written


def terminal(document: Document) -> str:
    """Return the document as text, without a newline at its end."""
    blocks = [[document.title]] if document.title else []
    blocks += [block for part in document.parts if (block := _block(part))]
    lines: list[str] = []
    for number, block in enumerate(blocks):
        # Sections and tables stand apart from what precedes them.
        if number and _stands_apart(block):
            lines.append("")
        lines += block
    return "\n".join(lines)


def _stands_apart(block: Sequence[str]) -> bool:
    return block[0].startswith("=== ") or (len(block) > 1 and set(block[1]) <= {"-", " "})


def _block(part: Part) -> list[str]:
    match part:
        case Text():
            return list(part.lines)
        case Facts():
            return [f"{name}: {written(value)}" for name, value in part.items]
        case Notice():
            return [f"Note: {part.text}"]
        case Finding():
            return [f"{part.subject}: {part.verdict}. {part.sentence}"]
        case Table():
            return _table(part)
        case Figure():
            return []
        case Section():
            inner = terminal(Document("", part.parts)).splitlines()
            return [f"=== {part.title} ===", *inner]


def _table(table: Table) -> list[str]:
    title = [f"=== {table.title} ==="] if table.title else []
    note = [table.note] if table.note else []
    return [*title, *columns(table.header, table.rows), *note]


def columns(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Lay cells out in columns: the first to the left, the others to the right."""
    texts = [list(header), *([written(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    lines = []
    for row in texts:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
