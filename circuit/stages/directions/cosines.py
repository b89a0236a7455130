"""Cosines between directions as a table: a matrix, or the strongest pairs where it is too wide."""

from collections.abc import Sequence

from circuit.present.document import Cell, Number, Table

WIDEST = 12  # directions whose cosines are shown as a matrix


def cosine_table(title: str, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Table:
    """Show a matrix with numbered columns, or the pairs that are farthest from orthogonal."""
    if len(names) > WIDEST:
        return _strongest(title, names, matrix)
    rows: list[list[Cell]] = [
        [f"{i} {name}", *(Number(value, ".2f") for value in row)]
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    return Table(title=title, header=["", *map(str, range(len(names)))], rows=rows)


def _strongest(title: str, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Table:
    pairs = [(matrix[i][j], i, j) for i in range(len(names)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    rows: list[list[Cell]] = [
        [f"{names[j]}, {names[i]}", Number(value, ".2f")] for value, i, j in pairs[:WIDEST]
    ]
    note = (
        f"{len(names)} directions: the {len(rows)} strongest of {len(pairs)} pairs; all with --json"
    )
    return Table(title=title, header=["pair", "cosine"], rows=rows, note=note)
