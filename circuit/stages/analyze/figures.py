"""The figures of an analysis: layouts of a layer, probe scores along the layers, similarities.

Each is a call of a file in ``circuit.plots``, with a caption and the numbers that are drawn;
nothing is estimated here.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import plain
from circuit.plots.curve import Panel, Series, curves, limits
from circuit.plots.heatmap import heatmap
from circuit.plots.pca import pca
from circuit.plots.scatter import Classes, scatter
from circuit.plots.style import png
from circuit.present.document import Figure
from circuit.stages.analyze.results import (
    AnalysisResult,
    ComparedLayer,
    Labelling,
    LayerEntry,
    LayerSimilarity,
    Layout,
    SiteSimilarity,
)
from circuit.values.intervals import Interval

UNBIASED = (
    "unbiased HSIC estimate: 0 in the mean for unrelated ones, 1 for equal ones up to rotation and "
    "scale"
)
# Which probe is read at which rows, with its name in figures and tables.
ACROSS = {"a_to_a": "a read by a", "b_to_b": "b read by b", "a_to_b": "b read by a"}


def pca_figure(activations: Activations, entry: LayerEntry) -> Figure:
    """Draw the rows of a layer on its first two components, by label, and the spectrum."""
    shape, shares = entry.geometry, entry.pca.variance
    caption = (
        f"{entry.where}. a: prompts on the first two principal components, which hold "
        f"{shares[0]:.1%} and {shares[1]:.1%} of the variance. b: variance of each component "
        f"(pale) and cumulated; {shape.dim_90} components hold 90 %, {shape.dim_95} hold 95 %, of "
        f"at most {shape.max_dim}."
    )
    return Figure(
        name=f"pca_layer{entry.layer}",
        png=lambda: png(
            pca(
                np.array(entry.pca.coordinates),
                (shares[0], shares[1]),
                label_classes(activations),
                np.array(shape.spectrum),
                {0.90: shape.dim_90, 0.95: shape.dim_95},
            )
        ),
        caption=caption,
        numbers={**_points(activations, entry.pca), "spectrum": shape.spectrum},
    )


def umap_figure(activations: Activations, entry: LayerEntry) -> Figure:
    """Draw the rows of a layer as UMAP lays them out, by label and by category."""
    layout = entry.umap
    assert layout is not None
    colourings = [label_classes(activations)]
    if any(prompt.category for prompt in activations.prompts):
        colourings.append(category_classes(activations))
    made = layout.parameters
    several = " (a) and by category (b)" if len(colourings) > 1 else ""
    caption = (
        f"{entry.where}. Prompts laid out by UMAP (n_neighbors {made['n_neighbors']}, min_dist "
        f"{made['min_dist']}, seed {made['seed']}), by label{several}. Neighbourhoods are kept; "
        "distances between clusters and their sizes mean nothing."
    )
    return Figure(
        name=f"umap_layer{entry.layer}",
        png=lambda: png(
            scatter(
                np.array(layout.coordinates),
                colourings,
                xlabel="UMAP 1",
                ylabel="UMAP 2",
                ticks=False,
            )
        ),
        caption=caption,
        numbers=_points(activations, layout),
    )


def probe_figure(
    labellings: Mapping[str, Labelling], entries: Sequence[LayerEntry], threshold: float
) -> Figure:
    """Draw held-out scores of the probes along the layers, over shuffled labels and chance."""
    layers = [entry.layer for entry in entries]
    probes = {name: [entry.probes[name] for entry in entries] for name in labellings}
    aurocs = [
        series(
            name,
            layers,
            [each.auroc for each in found],
            chance=0.5,
            baseline=[each.shuffled for each in found],
        )
        for name, found in probes.items()
    ]
    balanced = [
        series(
            name,
            layers,
            [each.balanced_accuracy for each in found],
            chance=found[0].chance_balanced_accuracy,
        )
        for name, found in probes.items()
    ]
    sizes = "; ".join(f"{k}: {v.size}" for k, v in labellings.items())
    caption = (
        f"{entries[0].site} at the {entries[0].position} position. Logistic probes on held-out "
        f"groups of prompts with 95 % cluster-bootstrap intervals ({sizes}). a: AUROC (macro, one "
        "against rest); grey: the same on shuffled labels, mean and 95 % range. b: balanced "
        "accuracy and its chance level."
    )
    panels = [
        Panel("Held-out AUROC", aurocs, limits(aurocs, floor=0.4), threshold),
        Panel("Held-out balanced accuracy", balanced, limits(balanced, floor=0.0)),
    ]
    numbers = {
        name: [{"layer": k, **plain(each)} for k, each in zip(layers, found, strict=True)]
        for name, found in probes.items()
    }
    return Figure(
        name="probe_accuracy",
        png=lambda: png(curves(panels)),
        caption=caption,
        numbers={"probes": numbers},
    )


def similarity_figure(similarity: LayerSimilarity) -> Figure:
    """Draw the CKA between the layers of one site."""
    names = [str(layer) for layer in similarity.layers]
    # None, where all rows are equal, is NaN.
    matrix = np.array(similarity.cka, dtype=float)
    return Figure(
        name="layer_similarity",
        png=lambda: png(
            heatmap(matrix, names, label="Linear CKA (unbiased)", axis="Layer", scale="share")
        ),
        caption=(
            f"Linear CKA between the layers of {similarity.site} at the {similarity.position} "
            f"position, {UNBIASED}."
        ),
        numbers=plain(similarity),
    )


def sites_figure(found: SiteSimilarity) -> Figure:
    """Draw the CKA between all sites and layers of one position."""
    matrix = np.array(found.cka, dtype=float)
    return Figure(
        name=f"site_similarity_{found.position}",
        png=lambda: png(heatmap(matrix, found.names, label="Linear CKA (unbiased)", scale="share")),
        caption=(
            f"Linear CKA between all sites and layers at the {found.position} position, "
            f"{UNBIASED}; white without a number: all rows are equal there."
        ),
        numbers=plain(found),
    )


def comparison_figure(entries: Sequence[ComparedLayer]) -> Figure:
    """Draw the movement along the layers, and the probes of one model on the rows of both."""
    first, layers = entries[0], [entry.layer for entry in entries]
    moved = series("moved", layers, [entry.moved for entry in entries if entry.moved])
    panels = [Panel("Distance moved / length", [moved], (0.0, max(moved.high) or 1.0))]
    for name in first.probes or {}:
        found = [
            series(
                title,
                layers,
                [getattr((entry.probes or {})[name], key) for entry in entries],
                chance=0.5,
            )
            for key, title in ACROSS.items()
        ]
        panels.append(Panel(f"Held-out AUROC of {name}", found, limits(found, floor=0.4)))
    return Figure(
        name=f"comparison_{first.site}",
        png=lambda: png(curves(panels)),
        caption=(
            f"{first.site} at the {first.position} position. a: mean distance that a prompt's row "
            "moved from model a to model b, over its length. Then the held-out AUROC of probes: "
            "a's on a, b's on b, and a's on b. Bands: 95 % cluster-bootstrap intervals."
        ),
        numbers={"layers": plain(entries)},
    )


def analysis_figures(result: AnalysisResult) -> list[Figure]:
    """Return the figures of an analysis that need no activations."""
    drawn = []
    for place in result.sites_and_positions():
        entries = result.entries_at(*place)
        if len(entries) > 1 and result.questions:
            drawn.append(probe_figure(result.questions, entries, result.curves[0].threshold))
    drawn += [similarity_figure(each) for each in result.similarity if each.cka]
    return drawn + [sites_figure(each) for each in result.places]


def comparison_figures(entries: Sequence[ComparedLayer]) -> list[Figure]:
    """Return a figure for each place of several layers whose rows have one width."""
    drawn = []
    for place in dict.fromkeys(entry.place for entry in entries):
        here = [entry for entry in entries if entry.place == place]
        if len(here) > 1 and all(entry.moved is not None for entry in here):
            drawn.append(comparison_figure(here))
    return drawn


def label_classes(activations: Activations) -> Classes:
    """Colour by label."""
    values = [prompt.label for prompt in activations.prompts]
    return _classes(values, [name for name in activations.labels if name in values], "no label")


def category_classes(activations: Activations) -> Classes:
    """Colour by category."""
    values = [prompt.category for prompt in activations.prompts]
    found = list(dict.fromkeys(value for value in values if value is not None))
    return _classes(values, found, "no category")


def _classes(values: Sequence[str | None], names: list[str], missing: str) -> Classes:
    numbers = np.array([names.index(value) if value in names else -1 for value in values])
    return Classes(names, numbers, missing=missing)


def _points(activations: Activations, layout: Layout) -> dict[str, object]:
    prompts = activations.prompts
    return {
        "coordinates": layout.coordinates,
        "parameters": layout.parameters,
        "labels": [prompt.label for prompt in prompts],
        "categories": [prompt.category for prompt in prompts],
    }


def series(
    name: str,
    layers: Sequence[int],
    values: Sequence[Interval],
    *,
    chance: float | None = None,
    baseline: Sequence[Interval] | None = None,
) -> Series:
    """Make a curve with its band of intervals along the layers."""
    value, low, high = (list(each) for each in zip(*values, strict=True))
    return Series(name, layers, value, low, high, baseline=baseline, chance=chance)
