"""Dose and response: the rate of answers that meet a criterion, against the steering strength.

A panel for each label: the direction in colour, with the band of its 95 % interval; random
directions of the same norm in grey, as their mean and range. A dot is filled where the direction is
shown to move the answers further than they do; at strength 0 nothing is steered, and all curves
meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.plots.style import GREY, PALE, colour, figure_of, grid, name_end, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2


@dataclass(frozen=True)
class Response:
    """Shares of one label's prompts, by coefficient."""

    name: str
    coefficients: Sequence[float]
    shares: Sequence[Sequence[float]]  # value, low, high
    random: Sequence[Sequence[float]]  # the share of each random direction; none: not run
    shown: Sequence[bool]  # moved further than random directions do


def rates(responses: Sequence[Response], *, ylabel: str) -> "Figure":
    """Draw one panel for each of ``responses``."""
    n = len(responses)
    labels = {"xlabel": "Coefficient", "ylabel": ylabel}
    with grid(n, columns=min(n, COLUMNS), width=3.0, height=2.2, **labels) as axes:
        for ax, response in zip(axes, responses, strict=True):
            _draw(ax, response)
            ax.set_title(response.name, fontsize=7)
        return figure_of(axes)


def _draw(ax: "Axes", response: Response) -> None:
    x = np.array(response.coefficients, dtype=float)
    value, low, high = np.array(response.shares, dtype=float).T
    ends = [(float(value[-1]), "direction", colour(0))]
    controls = _random(response, value)
    if controls is not None:
        mean, least, most = controls
        ax.fill_between(x, least, most, color=PALE, alpha=0.6, linewidth=0)
        ax.plot(x, mean, color=GREY, linewidth=0.9)
        ends.append((float(mean[-1]), "random", GREY))
    ax.fill_between(x, low, high, color=colour(0), alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour(0))
    filled = np.array(response.shown, dtype=bool)
    ax.plot(x[filled], value[filled], "o", color=colour(0), markersize=3)
    ax.plot(x[~filled], value[~filled], "o", mfc="white", mec=colour(0), mew=0.7, markersize=3)
    ax.axvline(0, color=PALE, linewidth=0.7, zorder=0)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xticks(x, [f"{c:+g}" if c else "0" for c in x])
    ax.tick_params(axis="x", labelrotation=45 if len(x) > 9 else 0)
    for (_, name, ink), y in zip(ends, spread([end[0] for end in ends], 0.08), strict=True):
        name_end(ax, name, y, ink)


def _random(response: Response, value: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Return mean, minimum, maximum of the random directions; the unsteered rate at strength 0."""
    if not any(len(shares) for shares in response.random):
        return None
    known = [list(r) or [v] for r, v in zip(response.random, value.tolist(), strict=True)]
    return tuple(np.array([f(r) for r in known]) for f in (np.mean, np.min, np.max))
