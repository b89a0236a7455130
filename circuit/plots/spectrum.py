"""Variance of the principal components of a layer: each, cumulative, with 90 and 95 % points."""

from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, Array, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def cumulative(ax: "Axes", spectrum: Array, *, crossings: dict[float, int]) -> None:
    """Draw ``spectrum`` (r,), its cumulative sum, and the ``crossings`` {share: components}."""
    x = np.arange(1, len(spectrum) + 1)
    total = 100 * np.cumsum(spectrum)
    ax.plot(x, total, color=colour(0))
    ax.plot(x, 100 * spectrum, color=colour(5), linewidth=0.9)
    at = min(int(np.searchsorted(total, 70)), len(x) - 1) if len(x) else 0
    if len(x) > 2:
        _name(ax, "cumulative", (x[at], total[at]), colour(0), -8)
        _name(ax, "each", (x[1], 100 * spectrum[1]), colour(5), 2)
    for share, components in crossings.items():
        _mark(ax, share, components)
    ax.set_xscale("log")
    ax.set(xlabel="Principal component", ylabel="Variance (%)", ylim=(0, 102))
    ax.set_xlim(0.8, max(len(spectrum), 2) * 1.05)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _mark(ax: "Axes", share: float, components: int) -> None:
    ax.plot([components, components], [0, 100 * share], color=GREY, linewidth=0.6, ls=(0, (5, 3)))
    ax.plot(components, 100 * share, "o", color=colour(1), markersize=3)
    ax.annotate(
        f"{share:.0%} in {components}",
        (components, 100 * share),
        xytext=(-4, 1),
        textcoords="offset points",
        ha="right",
        fontsize=6.5,
        color=colour(1),
    )


def _name(ax: "Axes", name: str, at: tuple[float, float], ink: str, up: float) -> None:
    """Name a curve to the right of one of its points."""
    ax.annotate(name, at, xytext=(5, up), textcoords="offset points", fontsize=6.5, color=ink)
