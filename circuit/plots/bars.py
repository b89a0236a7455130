"""Signed terms of a sum as horizontal bars with their intervals, the first one on top."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import COLOURS, COLUMN, GREY, INK, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def bars(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    *,
    xlabel: str,
) -> "Figure":
    """Draw one bar for each name, positive and negative ones in two colours."""
    with panels(width=COLUMN, height=0.6 + 0.15 * len(names)) as (ax,):
        y = np.arange(len(names))
        colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values]
        ax.barh(y, values, color=colours, height=0.72)
        for at, interval in zip(y, intervals, strict=True):
            if interval is not None:
                ax.plot(interval, [at, at], color=INK, linewidth=0.8)
        ax.axvline(0, color=GREY, linewidth=0.6)
        ax.set_yticks(y, list(names), fontsize=6)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(xlabel)
        return figure_of([ax])
