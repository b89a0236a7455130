"""The layer that a direction is best read from, chosen without the rows that it is scored on.

The best of L layers on the scored rows is an optimistic number: on noise the maximum of twelve AUROCs lies well above ½.
In each outer fold the layer is chosen by its cross-fitted AUROC on the training groups only (inner folds), the
direction is fitted there at that layer, and the held-out rows are scored. The pooled score is that of the *procedure*
"take the layer that looks best"; the layer named at the end is what the procedure chooses from all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.bootstrap import Estimate, auroc_statistic, cluster_bootstrap
from circuit.methods.crossfit import held_out_scores
from circuit.methods.design import Design, design
from circuit.methods.directions import Method, load
from circuit.methods.rowspace import fold_numbers
from circuit.methods.splits import Split, grouped_folds

INNER_FOLDS = 3


@dataclass(frozen=True)
class LayerChoice:
    """The layer chosen from all rows, and the held-out score of choosing."""

    layer: int
    auroc: Estimate
    chosen: tuple[int, ...]  # by outer fold

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into a file."""
        return {
            "layer": self.layer,
            "auroc": self.auroc.as_list(),
            "chosen_by_fold": list(self.chosen),
        }


def nested_layer_choice(
    method: str,
    layers: Mapping[int, Array],
    y: Array,
    groups: Sequence[object] | Array,
    pairs: Sequence[object] | Array | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
) -> LayerChoice:
    """Choose among ``layers`` {layer: H (n, d)}; ``DataError`` where a training part has too few groups to choose."""
    rows, how = design(y, groups, pairs), load(method)
    splits = grouped_folds(rows.y, rows.groups, folds=folds, seed=seed)
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    scores, chosen = np.zeros(len(rows.y)), []
    for split in splits:
        layer = _best_layer(how, layers, rows, split[0], seed)
        scores[split[1]] = held_out_scores(how, layers[layer], rows, [split], rows.y[None])[
            0, split[1]
        ]
        chosen.append(layer)
    statistic = auroc_statistic(scores, rows.y == 1, fold)
    rng = np.random.default_rng(seed)
    estimate = cluster_bootstrap(statistic, rows.y, rows.groups, n_boot=n_boot, rng=rng)
    return LayerChoice(_best_by(how, layers, rows, splits), estimate, tuple(chosen))


def _best_layer(
    method: Method, layers: Mapping[int, Array], rows: Design, train: Array, seed: int
) -> int:
    """Choose by cross-fitting within the training rows."""
    local = rows.take(train)
    splits = grouped_folds(local.y, local.groups, folds=INNER_FOLDS, seed=seed)
    return _best_by(method, {layer: H[train] for layer, H in layers.items()}, local, splits)


def _best_by(
    method: Method, layers: Mapping[int, Array], rows: Design, splits: Sequence[Split]
) -> int:
    """Layer of the largest cross-fitted AUROC; of equals the one with the larger d′, then the earlier."""
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    positive, one = rows.y == 1, np.ones((1, len(rows.y)))
    quality = {}
    for layer, H in layers.items():
        scores = held_out_scores(method, H, rows, splits, rows.y[None])[0]
        auroc = float(auroc_statistic(scores, positive, fold)(one)[0])
        gap = float(scores[positive].mean() - scores[~positive].mean())  # scores have unit spread
        quality[layer] = (round(auroc, 6), gap, -layer)
    return max(quality, key=lambda layer: quality[layer])
