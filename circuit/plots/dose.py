"""Dose and response: the read-out against the dose, compared with control vectors of the same size.

The direction is the thick line, with the band of the 95 % interval of its change. Single prompts
are thin lines where the read-out is not binary. Random directions and those fitted to shuffled
labels are bands from their lowest to their highest curve. A dashed line is the prompt-only
baseline. Several panels share the axis of doses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from circuit.plots.style import GREY, Array, colour, figure_of, grid, name_end, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTION, RANDOM, SHUFFLED, PROMPTED = colour(0), GREY, colour(4), colour(1)
MAX_PROMPTS = 40  # drawn one by one


@dataclass(frozen=True, eq=False)
class Dose:
    """One sweep: doses (k,), mean read-out with bounds (k, 3), controls (n, k), prompts (n, k)."""

    name: str
    doses: Array
    curve: Array
    random: Array
    shuffled: Array
    prompts: Array | None = None
    prompted: float | None = None  # the prompt-only baseline
    note: str = ""


def dose_response(
    sweeps: Sequence[Dose], *, ylabel: str, columns: int = 3, height: float = 1.9
) -> Figure:
    """Draw one panel for each sweep; the first names the lines."""
    columns = min(columns, len(sweeps))
    width = 3.4 if columns == 1 else 2.3
    height = 2.5 if columns == 1 else height
    with grid(
        len(sweeps),
        columns=columns,
        width=width,
        height=height,
        xlabel="Dose (c / c*)",
        ylabel=ylabel,
    ) as axes:
        for ax, sweep in zip(axes, sweeps, strict=True):
            draw_dose(ax, sweep)
            if len(sweeps) == 1:
                _name_lines(ax, sweep)
        if len(sweeps) > 1:
            _legend(axes[0], sweeps)
        return figure_of(axes)


def draw_dose(ax: "Axes", sweep: Dose) -> None:
    """Draw one sweep."""
    x = sweep.doses
    if sweep.prompts is not None:
        rows = np.linspace(0, len(sweep.prompts) - 1, min(MAX_PROMPTS, len(sweep.prompts))).astype(
            int
        )
        for row in np.unique(rows):
            ax.plot(x, sweep.prompts[row], color=DIRECTION, linewidth=0.35, alpha=0.22)
    for curves, ink, hatch in ((sweep.random, RANDOM, None), (sweep.shuffled, SHUFFLED, "////")):
        if len(curves):
            low, high = curves.min(axis=0), curves.max(axis=0)
            ax.fill_between(x, low, high, facecolor=ink, alpha=0.25, linewidth=0)
            ax.fill_between(
                x, low, high, facecolor="none", edgecolor=ink, hatch=hatch, linewidth=0.5, alpha=0.8
            )
    value, low, high = sweep.curve.T
    ax.fill_between(x, low, high, color=DIRECTION, alpha=0.25, linewidth=0)
    ax.plot(x, value, color=DIRECTION, marker="o", markersize=2.6)
    if sweep.prompted is not None:
        ax.axhline(sweep.prompted, color=PROMPTED, linewidth=0.9, linestyle=(0, (4, 2)))
    ax.axvline(0, color=GREY, linewidth=0.4)
    ax.set_title(sweep.name + (f"\n{sweep.note}" if sweep.note else ""), fontsize=6.5)
    ax.set_xlim(x[0] - 0.05, x[-1] + 0.05)


def _lines(sweep: Dose) -> list[tuple[float, str, str]]:
    """Return where each line ends, its name and its colour."""
    ends = [(float(sweep.curve[-1, 0]), "direction", DIRECTION)]
    if len(sweep.random):
        ends.append((float(sweep.random[:, -1].mean()), f"{len(sweep.random)} random", RANDOM))
    if len(sweep.shuffled):
        count = len(sweep.shuffled)
        ends.append((float(sweep.shuffled[:, -1].mean()), f"{count} shuffled", SHUFFLED))
    if sweep.prompted is not None:
        ends.append((sweep.prompted, "prompt only", PROMPTED))
    return ends


def _name_lines(ax: "Axes", sweep: Dose) -> None:
    ends = _lines(sweep)
    low, high = ax.get_ylim()
    for (_, name, ink), y in zip(
        ends, spread([end[0] for end in ends], 0.08 * (high - low)), strict=True
    ):
        name_end(ax, name, y, ink)


def _legend(ax: "Axes", sweeps: Sequence[Dose]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [Line2D([], [], color=DIRECTION, marker="o", markersize=2.6)]
    labels = ["direction, 95 % interval"]
    if any(len(sweep.random) for sweep in sweeps):
        handles.append(Patch(facecolor=RANDOM, alpha=0.3))
        labels.append("random directions, range")
    if any(len(sweep.shuffled) for sweep in sweeps):
        handles.append(Patch(facecolor=SHUFFLED, alpha=0.4, hatch="////", edgecolor=SHUFFLED))
        labels.append("shuffled labels, range")
    if any(sweep.prompted is not None for sweep in sweeps):
        handles.append(Line2D([], [], color=PROMPTED, linestyle=(0, (4, 2))))
        labels.append("prompt only")
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=len(labels), fontsize=6.5, handlelength=1.8
    )
