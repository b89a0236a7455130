"""Rows as points of a 2-D projection, by class. Rows without a label are hollow and grey."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import COLUMN, GREY, Array, colour, figure_of, marker, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS_ABOVE, ROWS_RIGHT = 4, 18  # rows of a legend above the points, and at their right


@dataclass(frozen=True)
class Classes:
    """A colouring of the points: the class number of each row, −1 for none."""

    names: Sequence[str]
    numbers: Array  # (n,)
    title: str = ""
    missing: str = "no label"


def scatter(
    coordinates: Array, colourings: Sequence[Classes], *, xlabel: str, ylabel: str, ticks: bool
) -> "Figure":
    """Draw the same points ``coordinates`` (n, 2) once for each colouring, side by side."""
    above = max((_rows(each) for each in colourings if not _many(each)), default=1)
    wider = 0.6 if any(map(_many, colourings)) else 0.0
    with panels(len(colourings), width=COLUMN + wider, height=2.5 + 0.13 * (above - 1)) as axes:
        for ax, classes in zip(axes, colourings, strict=True):
            points(ax, coordinates, classes)
            ax.set(xlabel=xlabel, ylabel=ylabel)
            if not ticks:
                ax.set(xticks=[], yticks=[])
        return figure_of(axes)


def points(ax: "Axes", coordinates: Array, classes: Classes) -> None:
    """Draw points in ``ax`` with a legend above, or at the right where it has many rows."""
    size = float(np.clip(1200 / max(len(coordinates), 1), 4, 14))
    hollow = classes.numbers < 0
    if hollow.any():
        x, y = coordinates[hollow].T
        ax.scatter(x, y, s=size, facecolors="none", edgecolors=GREY, linewidths=0.5)
    for i, name in enumerate(classes.names):
        x, y = coordinates[classes.numbers == i].T
        ax.scatter(
            x,
            y,
            s=size,
            color=colour(i),
            marker=marker(i),
            alpha=0.75,
            linewidths=0.3,
            edgecolors="white",
            label=name,
        )
    if hollow.any():
        ax.scatter(
            [],
            [],
            s=size,
            facecolors="none",
            edgecolors=GREY,
            linewidths=0.5,
            label=classes.missing,
        )
    many = _many(classes)
    ax.legend(
        loc="center left" if many else "lower left",
        bbox_to_anchor=(1, 0.5) if many else (0, 1),
        ncols=-(-(len(classes.names) + 1) // ROWS_RIGHT) if many else _columns(classes),
        handletextpad=0.1,
        columnspacing=0.8,
        borderpad=0.2,
        markerscale=1.7,
    )


def _many(classes: Classes) -> bool:
    """Tell whether the legend has too many rows to stand above the points."""
    return _rows(classes) > ROWS_ABOVE


def _columns(classes: Classes) -> int:
    longest = max((len(name) for name in classes.names), default=1)
    return max(1, min(len(classes.names) + 1, 48 // (longest + 4)))


def _rows(classes: Classes) -> int:
    return -(-(len(classes.names) + 1) // _columns(classes))
