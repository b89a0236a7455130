"""Many curves over the layers as small panels: AUROC with its band, and its baselines.

In each panel: the probe (colour, band of the 95 % interval), the same layers with random weights
(grey, thin), the control task (dotted), each baseline without layers as a horizontal line; chance
and the threshold. One legend names them all. A dot is filled where the layer is decodable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, PALE, colour, figure_of, grid

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bounds = Sequence[float]  # value, low, high
# Colour and dashes of the baselines without layers, in their order.
BASELINES = ((1, "-"), (5, (0, (2, 1))), (3, (0, (4, 1.5))), (2, (0, (4, 1, 1, 1))))


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


def multiples(curves: Sequence[Curve], *, threshold: float, columns: int = 4) -> "Figure":
    """Draw one panel for each of ``curves``, on one scale and under one legend."""
    low = floor(curves)
    with grid(len(curves), columns=min(columns, len(curves)), width=2.1, height=1.6) as axes:
        for ax, curve in zip(axes, curves, strict=True):
            _draw(ax, curve, threshold, low)
        _legend(figure_of(axes), axes)
        return figure_of(axes)


def floor(curves: Sequence[Curve]) -> float:
    """Return the lower limit of the axis, in tenths, at which no band is cut."""
    drawn = [bound for curve in curves for bounds in curve.scores for bound in bounds]
    drawn += [bound for curve in curves for bounds in curve.random or () for bound in bounds]
    drawn += [bounds[0] for curve in curves for bounds in curve.control or ()]
    drawn += [bounds[0] for curve in curves for bounds in curve.baselines.values()]
    return max(0.0, math.floor(min(0.4, *drawn) * 10) / 10)


def _draw(ax: "Axes", curve: Curve, threshold: float, low: float) -> None:
    from matplotlib.ticker import MaxNLocator

    x, span = np.array(curve.layers), 1 - low
    ax.axhline(0.5, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), label="chance")
    ax.axhline(threshold, color=PALE, lw=0.7, ls=(0, (5, 3)), label=f"threshold {threshold:g}")
    if curve.random is not None:
        random = np.array(curve.random, dtype=float).T
        ax.fill_between(x, random[1], random[2], color=PALE, alpha=0.5, linewidth=0)
        ax.plot(x, random[0], color=GREY, linewidth=0.8, label="random weights")
    for i, (name, bounds) in enumerate(curve.baselines.items()):
        ink, dashes = BASELINES[i % len(BASELINES)]
        ax.axhline(bounds[0], color=colour(ink), linewidth=0.8, linestyle=dashes, label=name)
    if curve.control is not None:
        control = np.array(curve.control)[:, 0]
        ax.plot(x, control, color=colour(4), linewidth=0.8, ls=(0, (1, 1)), label="control task")
    _scores(ax, curve)
    if curve.emergence is not None:
        ax.plot(curve.emergence, low + 0.04 * span, "^", color="black", ms=3, label="emergence")
    ax.set_title(curve.name, fontsize=6.5)
    ax.set_ylim(low, 1 + 0.04 * span)
    margin = 0.06 * max(float(np.ptp(x)), 1)
    ax.set_xlim(x.min() - margin, x.max() + margin)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.tick_params(labelsize=5.5)


def _scores(ax: "Axes", curve: Curve) -> None:
    """Draw the probe, on top."""
    value, low, high = np.array(curve.scores, dtype=float).T
    x, filled = np.array(curve.layers), np.array(curve.decodable)
    ax.fill_between(x, low, high, color=colour(0), alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour(0), label="probe")
    ax.plot(x[filled], value[filled], "o", color=colour(0), markersize=2.6)
    ax.plot(x[~filled], value[~filled], "o", mfc="white", mec=colour(0), mew=0.6, markersize=2.6)


def _legend(figure: "Figure", axes: Sequence["Axes"]) -> None:
    """Name every kind of line once, above the panels."""
    lines: dict[str, Artist] = {}
    for ax in axes:
        for line, name in zip(*ax.get_legend_handles_labels(), strict=True):
            lines.setdefault(name, line)
    columns = min(len(lines), 3 * math.ceil(figure.get_figwidth() / 2.1))
    figure.legend(
        lines.values(),
        lines,
        loc="outside upper center",
        ncols=columns,
        fontsize=6,
        handlelength=2.4,
    )
