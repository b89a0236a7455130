"""Scores over the layers, or over another number: series with intervals, baseline and chance.

The baseline is drawn as a grey band (its range) under the curves; a curve is above it where its own
band is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, PALE, Array, colour, figure_of, name_end, panels, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Series:
    """One curve: values over the layers, with bounds, and the bounds of its baseline."""

    name: str
    layers: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    baseline: Sequence[Sequence[float]] | None = None  # (n_layers, 3): value, low, high
    chance: float | None = None


@dataclass(frozen=True)
class Panel:
    """Curves of the same quantity."""

    ylabel: str
    series: Sequence[Series]
    ylim: tuple[float, float] = (0.0, 1.0)
    threshold: float | None = None
    baseline_name: str = "shuffled labels"


def curves(drawings: Sequence[Panel], *, xlabel: str = "Layer") -> "Figure":
    """Draw the panels side by side."""
    with panels(len(drawings)) as axes:
        for ax, drawing in zip(axes, drawings, strict=True):
            _draw(ax, drawing, xlabel)
        return figure_of(axes)


def _draw(ax: "Axes", drawing: Panel, xlabel: str) -> None:
    labels: list[tuple[float, str, str]] = []
    _baseline(ax, drawing, labels)
    for i, series in enumerate(drawing.series):
        ax.fill_between(
            series.layers, series.low, series.high, color=colour(i), alpha=0.18, linewidth=0
        )
        ax.plot(series.layers, series.value, color=colour(i), marker="o", markersize=2.6)
        labels.append((series.value[-1], series.name, colour(i)))
    _chances(ax, drawing, labels)
    _finish(ax, drawing, xlabel)
    if drawing.threshold is not None:
        ax.axhline(drawing.threshold, color=GREY, linewidth=0.7, linestyle=(0, (5, 3)))
        labels.append((drawing.threshold, f"threshold {drawing.threshold:g}", GREY))
    _end_labels(ax, labels)


def _baseline(ax: "Axes", drawing: Panel, labels: list[tuple[float, str, str]]) -> None:
    """Draw the baselines, of all series in the same grey, with one label."""
    ends = []
    for series in drawing.series:
        if series.baseline is not None:
            value, low, high = np.array(series.baseline, dtype=float).T
            ax.fill_between(series.layers, low, high, color=PALE, alpha=0.6, linewidth=0)
            ax.plot(series.layers, value, color=GREY, linewidth=0.8)
            ends.append(value[-1])
    if ends:
        labels.append((float(np.mean(ends)), drawing.baseline_name, GREY))


def _chances(ax: "Axes", drawing: Panel, labels: list[tuple[float, str, str]]) -> None:
    """Draw the chance levels: one in grey, or each in the colour of its series."""
    levels = {s.chance: i for i, s in enumerate(drawing.series) if s.chance is not None}
    for level, i in levels.items():
        ink = colour(i) if len(levels) > 1 else GREY
        ax.axhline(level, color=ink, linewidth=0.8, linestyle=(0, (1, 2)))
        if all(s.baseline is None for s in drawing.series):  # else the baseline shows it
            labels.append((level, f"chance {level:.2g}", ink))


def _finish(ax: "Axes", drawing: Panel, xlabel: str) -> None:
    layers = sorted({layer for series in drawing.series for layer in series.layers})
    ax.set(xlabel=xlabel, ylabel=drawing.ylabel)
    low, high = drawing.ylim
    ax.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    margin = 0.04 * max(layers[-1] - layers[0], 1)
    ax.set_xlim(layers[0] - margin, layers[-1] + margin)
    if len(layers) <= 12:
        ax.set_xticks(layers)
    else:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _end_labels(ax: "Axes", labels: Sequence[tuple[float, str, str]]) -> None:
    """Name each line to the right of where it ends."""
    low, high = ax.get_ylim()
    gap = 0.075 * (high - low)
    inside = (low + gap / 2, high - gap / 2)
    heights = spread([value for value, _, _ in labels], gap, inside)
    for (_, name, ink), y in zip(labels, heights, strict=True):
        name_end(ax, name, y, ink)


def limits(series: Sequence[Series], *, floor: float) -> tuple[float, float]:
    """Return y limits up to 1 that hold every band, starting at ``floor`` or lower."""
    lows: list[Array] = [np.array(s.low, dtype=float) for s in series]
    lows += [np.array(s.baseline, dtype=float)[:, 1] for s in series if s.baseline is not None]
    return max(0.0, min(floor, float(np.floor(min(low.min() for low in lows) * 10) / 10))), 1.0
