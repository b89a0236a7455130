"""Many curves over the layers as small panels: AUROC with its band, over what it has to beat.

In each panel: the probe (colour, band of the 95 % interval), the same layers with random weights (grey, thin), the control task (dotted), each
baseline without layers as a line at its height, named at the right; chance and the threshold. A dot is filled where the layer
is decodable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from circuit.plots.style import GREY, PALE, colour, finished, grid, name_end, spread

Bounds = Sequence[float]  # value, low, high


@dataclass(frozen=True)
class Curve:
    """One probe along the layers."""

    name: str
    layers: Sequence[int]
    scores: Sequence[Bounds]
    decodable: Sequence[bool]
    random: Sequence[Bounds] | None = None
    control: Sequence[Bounds] | None = None
    baselines: dict[str, Bounds] = field(default_factory=dict)
    emergence: int | None = None


def multiples(curves: Sequence[Curve], *, threshold: float, columns: int = 4) -> Figure:
    """Draw one panel for each of ``curves``."""
    with grid(len(curves), columns=min(columns, len(curves)), width=2.1, height=1.6) as axes:
        for ax, curve in zip(axes, curves, strict=True):
            _draw(ax, curve, threshold)
        return finished(axes)


def _draw(ax: Axes, curve: Curve, threshold: float) -> None:
    value, low, high = np.array(curve.scores, dtype=float).T
    x = np.array(curve.layers)
    ax.axhline(0.5, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)))
    ax.axhline(threshold, color=PALE, linewidth=0.7, linestyle=(0, (5, 3)))
    if curve.random is not None:
        random = np.array(curve.random, dtype=float).T
        ax.fill_between(x, random[1], random[2], color=PALE, alpha=0.5, linewidth=0)
        ax.plot(x, random[0], color=GREY, linewidth=0.8)
    if curve.control is not None:
        ax.plot(x, np.array(curve.control)[:, 0], color=colour(4), linewidth=0.8, ls=(0, (1, 1)))
    ax.fill_between(x, low, high, color=colour(0), alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour(0))
    filled = np.array(curve.decodable)
    ax.plot(x[filled], value[filled], "o", color=colour(0), markersize=2.6)
    ax.plot(x[~filled], value[~filled], "o", mfc="white", mec=colour(0), mew=0.6, markersize=2.6)
    if curve.emergence is not None:
        ax.plot(curve.emergence, 0.31, "^", color="black", markersize=3)
    ax.set_title(curve.name, fontsize=6.5)
    ax.set_ylim(0.28, 1.04)
    margin = 0.06 * max(float(np.ptp(x)), 1)
    ax.set_xlim(x.min() - margin, x.max() + margin)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.tick_params(labelsize=5.5)
    _name(ax, curve)


def _name(ax: Axes, curve: Curve) -> None:
    """Mark each baseline at its height, and name it beside the panel."""
    ends = [(bounds[0], name, colour(1)) for name, bounds in curve.baselines.items()]
    if curve.random is not None:
        ends.append((curve.random[-1][0], "random", GREY))
    if curve.control is not None:
        ends.append((curve.control[-1][0], "control", colour(4)))
    places = spread([end[0] for end in ends], 0.085)
    for (value, name, ink), y in zip(ends, places, strict=True):
        if name in curve.baselines:
            ax.axhline(value, color=ink, linewidth=0.5, alpha=0.6)
        name_end(ax, name, y, ink, distance=2, fontsize=5)
