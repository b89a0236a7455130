"""The layer that a direction is best read from, chosen without the rows that it is scored on.

The best of L layers on the scored rows is an optimistic number: on noise the maximum of twelve
AUROCs lies well above ½. In each outer fold the layer is chosen by its cross-fitted AUROC on the
training groups only (inner folds), the direction is fitted there at that layer, and the held-out
rows are scored. The pooled score is that of the *procedure* "take the layer that looks best"; the
layer named at the end is the choice of the procedure from all rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Method, load
from circuit.methods.linear.rowspace import fold_numbers
from circuit.methods.linear.threads import parallel_map
from circuit.methods.quality.crossfit import gram, held_out_scores
from circuit.methods.quality.design import Design
from circuit.methods.uncertainty.bootstrap import Estimate, auroc_statistic, cluster_bootstrap
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.splits import Split, grouped_folds

INNER_FOLDS = 3
Quality = tuple[float, float, int]


@dataclass(frozen=True)
class LayerChoice:
    """The layer chosen from all rows, and the held-out score of choosing."""

    layer: int
    auroc: Estimate
    chosen: tuple[int, ...]  # by outer fold

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "layer": self.layer,
            "auroc": self.auroc.as_list(),
            "chosen_by_fold": list(self.chosen),
        }


def nested_layer_choice(
    method: str,
    layers: Iterable[tuple[int, Array]],
    rows: Design,
    *,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    workers: int = 1,
) -> LayerChoice:
    """Choose among ``layers``, pairs of a number and its rows (n, d).

    They are read one after the other, ``workers`` at a time. ``DataError`` where a training part
    has too few groups to choose.
    """
    how = load(method)
    splits = grouped_folds(rows.y, rows.groups, folds=folds, seed=seed)
    inner = [_inner(rows.take(train), seed) for train, _ in splits]
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    trials = list(
        parallel_map(
            lambda at: _trial(how, *at, rows=rows, splits=splits, inner=inner, fold=fold),
            layers,
            workers=workers,
        )
    )
    best = [max(trials, key=lambda trial: trial.inside[k]) for k in range(len(splits))]
    scores = np.zeros(len(rows.y))
    for trial, (_, held_out) in zip(best, splits, strict=True):
        scores[held_out] = trial.scores[held_out]
    rng = np.random.default_rng(seed)
    estimate = cluster_bootstrap(
        auroc_statistic(scores, rows.y == 1, fold, rows.groups),
        rows.y,
        rows.groups,
        n_boot=n_boot,
        rng=rng,
    )
    return LayerChoice(
        layer=max(trials, key=lambda trial: trial.quality).layer,
        auroc=estimate.widen_to(perfect_auroc(rows.y, rows.groups)),
        chosen=tuple(trial.layer for trial in best),
    )


@dataclass(frozen=True)
class _Trial:
    """A layer: its quality from all rows and from each training part, its held-out scores."""

    layer: int
    quality: Quality
    inside: list[Quality]
    scores: Array  # (n,)


def _inner(rows: Design, seed: int) -> tuple[Design, list[Split]]:
    return rows, grouped_folds(rows.y, rows.groups, folds=INNER_FOLDS, seed=seed)


def _trial(
    method: Method,
    layer: int,
    H: Array,
    *,
    rows: Design,
    splits: Sequence[Split],
    inner: Sequence[tuple[Design, list[Split]]],
    fold: Array,
) -> _Trial:
    """Score a layer by cross-fitting, on all rows and within the training rows of each split."""
    products = gram(H) if method.combine else None
    scores = held_out_scores(method, H, rows, splits, rows.y[None], products=products)[0]
    inside = []
    for (train, _), (local, parts) in zip(splits, inner, strict=True):
        part = None if products is None else products[np.ix_(train, train)]
        found = held_out_scores(method, H[train], local, parts, local.y[None], products=part)[0]
        numbers = fold_numbers([held_out for _, held_out in parts], len(local.y))
        inside.append(_quality(found, local.y == 1, numbers, layer))
    return _Trial(layer, _quality(scores, rows.y == 1, fold, layer), inside, scores)


def _quality(scores: Array, positive: Array, fold: Array, layer: int) -> Quality:
    """Return a sort key: AUROC, then the gap of the means, then the earlier layer."""
    statistic = auroc_statistic(scores, positive, fold, np.arange(len(scores)))
    auroc = float(statistic(np.ones((1, len(scores))))[0])
    gap = float(scores[positive].mean() - scores[~positive].mean())  # scores have unit spread
    return round(auroc, 6), gap, -layer
