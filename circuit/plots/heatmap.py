"""A matrix with a number in every cell: cosines (−1 to 1), AUROCs (0 to 1), fractions (0 to 1)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import Array, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAMES = 40  # legible along a side
SCALES = {"cosine": ("RdBu_r", -1, 1), "auroc": ("RdBu_r", 0, 1), "share": ("Blues", 0, 1)}


def heatmap(
    matrix: Array,
    names: Sequence[str],
    *,
    label: str,
    note: str = "",
    axis: str = "",
    scale: str = "cosine",
) -> "Figure":
    """Draw ``matrix`` (k, k); ``scale`` is one of ``SCALES``, NaN an empty cell.

    ``note`` is the title: the level of chance.
    """
    k = len(names)
    side = float(np.clip(1.6 + 0.27 * k, 2.4, 7.0))
    with panels(width=side + 0.6, height=side) as (ax,):
        colours, low, high = SCALES[scale]
        image = ax.imshow(matrix, cmap=colours, vmin=low, vmax=high)
        ticks = range(0, k, -(-k // MAX_NAMES))
        shown = [names[i] for i in ticks]
        if max(map(len, names)) > 3:
            ax.set_xticks(ticks, shown, rotation=45, ha="right", rotation_mode="anchor")
        else:
            ax.set_xticks(ticks, shown)
        ax.set_yticks(ticks, shown)
        ax.set(xlabel=axis, ylabel=axis)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if k <= 20:
            for i, j in np.ndindex(k, k):
                value = float(matrix[i, j])
                if np.isnan(value):
                    continue
                dark = (
                    value > 0.6
                    if scale == "share"
                    else abs(value - (low + high) / 2) > 0.3 * (high - low)
                )
                ink = "white" if dark else "black"
                ax.text(j, i, _number(value), ha="center", va="center", fontsize=5.5, color=ink)
        bar = figure_of([ax]).colorbar(image, ax=ax, shrink=0.8, aspect=25, pad=0.02)
        bar.set_label(label)
        bar.outline.set_visible(False)
        if note:
            ax.set_title(note, fontsize=6.5)
        return figure_of([ax])


def _number(value: float) -> str:
    """Two digits without the leading zero: .93, −.12, 1."""
    text = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return "1" if text == "1.00" else "0" if text in {".00", "−.00"} else text
