"""Rectangular grids of numbers, layers upwards and tokens or heads along: one panel each, all on one scale of colour.

Effects are drawn from −1 (blue) over 0 (white) to 1 (red), or further where they go further; weights from 0 (white) to 1 (blue).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from circuit.plots.style import DPI, GREY, INK, Array, typeset

NAMED = 40  # columns that are named one by one; more are counted


@dataclass(frozen=True, eq=False)
class Cells:
    """One panel: a matrix (n_rows, n_columns) with the names of its rows and columns; ``marked`` cells get a frame, ``dotted`` ones a dot."""

    title: str
    matrix: Array
    rows: Sequence[str]
    columns: Sequence[str]
    xlabel: str = ""
    ylabel: str = "Layer"
    marked: Sequence[tuple[int, int]] = ()
    dotted: Sequence[tuple[int, int]] = ()
    upwards: bool = True


def cells(drawings: Sequence[Cells], *, across: int, label: str, signed: bool = True) -> Figure:
    """Draw panels in rows of ``across``, with one colour bar."""
    down = -(-len(drawings) // across)
    widest = max(len(d.columns) for d in drawings)
    tallest = max(len(d.rows) for d in drawings)
    width = float(np.clip(0.9 + 0.17 * widest, 1.9, 7.0))
    height = float(np.clip(0.95 + 0.13 * tallest, 1.5, 5.5))
    extreme = _extreme(drawings) if signed else 1.0
    with typeset():
        figure = Figure(
            figsize=(width * across + 0.6, height * down), layout="constrained", dpi=DPI
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
        for ax, drawing in zip(axes, drawings, strict=False):
            image = ax.imshow(
                drawing.matrix,
                cmap="RdBu_r" if signed else "Blues",
                vmin=-extreme if signed else 0,
                vmax=extreme,
                origin="lower" if drawing.upwards else "upper",
                aspect="auto",
                interpolation="nearest",
            )
            _finish(ax, drawing)
        for ax in axes[len(drawings) :]:
            ax.set_axis_off()
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 1.6 / down), aspect=22, pad=0.01)
        bar.set_label(label)
        bar.outline.set_visible(False)
    return figure


def _extreme(drawings: Sequence[Cells]) -> float:
    largest = max(float(np.nanmax(np.abs(d.matrix))) for d in drawings)
    return max(1.0, largest)


def _finish(ax: Axes, drawing: Cells) -> None:
    ax.set_title(drawing.title)
    ax.set(xlabel=drawing.xlabel, ylabel=drawing.ylabel)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(drawing.columns) <= NAMED:
        long = max(map(len, drawing.columns)) > 3
        ax.set_xticks(
            range(len(drawing.columns)), list(drawing.columns), rotation=90 if long else 0
        )
        ax.tick_params(axis="x", labelsize=5.5)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if len(drawing.rows) <= NAMED:
        step = 1 if len(drawing.rows) <= 14 else 2
        ax.set_yticks(range(0, len(drawing.rows), step), list(drawing.rows)[::step])
        ax.tick_params(axis="y", labelsize=5.5)
    for row, column in drawing.dotted:
        ax.plot(column, row, marker="o", ms=1.6, color=GREY, mew=0)
    for row, column in drawing.marked:
        x, y = [column - 0.5, column + 0.5], [row - 0.5, row + 0.5]
        ax.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], color=INK, lw=1.0)
