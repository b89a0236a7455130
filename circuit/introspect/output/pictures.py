"""Figures of introspection commands, as files."""

from pathlib import Path

import numpy as np

from circuit.introspect.questions.patch import Patching
from circuit.plots.cells import Cells, Scale, cells
from circuit.plots.tokens import axis_label
from circuit.stages.figures.picture_files import write_picture


def draw_patching(found: Patching, out: Path, *, force: bool = False) -> None:
    """Draw every grid: directions side by side, components below each other, and named heads as the rows of one grid."""
    drawings: dict[tuple[str, str], Cells] = {}
    for grid in found.grids:
        head = grid.component.startswith("head ")
        name = "heads by token" if head else grid.component
        rows = [grid.component.removeprefix("head ")] if head else [str(n) for n in grid.layers]
        before = drawings.get((name, grid.direction))
        values = np.array(grid.effect)
        drawings[name, grid.direction] = Cells(
            f"{name}, {grid.direction}",
            values if before is None else np.concatenate([before.matrix, values]),
            rows if before is None else [*before.rows, *rows],
            [axis_label(column) for column in grid.columns],
            ylabel="Head" if head else "Layer",
        )
    across = len({grid.direction for grid in found.grids})
    scale = Scale("share of the logit difference")
    if found.method == "attribution":
        scale = Scale("estimated share of the logit difference", least=0)
    write_picture(out, cells(list(drawings.values()), scale, across=across), force=force)
