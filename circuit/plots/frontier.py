"""Effect against damage: the change of the read-out, and the change of unrelated text.

One point per dose of the direction, joined in the order of the doses on each side of 0, labelled
with the dose; controls are points at dose 1. Right and low is an effect without damage, left and
high is the region of random vectors. The damage is on a square-root scale, because for small doses
the effect grows with c and the divergence with c².
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, Array, colour, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = {"random": GREY, "shuffled": colour(4)}
MARKS = {"random": "x", "shuffled": "^"}


@dataclass(frozen=True, eq=False)
class Points:
    """Effect and damage of the direction at its doses, and of each kind of control (n, 2)."""

    doses: Array
    effect: Array
    damage: Array
    controls: dict[str, Array]
    xlabel: str
    ylabel: str


def frontier(drawings: Sequence[Points]) -> "Figure":
    """Draw one panel for each kind of damage."""
    with panels(len(drawings)) as axes:
        for ax, points in zip(axes, drawings, strict=True):
            _draw(ax, points)
        return figure_of(axes)


def _draw(ax: "Axes", points: Points) -> None:
    for kind, values in points.controls.items():
        if len(values):
            ax.scatter(
                values[:, 0],
                _root(values[:, 1]),
                marker=MARKS[kind],
                s=12,
                color=INKS[kind],
                linewidths=0.7,
                alpha=0.8,
                label=f"{kind}, dose 1",
            )
    order = np.argsort(points.doses)
    effect, damage = points.effect[order], _root(points.damage[order])
    ax.plot(effect, damage, color=colour(0), marker="o", markersize=3, label="direction")
    for dose, x, y in zip(points.doses[order], effect, damage, strict=True):
        side = -1 if dose < 0 else 1
        ax.annotate(
            f"{dose:+g}" if dose else "0",
            (x, y),
            xytext=(4 * side, -2 - 5 * (dose < 0)),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            fontsize=5.5,
            color=colour(0),
        )
    ax.axvline(0, color=GREY, linewidth=0.4)
    ax.set(xlabel=points.xlabel, ylabel=points.ylabel)
    _ticks(ax)
    ax.margins(x=0.12, y=0.1)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handletextpad=0.3, borderpad=0.2)


def _root(values: Array) -> Array:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def _ticks(ax: "Axes") -> None:
    """Label the root scale with the damage itself."""
    low, high = ax.get_ylim()
    steps = [0, 0.01, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20]
    both = sorted({*steps, *(-s for s in steps if s > 0.01)})
    shown = [s for s in both if low <= float(_root(np.array(s))) <= high]
    ax.set_yticks([float(_root(np.array(s))) for s in shown], [f"{s:g}" for s in shown])
