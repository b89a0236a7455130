"""Held-out projections on a direction, by class: histograms on one axis, the scores as title."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import Array, colour, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def histogram(
    scores: Sequence[Array], names: Sequence[str], *, xlabel: str, title: str = ""
) -> "Figure":
    """Draw ``scores``, one array of held-out scores per class."""
    with panels() as axes:
        _draw(axes[0], scores, names)
        axes[0].set(xlabel=xlabel, ylabel="Prompts")
        axes[0].set_title(title, fontsize=6.5)
        return figure_of(axes)


def _draw(ax: "Axes", scores: Sequence[Array], names: Sequence[str]) -> None:
    everything = np.concatenate(scores)
    n_bins = int(np.clip(2 * np.sqrt(len(everything)), 8, 40))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, n_bins + 1).tolist()
    for i, values in enumerate(scores):
        ax.hist(values, edges, color=colour(i), alpha=0.45, linewidth=0)
        ax.hist(values, edges, color=colour(i), histtype="step", linewidth=0.9)
        ax.plot(values, np.full(len(values), 0), "|", color=colour(i), markersize=4, alpha=0.5)
    top = ax.get_ylim()[1]
    ax.set_ylim(0, top * 1.12)
    centres = [float(np.mean(values)) for values in scores]
    for i, (values, name) in enumerate(zip(scores, names, strict=True)):
        # The class on the left is named on its left: names of classes that overlap stay apart.
        leftmost = centres[i] == min(centres)
        ax.annotate(
            f"{name} (n = {len(values)})",
            (0.02 if leftmost else 0.98, 1.0),
            xycoords="axes fraction",
            ha="left" if leftmost else "right",
            va="top",
            fontsize=6.5,
            color=colour(i),
        )
