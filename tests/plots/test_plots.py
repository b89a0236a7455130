"""Figures are drawn from arrays, are repeatable, leave no global state, and survive odd sizes."""

import struct
import sys

import matplotlib as mpl
import numpy as np
import pytest
from errors import raises
from in_process import invoke

from circuit.errors import UsageError
from circuit.plots import style
from circuit.plots.cells import Cells, Scale, cells
from circuit.plots.curve import Panel, Series, curves, limits
from circuit.plots.heatmap import heatmap
from circuit.plots.histogram import histogram
from circuit.plots.multiples import Curve, multiples
from circuit.plots.pca import pca
from circuit.plots.rates import Response, rates
from circuit.plots.scatter import Classes, scatter
from circuit.plots.stratigraphy import Row, stratigraphy
from circuit.stages.figures.picture_files import write_picture

RNG = np.random.default_rng(0)
POINTS, CLASSES = RNG.normal(size=(60, 2)), RNG.integers(-1, 2, 60)


def a_curve(n_layers=6):
    value = np.linspace(0.5, 0.9, n_layers)
    series = Series(
        "label",
        list(range(n_layers)),
        value.tolist(),
        (value - 0.1).tolist(),
        (value + 0.1).tolist(),
        [[0.5, 0.4, 0.6]] * n_layers,
        0.5,
    )
    return curves([Panel("Held-out AUROC", [series], limits([series], floor=0.4), 0.75)])


def a_scatter(n_classes=2):
    numbers = RNG.integers(-1, n_classes, len(POINTS))
    names = [f"class {i}" for i in range(n_classes)]
    return scatter(POINTS, [Classes(names, numbers)], xlabel="UMAP 1", ylabel="UMAP 2", ticks=False)


def a_histogram():
    scores = [RNG.normal(size=30), RNG.normal(2, 1, 40)]
    return histogram(scores, ["no", "yes"], xlabel="Held-out projection (standard deviations)")


def a_pca():
    spectrum = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
    classes = Classes(["no", "yes"], CLASSES)
    return pca(POINTS, (0.5, 0.3), classes, spectrum, {0.9: 3, 0.95: 4})


def a_heatmap(k=4):
    V = RNG.normal(size=(k, 32))
    return heatmap(np.corrcoef(V), [f"direction {i}" for i in range(k)], label="Cosine", note="x")


def a_transfer():
    matrix = np.array([[0.9, 0.4, 0.1], [np.nan, 1.0, 0.5], [0.2, 0.6, 0.8]])
    return heatmap(matrix, ["weather", "email", "timer"], label="AUROC", note="x", scale="auroc")


def a_stratigraphy(n_layers=6):
    layers = list(range(n_layers))
    rows = [
        Row(
            name=f"probe {k}",
            stratum="syntactic" if k < 3 else "semantic",
            baselines=[0.5, 0.6, None, 0.7],
            layers=np.linspace(0.4, 1, n_layers).tolist(),
            decodable=[layer > k for layer in layers],
            emergence=k if 0 < k < n_layers else None,
            interval=(max(k - 1, 0), None if k == 4 else min(k + 1, n_layers - 1)),
            verdict="selective" if k else "not decodable",
        )
        for k in range(5)
    ]
    return stratigraphy(rows, ["words", "surface", "embed", "random"], layers)


def some_multiples(n=5):
    layers = list(range(6))
    scores = [[v, v - 0.1, min(v + 0.1, 1)] for v in np.linspace(0.5, 0.95, 6)]
    flat = [[0.5, 0.4, 0.6]] * 6
    found = [
        Curve(
            f"probe {k}",
            layers,
            scores,
            [layer > 2 for layer in layers],
            random=flat if k else None,
            control=flat if k else None,
            baselines={"words": flat[0], "embed": [0.6, 0.5, 0.7]},
            emergence=3 if k else None,
        )
        for k in range(n)
    ]
    return multiples(found, threshold=0.75)


def some_rates(n_labels=2, coefficients=(-1, -0.5, 0, 0.5, 1), *, random=True):
    shares = [[v, max(v - 0.1, 0), min(v + 0.1, 1)] for v in np.linspace(0, 1, len(coefficients))]
    beside = [[0.4, 0.5, 0.6] if random and c else [] for c in coefficients]
    shown = [c > 0 for c in coefficients]
    found = [Response(f"label {k}", coefficients, shares, beside, shown) for k in range(n_labels)]
    return rates(found, ylabel="Answers that meet function_call")


FIGURES = [
    some_rates,
    a_transfer,
    a_stratigraphy,
    a_curve,
    a_scatter,
    a_histogram,
    a_pca,
    a_heatmap,
]


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_png_of_200_dpi_at_column_width(figure):
    drawn = figure()
    image = style.png(drawn)
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert (width, height) == tuple((drawn.get_size_inches() * 200).round().astype(int))
    assert width / 200 <= 7.2


@pytest.mark.parametrize("figure", [a_curve, a_pca])
def test_axes_have_labels(figure):
    for ax in figure().axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()


def test_equal_arrays_give_equal_bytes():
    assert style.png(a_curve()) == style.png(a_curve())


def test_no_global_state():
    before = dict(mpl.rcParams)
    style.png(a_heatmap())
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("n_layers", [1, 2, 40])
def test_curves_of_any_length(n_layers):
    assert style.png(a_curve(n_layers))


@pytest.mark.parametrize("n_classes", [1, 12, 30])
def test_many_classes_differ_in_colour_or_marker(n_classes):
    assert len({(style.colour(i), style.marker(i)) for i in range(n_classes)}) == n_classes
    assert style.png(a_scatter(n_classes))


@pytest.mark.parametrize("k", [1, 30])
def test_matrices_of_any_size(k):
    assert style.png(a_heatmap(k) if k > 1 else heatmap(np.eye(1), ["one"], label="Cosine"))


def test_bands_are_inside_the_axes():
    series = Series("x", [0, 1], [0.1, 0.9], [0.05, 0.8], [0.2, 1.0])
    assert limits([series], floor=0.4) == (0.0, 1.0)


def test_labels_are_spread_without_changing_their_order():
    placed = style.spread([0.5, 0.5, 0.9, 0.51], 0.1)
    order = np.argsort(placed)
    assert np.diff(np.array(placed)[order]).min() >= 0.0999
    assert placed[2] == max(placed)
    assert placed[3] > placed[1]


def test_labels_stay_within_the_axes():
    placed = style.spread([0.0, 0.0, 0.01, 1.0], 0.075, (0.02, 0.98))
    assert min(placed) == pytest.approx(0.02)
    assert max(placed) == pytest.approx(0.98)
    assert np.diff(sorted(placed)).min() >= 0.075 - 1e-9
    assert style.spread([0.5, 0.8], 0.1, (0.0, 1.0)) == [0.5, 0.8]


def drawn_cells(scale, *sizes):
    panels = [Cells("x", np.full((3, 4), size), list("abc"), list("abcd")) for size in sizes]
    return cells(panels, scale, across=2)


def test_scales_of_colour_hold_the_numbers():
    """One scale, or one each; small numbers are not white where no full effect is asked for."""
    ends = {
        "one": [
            image.norm.vmax for ax in drawn_cells(Scale("x"), 0.1, 2.0).axes for image in ax.images
        ],
        "own": [
            image.norm.vmax
            for ax in drawn_cells(Scale("", signed=False, least=0, own=True), 0.1, 0.4).axes
            for image in ax.images
        ],
    }
    assert ends == {"one": [2.0, 2.0], "own": [0.1, 0.4]}
    assert Scale("x", least=0).end([Cells("x", np.zeros((1, 1)), ["a"], ["b"])]) == 1
    assert Scale("x").end([Cells("x", np.array([[np.nan, 0.2]]), ["a"], ["b", "c"])]) == 1


def test_the_label_of_a_bar_is_inside_the_picture():
    figure = drawn_cells(Scale("estimated share of the logit difference"), 0.1)
    figure.canvas.draw()
    label = figure.axes[-1].yaxis.label.get_window_extent()
    assert label.y0 >= 0
    assert label.y1 <= figure.bbox.height


def test_constant_scores_can_be_drawn():
    figure = histogram([np.zeros(5), np.zeros(4)], ["a", "b"], xlabel="x")
    assert style.png(figure)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_panel_for_each_probe(n):
    drawn = some_multiples(n)
    panels = [ax for ax in drawn.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in panels] == [f"probe {k}" for k in range(n)]
    assert style.png(drawn) == style.png(some_multiples(n))


@pytest.mark.parametrize("n_layers", [1, 6, 48])
def test_a_stratigraphy_of_any_depth(n_layers):
    drawn = a_stratigraphy(n_layers)
    ax = drawn.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"probe {k}" for k in range(5)]
    cells = [p for p in ax.patches if p.get_width() < 1]
    assert len(cells) == 5 * (3 + n_layers)
    assert drawn.get_size_inches()[0] <= 12


@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_a_response_for_each_label(n_labels):
    drawn = some_rates(n_labels)
    panels = [ax for ax in drawn.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in panels] == [f"label {k}" for k in range(n_labels)]
    assert drawn.get_size_inches()[0] <= 7.2
    for ax in panels:
        assert {text.get_text() for text in ax.texts} == {"direction", "random"}


def test_a_response_without_random_directions_and_at_one_strength():
    for drawn in (some_rates(1, random=False), some_rates(1, (1.0,)), some_rates(1, (0.0,))):
        assert style.png(drawn)
    texts = [text.get_text() for text in some_rates(1, random=False).axes[0].texts]
    assert texts == ["direction"]


def test_panels_share_one_legend_and_a_scale_that_cuts_no_band():
    low = [[0.3, 0.12, 0.5]] * 2
    made = [Curve(name, [0, 1], low, [False, False], baselines={"words": low[0]}) for name in "ab"]
    drawn = multiples(made, threshold=0.75)
    (legend,) = drawn.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["chance", "threshold 0.75", "words", "probe"]
    assert [ax.get_ylim()[0] for ax in drawn.axes] == [0.1, 0.1]
    assert not any(ax.texts for ax in drawn.axes)


@pytest.mark.parametrize(
    ("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")]
)
def test_the_suffix_sets_the_format_and_files_are_undated(tmp_path, suffix, start):
    path = tmp_path / f"picture.{suffix}"
    written = []
    for _ in range(2):
        write_picture(path, a_curve(), force=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith(start)
    assert b"Date" not in written[0]


def test_another_suffix_is_refused_while_the_command_line_is_read(tmp_path):
    """No model is looked for: there is none of that name."""
    with raises(UsageError, "not-a-picture-name"):
        write_picture(tmp_path / "picture.jpg", None)
    line = ["introspect", "attribute", "-m", "nothing", "-p", "a", "--plot", "new.jpg"]
    done = invoke(line)
    assert isinstance(done.error, UsageError)
