"""A battery of probes in one picture: scores by layer, baselines, and emergence layers.

One row for each probe, grouped by stratum. Left the baselines (text, embedding, random weights),
right the layers; the colour of a cell is its AUROC from ½ (white) up, below ½ in grey, and a dot
marks where it is decodable. A black line under the cells spans 90 % of the resampled emergence
layers, with a triangle at the emergence layer, and an arrow where the interval includes "never"; a
row without one states its verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, INK, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

GAP = 0.6  # between baselines and layers, and between strata, in cells
BELOW, CHANCE, ABOVE = "#BDBDBD", "#FFFFFF", "#0B4F8A"


@dataclass(frozen=True)
class Row:
    """One probe: its scores, and where it emerges (an index into the layers)."""

    name: str
    stratum: str
    baselines: Sequence[float | None]
    layers: Sequence[float]
    decodable: Sequence[bool]
    emergence: int | None
    interval: tuple[int | None, int | None]
    verdict: str


def stratigraphy(rows: Sequence[Row], baselines: Sequence[str], layers: Sequence[int]) -> "Figure":
    """Draw ``rows`` in their order; rows of one stratum must be neighbours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    tops = _tops(rows)
    columns = len(baselines) + GAP + len(layers)
    width = float(np.clip(2.9 + 0.26 * columns, 4.2, 12.0))
    with panels(width=width, height=0.9 + 0.21 * (tops[-1] + 1)) as (ax,):
        colours = LinearSegmentedColormap.from_list("auroc", [BELOW, CHANCE, ABOVE])
        shade = ScalarMappable(Normalize(0, 1), colours)
        for row, y in zip(rows, tops, strict=True):
            _row(ax, row, y, len(baselines), shade)
        _strata(ax, rows, tops)
        _axes(ax, rows, tops, baselines, layers)
        bar = figure_of([ax]).colorbar(shade, ax=ax, shrink=0.55, aspect=22, pad=0.01)
        bar.set_label("Held-out AUROC")
        bar.outline.set_visible(False)
        return figure_of([ax])


def _tops(rows: Sequence[Row]) -> list[float]:
    """Return the y position of each row; strata are separated."""
    tops, y = [], 0.0
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        if before is not None and before.stratum != row.stratum:
            y += 1 + GAP
        elif before is not None:
            y += 1
        tops.append(y)
    return tops


def _row(ax: "Axes", row: Row, y: float, n_baselines: int, shade: "ScalarMappable") -> None:
    from matplotlib.patches import Rectangle

    first = n_baselines + GAP
    cells = [(float(k), value, False) for k, value in enumerate(row.baselines)]
    cells += [
        (first + k, value, star)
        for k, (value, star) in enumerate(zip(row.layers, row.decodable, strict=True))
    ]
    for x, value, star in cells:
        if value is None:
            continue
        ink = shade.to_rgba(np.array([value]))[0]
        ax.add_patch(
            Rectangle((x - 0.48, y - 0.45), 0.96, 0.8, facecolor=ink, edgecolor=GREY, lw=0.25)
        )
        if star:
            ax.plot(x, y - 0.05, "o", color="white", markeredgecolor=INK, mew=0.4, markersize=2.4)
    if row.emergence is None:
        ax.text(first + len(row.layers) - 0.3, y, row.verdict, va="center", fontsize=6, color=GREY)
        return
    last = len(row.layers) - 1
    low, high = (last if end is None else end for end in row.interval)
    ax.plot([first + low - 0.4, first + high + 0.4], [y + 0.41, y + 0.41], color=INK, linewidth=1.3)
    if row.interval[1] is None:
        ax.plot(first + last + 0.5, y + 0.41, ">", color=INK, markersize=3.2)
    ax.plot(first + row.emergence, y + 0.47, "^", color=INK, markersize=3.2)
    ax.text(first + len(row.layers) - 0.3, y, f"{row.verdict}", va="center", fontsize=6, color=INK)


def _strata(ax: "Axes", rows: Sequence[Row], tops: Sequence[float]) -> None:
    """Name each stratum above its first row."""
    seen: set[str] = set()
    for row, y in zip(rows, tops, strict=True):
        if row.stratum not in seen:
            seen.add(row.stratum)
            ax.text(
                -0.75,
                y - 0.62,
                row.stratum.upper(),
                fontsize=5.5,
                color=GREY,
                ha="right",
                va="center",
                fontweight="bold",
            )


def _axes(
    ax: "Axes",
    rows: Sequence[Row],
    tops: Sequence[float],
    baselines: Sequence[str],
    layers: Sequence[int],
) -> None:
    first = len(baselines) + GAP
    step = max(1, -(-len(layers) // 24))
    shown = range(0, len(layers), step)
    ax.set_xticks(
        [*range(len(baselines)), *(first + k for k in shown)],
        [*baselines, *(str(layers[k]) for k in shown)],
    )
    for label in ax.get_xticklabels()[: len(baselines)]:
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(list(tops), [row.name for row in rows])
    ax.set_xlim(-0.6, first + len(layers) + 2.6)
    ax.set_ylim(tops[-1] + 0.75, -1.1)
    ax.text(first + (len(layers) - 1) / 2, tops[-1] + 0.75, "", ha="center")
    ax.set_xlabel("Baselines, and layers of the model", x=0.4)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
