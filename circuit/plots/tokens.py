"""A number for every token of a text, one line per condition; the tokens label the x axis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circuit.plots.style import COLUMN, HEIGHT, colour, figure_of, name_end, panels, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TOKENS = 60  # legible below the axis


def token_lines(
    tokens: Sequence[str], lines: Mapping[str, Sequence[float]], ylabel: str
) -> "Figure":
    """Draw one line per condition over ``tokens``, of which the first ``MAX_TOKENS`` are shown."""
    shown = [axis_label(token) for token in tokens[:MAX_TOKENS]]
    width = max(COLUMN, 0.13 * len(shown) + 1)
    with panels(width=width, height=HEIGHT) as axes:
        (ax,) = axes
        ends = []
        for i, (name, values) in enumerate(lines.items()):
            drawn = values[:MAX_TOKENS]
            ax.plot(range(len(drawn)), drawn, color=colour(i), marker="o", markersize=2.2)
            ends.append((drawn[-1] if drawn else 0.0, name, colour(i)))
        ax.set_xticks(range(len(shown)), shown, rotation=90, fontsize=5.5)
        ax.set(ylabel=ylabel)
        low, high = ax.get_ylim()
        places = spread([value for value, _, _ in ends], 0.075 * (high - low))
        for (_, name, ink), y in zip(ends, places, strict=True):
            name_end(ax, name, y, ink)
        return figure_of(axes)


def axis_label(token: str) -> str:
    """Return a token as an axis can show it: whitespace visible, mathematics off."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("$", r"\$") or "∅"
