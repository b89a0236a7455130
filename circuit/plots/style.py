"""Size, type, colours of all figures, and their conversion to files.

A panel is 3.4 inches wide, the width of a column in two-column papers, with 7-point type. The
colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; beyond eight
classes the marker changes, too, so that a class is never identified by its colour alone. Lines are
labelled at their ends. Only the object interface of matplotlib is used: no global state, no window,
no slow import of pyplot.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414  (for writers of figures)

Array = NDArray[Any]

COLUMN, HEIGHT, DPI = 3.4, 2.5, 200
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C6D31",
)
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<")
GREY, PALE = "#6E6E6E", "#D0D0D0"
INK = "#222222"

_TYPE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.dpi": DPI,
}
_VECTORS: Any = {
    "svg.hashsalt": "circuit",  # else element ids are random
    "pdf.fonttype": 42,  # journals reject fonts of type 3
}
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of all figures, for a figure that makes its own axes."""
    from matplotlib import rc_context

    with rc_context(_TYPE):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def panels(n: int = 1, *, width: float = COLUMN, height: float = HEIGHT) -> Iterator[list["Axes"]]:
    """Give ``n`` axes side by side, in one new figure (``axes[0].figure``), to draw in."""
    with figure_style():
        figure = new_figure(width * n, height)
        axes = figure.subplots(1, n, squeeze=False)[0].tolist()
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
        if n > 1:
            for letter, ax in zip("abcdef", axes, strict=False):
                ax.set_title(letter, loc="left", fontweight="bold", x=-0.14)
        yield axes


@contextmanager
def grid(
    n: int,
    *,
    columns: int,
    width: float,
    height: float,
    xlabel: str = "Layer",
    ylabel: str = "Held-out AUROC",
) -> Iterator[list["Axes"]]:
    """Give ``n`` axes in rows of ``columns``, ``width`` × ``height`` inches each, shared labels."""
    rows = -(-n // columns)
    with figure_style():
        figure = new_figure(width * columns, height * rows + 0.2)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for ax in axes[:n]:
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes[n:]:
            ax.set_axis_off()
        figure.supxlabel(xlabel, fontsize=7)
        figure.supylabel(ylabel, fontsize=7)
        yield axes[:n]


def figure_of(axes: Sequence["Axes"]) -> "Figure":
    """Return the figure of ``axes``."""
    from matplotlib.figure import Figure

    figure = axes[0].figure
    assert isinstance(figure, Figure)
    return figure


def png(figure: "Figure") -> bytes:
    """Render at 200 dots per inch."""
    return render(figure, "png")


def render(figure: "Figure", form: str) -> bytes:
    """Render as ``png``, ``pdf`` or ``svg``; undated, so that equal figures give equal bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({**_TYPE, **_VECTORS}):
        figure.savefig(buffer, format=form, dpi=DPI, metadata=_UNDATED[form])
    return buffer.getvalue()


def colour(i: int) -> str:
    """Return the colour of class or series ``i``."""
    return COLOURS[i % len(COLOURS)]


def marker(i: int) -> str:
    """Return the marker of class ``i``: another one for each cycle of the colours."""
    return MARKERS[(i // len(COLOURS)) % len(MARKERS)]


def name_end(
    ax: "Axes", name: str, y: float, ink: str, *, distance: float = 4, fontsize: float = 6.5
) -> None:
    """Write ``name`` to the right of the axes at height ``y``, ``distance`` points away."""
    ax.annotate(
        name,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(distance, 0),
        textcoords="offset points",
        va="center",
        fontsize=fontsize,
        color=ink,
        annotation_clip=False,
    )


def spread(
    positions: Sequence[float], gap: float, within: tuple[float, float] | None = None
) -> list[float]:
    """Move labels apart along one axis by as little as possible, to distances of ``gap`` or more.

    All stay ``within`` two ends, if there is room for them.
    """
    order = np.argsort(positions, kind="stable")
    placed = np.array(positions, dtype=float)
    for _ in range(200):
        moved = False
        for a, b in pairwise(order):
            short = gap - (placed[b] - placed[a])
            if short > 1e-9:
                placed[a] -= short / 2
                placed[b] += short / 2
                moved = True
        if not moved:
            break
    if within is not None:
        steps = gap * np.arange(len(order))
        placed[order] = np.minimum(placed[order], within[1] - steps[::-1])
        placed[order] = np.maximum(placed[order], within[0] + steps)
    return [float(y) for y in placed]
