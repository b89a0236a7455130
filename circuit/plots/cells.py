"""Grids of numbers in panels: layers upwards, tokens or heads along the x axis.

All panels share one scale of colour, or each has its own. Effects are drawn from blue over 0
(white) to red, weights from 0 (white) to blue. A ``Scale`` ends at the largest number of its
panels, and not below ``least``: with 1 a full effect has the full colour in every picture, with 0
small numbers are visible.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from circuit.plots.style import DPI, GREY, INK, Array, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MAX_NAMES = 40  # columns with a name each; more have numbers
LETTER = 0.062  # inches


@dataclass(frozen=True, eq=False)
class Cells:
    """One panel: a matrix (n_rows, n_columns) with the names of its rows and columns.

    ``marked`` cells get a frame, ``dotted`` ones a dot.
    """

    title: str
    matrix: Array
    rows: Sequence[str]
    columns: Sequence[str]
    xlabel: str = ""
    ylabel: str = "Layer"
    marked: Sequence[tuple[int, int]] = ()
    dotted: Sequence[tuple[int, int]] = ()
    upwards: bool = True


@dataclass(frozen=True)
class Scale:
    """The scale of colours: ``label`` names the numbers; ``own`` gives each panel its own scale."""

    label: str
    signed: bool = True
    least: float = 1.0
    own: bool = False

    def end(self, drawings: Sequence[Cells]) -> float:
        """Return the number of the full colour."""
        largest = max(float(np.nanmax(np.abs(d.matrix), initial=0)) for d in drawings)
        return max(self.least, largest) or 1.0


def cells(drawings: Sequence[Cells], scale: Scale, *, across: int, title: str = "") -> Figure:
    """Draw panels in rows of ``across``, with one colour bar, or one each."""
    down = -(-len(drawings) // across)
    widest = max(len(d.columns) for d in drawings)
    tallest = max(len(d.rows) for d in drawings)
    width = float(np.clip(0.9 + 0.17 * widest, 1.9, 7.0))
    height = float(np.clip(0.95 + 0.13 * tallest, 1.5, 5.5))
    if scale.own:
        width += 0.45
    with figure_style():
        figure = Figure(
            figsize=(width * across + 0.6, height * down), layout="constrained", dpi=DPI
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
        for ax, drawing in zip(axes, drawings, strict=False):
            end = scale.end([drawing] if scale.own else drawings)
            image = ax.imshow(
                drawing.matrix,
                cmap="RdBu_r" if scale.signed else "Blues",
                vmin=-end if scale.signed else 0,
                vmax=end,
                origin="lower" if drawing.upwards else "upper",
                aspect="auto",
                interpolation="nearest",
            )
            _finish(ax, drawing)
            if scale.own:
                _bar(figure, image, [ax], scale.label, height=height)
        for ax in axes[len(drawings) :]:
            ax.set_axis_off()
        if not scale.own:
            of_all, shrink = height * min(down, 1.6), min(1.0, 1.6 / down)
            _bar(figure, image, axes, scale.label, height=of_all, shrink=shrink)
        if title:
            figure.suptitle(title)
    return figure


def _bar(
    figure: Figure,
    image: "AxesImage",
    axes: list["Axes"],
    label: str,
    *,
    height: float,
    shrink: float = 1.0,
) -> None:
    """Add a colour bar of ``height`` inches; its label is broken into lines of that length."""
    bar = figure.colorbar(image, ax=axes, shrink=shrink, aspect=22, pad=0.01)
    bar.set_label(textwrap.fill(label, max(10, int((height - 0.45) / LETTER))))
    bar.outline.set_visible(False)


def _finish(ax: "Axes", drawing: Cells) -> None:
    ax.set_title(drawing.title)
    ax.set(xlabel=drawing.xlabel, ylabel=drawing.ylabel)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(drawing.columns) <= MAX_NAMES:
        long = max(map(len, drawing.columns)) > 3
        ax.set_xticks(
            range(len(drawing.columns)), list(drawing.columns), rotation=90 if long else 0
        )
        ax.tick_params(axis="x", labelsize=5.5)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if len(drawing.rows) <= MAX_NAMES:
        step = 1 if len(drawing.rows) <= 14 else 2
        ax.set_yticks(range(0, len(drawing.rows), step), list(drawing.rows)[::step])
        ax.tick_params(axis="y", labelsize=5.5)
    for row, column in drawing.dotted:
        ax.plot(column, row, marker="o", ms=1.6, color=GREY, mew=0)
    for row, column in drawing.marked:
        x, y = [column - 0.5, column + 0.5], [row - 0.5, row + 0.5]
        ax.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], color=INK, lw=1.0)
