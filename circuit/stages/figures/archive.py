"""Figures of an archive: each a file name, a picture, and the numbers that were drawn.

Numbers come from the results of ``analyze`` and ``directions``; nothing is estimated here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.plots.curve import Panel, Series, curves, limits
from circuit.plots.heatmap import heatmap
from circuit.plots.histogram import histogram
from circuit.plots.pca import pca
from circuit.plots.scatter import Classes, scatter
from circuit.plots.style import png

Record = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, and what it shows."""

    name: str
    image: bytes
    caption: str
    numbers: Record


def pca_picture(activations: Activations, entry: Record) -> Picture:
    """Rows of a layer on its first two components, by label, and the spectrum."""
    shape, shares = entry["geometry"], entry["pca"]["parameters"]["variance"]
    coordinates = np.array(entry["pca"]["coordinates"])
    figure = pca(
        coordinates,
        (shares[0], shares[1]),
        label_classes(activations),
        np.array(shape["spectrum"]),
        {0.90: shape["dim_90"], 0.95: shape["dim_95"]},
    )
    caption = (
        f"{_where(entry)}. a: prompts on the first two principal components, which hold {shares[0]:.1%} and "
        f"{shares[1]:.1%} of the variance. b: variance of each component (pale) and cumulated; {shape['dim_90']} "
        f"components hold 90 %, {shape['dim_95']} hold 95 %, of at most {shape['max_dim']}."
    )
    numbers = {**_points(activations, entry["pca"]), "spectrum": shape["spectrum"]}
    return Picture(f"pca_layer{entry['layer']}", png(figure), caption, numbers)


def umap_picture(activations: Activations, entry: Record) -> Picture:
    """Rows of a layer laid out by UMAP, by label and by category."""
    coordinates = np.array(entry["umap"]["coordinates"])
    colourings = [label_classes(activations)]
    if any(prompt.category for prompt in activations.prompts):
        colourings.append(category_classes(activations))
    figure = scatter(coordinates, colourings, xlabel="UMAP 1", ylabel="UMAP 2", ticks=False)
    made = entry["umap"]["parameters"]
    caption = (
        f"{_where(entry)}. Prompts laid out by UMAP (n_neighbors {made['n_neighbors']}, min_dist {made['min_dist']}, "
        f"seed {made['seed']}), by label"
        + (" (a) and by category (b)" if len(colourings) > 1 else "")
        + ". Neighbourhoods are kept; distances between clusters and their sizes mean nothing."
    )
    numbers = _points(activations, entry["umap"])
    return Picture(f"umap_layer{entry['layer']}", png(figure), caption, numbers)


def probe_picture(results: Record, entries: Sequence[Record], threshold: float) -> Picture:
    """Held-out scores of the probes along the layers, with intervals, over shuffled labels and chance."""
    names = list(results["questions"])
    aurocs = [_series(entries, name, "auroc", chance=0.5, baseline="shuffled") for name in names]
    balanced = [_balanced(entries, name) for name in names]
    panels = [
        Panel("Held-out AUROC", aurocs, limits(aurocs, floor=0.4), threshold),
        Panel("Held-out balanced accuracy", balanced, limits(balanced, floor=0.0)),
    ]
    asked = "; ".join(
        f"{name}: n = {q['n']} in {q['n_groups']} groups"
        for name, q in results["questions"].items()
    )
    caption = (
        f"{entries[0]['site']} at the {entries[0]['position']} position. Logistic probes on held-out groups of prompts "
        f"with 95 % cluster-bootstrap intervals ({asked}). a: AUROC (macro, one against rest); grey: the same on "
        "shuffled labels, mean and 95 % range. b: balanced accuracy and its chance level."
    )
    probes = {name: [_numbers(entry, name) for entry in entries] for name in names}
    return Picture("probe_accuracy", png(curves(panels)), caption, {"probes": probes})


def quality_picture(found: Record, site: str) -> Picture:
    """Cross-fitted AUROC of the label's direction along the layers."""
    entries = [{"layer": each["layer"], "probes": {"": each}} for each in found["layers"]]
    series = _series(entries, "", "auroc", chance=0.5, baseline="shuffled", title="direction")
    panel = Panel("Held-out AUROC of the direction", [series], limits([series], floor=0.4))
    first = found["layers"][0]
    caption = (
        f"Cross-fitted AUROC of `{found['label_direction']}` at {site} (n = {first['n']} in {first['n_groups']} groups), "
        "95 % cluster-bootstrap interval; grey: shuffled labels, mean and 95 % range."
    )
    return Picture("directions_auroc", png(curves([panel])), caption, {"layers": found["layers"]})


def histogram_picture(found: Record, layer: int) -> Picture:
    """Held-out projections on the label's direction at one layer, by class."""
    entry = next(
        d
        for d in found["directions"]
        if (d["name"], d["layer"]) == (found["label_direction"], layer)
    )
    held_out = found["held_out"][entry["tensor"]]
    scores, positive = np.array(held_out["scores"]), np.array(held_out["positive"]) == 1
    value, low, high = entry["quality"]["auroc"]
    names = [entry["negative_label"], entry["positive_label"]]
    figure = histogram(
        [scores[~positive], scores[positive]],
        names,
        xlabel="Held-out projection (standard deviations)",
        title=f"Layer {layer}: AUROC {value:.3f} [{low:.2f}, {high:.2f}]",
    )
    caption = (
        f"{entry['site']}.{layer}. Projections of prompts on `{entry['name']}` ({entry['method']}), each by a direction that "
        "was fitted without the prompt's group, standardised within the fold."
    )
    numbers = {"classes": names, **held_out}
    return Picture(f"directions_projection_layer{layer}", png(figure), caption, numbers)


def cosine_picture(found: Record, layer: int) -> Picture:
    """Cosines between the directions of a layer, or of the label's directions between layers."""
    here = next(c for c in found["cosines"] if c["layer"] == layer)
    across = found["across_layers"]
    several = len(here["names"]) > 1
    names = here["names"] if several else [f"layer {k}" for k in across["layers"]]
    matrix = np.array(here["matrix"] if several else across["matrix"])
    chance = found["random_cosine"]
    shown = [_short(name) for name in names]
    if len(set(shown)) < len(shown):  # a category and a tool of the same name
        shown = names
    note = f"two random directions: mean |cos| {chance:.2f}"
    figure = heatmap(matrix, shown, label="Cosine", note=note)
    between = (
        f"directions at layer {layer}" if several else f"`{found['label_direction']}` of each layer"
    )
    caption = (
        f"Cosines between the {between}; random directions have |cos| {chance:.3f} in the mean."
    )
    numbers = {"names": names, "matrix": matrix.tolist(), "random_cosine": chance}
    return Picture("directions_cosines", png(figure), caption, numbers)


def transfer_picture(found: Record) -> Picture:
    """The label's direction of one category's prompts, scored on another's."""
    transfer, layer = found["transfer"], found["best"]["layer"]
    matrix = np.array([[np.nan if c is None else c[0] for c in row] for row in transfer["auroc"]])
    figure = heatmap(
        matrix,
        transfer["names"],
        label="Held-out AUROC",
        note="row: fitted on; column: scored on",
        scale="auroc",
    )
    sizes = ", ".join(
        f"{name} {n} in {g} groups"
        for name, n, g in zip(transfer["names"], transfer["n"], transfer["n_groups"], strict=True)
    )
    caption = (
        f"`{found['label_direction']}` at layer {layer}, fitted on the prompts of the category of the row and scored on those of the "
        f"column, groups held out in every cell ({sizes}). Chance is 0.5; below it the direction points the other way."
    )
    return Picture("directions_transfer", png(figure), caption, dict(transfer))


def similarity_picture(similarity: Record) -> Picture:
    """CKA between the layers of one site."""
    names = [str(layer) for layer in similarity["layers"]]
    matrix = np.array(similarity["cka"], dtype=float)  # None, where all rows are equal, is NaN
    figure = heatmap(matrix, names, label="Linear CKA (unbiased)", axis="Layer", scale="share")
    caption = (
        f"Linear CKA between the layers of {similarity['site']} at the {similarity['position']} position, unbiased HSIC "
        "estimate: 0 in the mean for unrelated layers, 1 for equal ones up to rotation and scale."
    )
    return Picture("layer_similarity", png(figure), caption, dict(similarity))


def sites_picture(found: Record) -> Picture:
    """CKA between all sites and layers of one position."""
    matrix = np.array(found["cka"], dtype=float)
    figure = heatmap(matrix, found["names"], label="Linear CKA (unbiased)", scale="share")
    caption = (
        f"Linear CKA between all sites and layers at the {found['position']} position, unbiased HSIC estimate: 0 in the mean for unrelated "
        "ones, 1 for equal ones up to rotation and scale; white without a number: all rows are equal there."
    )
    return Picture(f"site_similarity_{found['position']}", png(figure), caption, dict(found))


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


def _points(activations: Activations, projection: Record) -> Record:
    prompts = activations.prompts
    return {
        **projection,
        "labels": [prompt.label for prompt in prompts],
        "categories": [prompt.category for prompt in prompts],
    }


def _series(
    entries: Sequence[Record],
    name: str,
    score: str,
    *,
    chance: float,
    baseline: str | None = None,
    title: str = "",
) -> Series:
    probes = [entry["probes"][name] for entry in entries]
    value, low, high = np.array([probe[score] for probe in probes]).T
    return Series(
        title or name,
        [entry["layer"] for entry in entries],
        value.tolist(),
        low.tolist(),
        high.tolist(),
        baseline=[probe[baseline] for probe in probes] if baseline else None,
        chance=chance,
    )


def _balanced(entries: Sequence[Record], name: str) -> Series:
    chance = entries[0]["probes"][name]["chance_balanced_accuracy"]
    return _series(entries, name, "balanced_accuracy", chance=chance)


def _numbers(entry: Record, name: str) -> Record:
    return {"layer": entry["layer"], **entry["probes"][name]}


def _where(entry: Record) -> str:
    return f"{entry['site']}.{entry['layer']} at the {entry['position']} position"


def _short(name: str) -> str:
    return name.removeprefix("category:").removeprefix("tool:").replace("_vs_", " vs ")
