"""The figures of fitted directions: quality along the layers, projections, cosines, transfer.

Each is a call of a file in ``circuit.plots``, with a caption and the numbers that are drawn;
nothing is estimated here.
"""

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.plots.curve import Panel, curves, limits
from circuit.plots.heatmap import heatmap
from circuit.plots.histogram import histogram
from circuit.plots.style import png
from circuit.present.document import Figure
from circuit.present.numbers import interval
from circuit.stages.analyze.figures import series
from circuit.stages.directions.results import CategoryTransfer, DirectionsResult


def direction_figures(result: DirectionsResult) -> list[Figure]:
    """Return every figure that the results allow."""
    several = len(result.layers) > 1
    drawn = [quality_figure(result)] if several else []
    drawn.append(projection_figure(result))
    if several or len(result.cosines[0].names) > 1:
        drawn.append(cosine_figure(result))
    if result.transfer is not None:
        drawn.append(transfer_figure(result, result.transfer))
    return drawn


def quality_figure(result: DirectionsResult) -> Figure:
    """Draw the cross-fitted AUROC of the label's direction along the layers."""
    layers, first = result.layers, result.layers[0]
    curve = series(
        "direction",
        [each.layer for each in layers],
        [each.auroc for each in layers],
        baseline=[each.shuffled for each in layers],
        chance=0.5,
    )
    panel = Panel("Held-out AUROC of the direction", [curve], limits([curve], floor=0.4))
    return Figure(
        name="directions_auroc",
        png=lambda: png(curves([panel])),
        caption=(
            f"Cross-fitted AUROC of `{result.label_direction}` at {result.best_direction.site} "
            f"({first.size}), 95 % cluster-bootstrap interval; grey: shuffled labels, mean and "
            "95 % range."
        ),
        numbers={"layers": plain(layers)},
    )


def projection_figure(result: DirectionsResult) -> Figure:
    """Draw held-out projections on the label's direction at the chosen layer, by class."""
    entry = result.best_direction
    held_out = result.held_out[entry.tensor]
    scores, positive = np.array(held_out.scores), np.array(held_out.positive) == 1
    names = [entry.negative_label, entry.positive_label]
    return Figure(
        name=f"directions_projection_layer{entry.layer}",
        png=lambda: png(
            histogram(
                [scores[~positive], scores[positive]],
                names,
                xlabel="Held-out projection (standard deviations)",
                title=f"Layer {entry.layer}: AUROC {interval(entry.quality.auroc)}",
            )
        ),
        caption=(
            f"{entry.site}.{entry.layer}. Projections of prompts on `{entry.name}` "
            f"({entry.method}), each by a direction that was fitted without the prompt's group, "
            "standardised within the fold."
        ),
        numbers={"classes": names, **plain(held_out)},
    )


def cosine_figure(result: DirectionsResult) -> Figure:
    """Draw cosines between the directions of a layer, or of the label's between layers."""
    here, across, chance = result.best_cosines, result.across_layers, result.random_cosine
    several = len(here.names) > 1
    names = here.names if several else [f"layer {k}" for k in across.layers]
    matrix = np.array(here.matrix if several else across.matrix)
    shown = [_short(name) for name in names]
    if len(set(shown)) < len(shown):  # a category and a tool of the same name
        shown = names
    note = f"two random directions: mean |cos| {chance:.2f}"
    of_label = f"`{result.label_direction}` of each layer"
    between = f"directions at layer {here.layer}" if several else of_label
    return Figure(
        name="directions_cosines",
        png=lambda: png(heatmap(matrix, shown, label="Cosine", note=note)),
        caption=(
            f"Cosines between the {between}; random directions have |cos| {chance:.3f} in the mean."
        ),
        numbers={"names": names, "matrix": matrix.tolist(), "random_cosine": chance},
    )


def transfer_figure(result: DirectionsResult, transfer: CategoryTransfer) -> Figure:
    """Draw how the label's direction of one category's prompts scores on another's."""
    matrix = np.array([[np.nan if c is None else c[0] for c in row] for row in transfer.auroc])
    sizes = ", ".join(
        f"{name} {n} in {g} groups"
        for name, n, g in zip(transfer.names, transfer.n, transfer.n_groups, strict=True)
    )
    return Figure(
        name="directions_transfer",
        png=lambda: png(
            heatmap(
                matrix,
                transfer.names,
                label="Held-out AUROC",
                note="row: fitted on; column: scored on",
                scale="auroc",
            )
        ),
        caption=(
            f"`{result.label_direction}` at layer {result.best.layer}, fitted on the prompts of "
            "the category of the row and scored on those of the column, groups held out in every "
            f"cell ({sizes}). Chance is 0.5; below it the direction points the other way."
        ),
        numbers=plain(transfer),
    )


def _short(name: str) -> str:
    return name.removeprefix("category:").removeprefix("tool:").replace("_vs_", " vs ")
