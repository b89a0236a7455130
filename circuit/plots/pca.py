"""A layer: its rows on the first two principal components, next to the whole spectrum."""

from typing import TYPE_CHECKING

from circuit.plots.scatter import Classes, points
from circuit.plots.spectrum import cumulative
from circuit.plots.style import Array, figure_of, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pca(
    coordinates: Array,
    shares: tuple[float, float],
    classes: Classes,
    spectrum: Array,
    crossings: dict[float, int],
) -> "Figure":
    """Draw ``coordinates`` (n, 2), with their ``shares`` of the variance, and ``spectrum`` (r,)."""
    with panels(2, height=2.6) as axes:
        points(axes[0], coordinates, classes)
        axes[0].set(xlabel=f"PC 1 ({shares[0]:.1%})", ylabel=f"PC 2 ({shares[1]:.1%})")
        cumulative(axes[1], spectrum, crossings=crossings)
        return figure_of(axes)
