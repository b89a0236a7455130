"""The single feature that best separates two classes, and its score on rows it was not chosen on.

The best of 10,000 features separates noise. So in each fold the feature is chosen on the training
rows, by the largest |mean⁺ − mean⁻| / pooled deviation, signed there, and scored on the held-out
rows: the AUROC is that of *choosing*. Permuted labels go through the same choice (p). The features
named at the end are those that all rows rank highest, with how often the folds chose them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import fold_numbers
from circuit.methods.quality.crossfit import aurocs_within
from circuit.methods.uncertainty.bootstrap import auroc_statistic, resample
from circuit.methods.uncertainty.p_values import permutation_p
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.splits import group_codes, grouped_folds, permuted_labels


@dataclass(frozen=True)
class FeatureChoice:
    """The features that rank highest on all rows, and the held-out score of choosing one."""

    features: list[int]
    effects: list[float]  # on the rows that they were chosen on
    by_fold: list[int]
    auroc: list[float]
    p: float
    n_groups: int


def choose_feature(
    H: Array,
    y: Array,
    groups: Sequence[object] | Array,
    *,
    top: int = 10,
    folds: int = 5,
    n_shuffles: int = 199,
    n_boot: int = 1000,
    seed: int = 0,
) -> FeatureChoice:
    """Choose the column of ``H`` (n, d) that best separates class 1 from class 0 of ``y`` (n,)."""
    X, codes, rng = np.asarray(H, np.float64), group_codes(groups), np.random.default_rng(seed)
    splits = grouped_folds(y, codes, folds=min(folds, len(y)), seed=seed)
    labellings = np.concatenate([y[None], permuted_labels(y, codes, rng, size=n_shuffles)])
    scores, by_fold = np.zeros(labellings.shape), []
    for train, held_out in splits:
        effect = effect_sizes(X[train], labellings[:, train])
        best = np.abs(effect).argmax(axis=1)
        signs = np.sign(effect[np.arange(len(best)), best])
        scores[:, held_out] = signs[:, None] * X[np.ix_(held_out, best)].T
        by_fold.append(int(best[0]))
    fold = fold_numbers([held_out for _, held_out in splits], len(y))
    statistics = aurocs_within(scores, labellings, fold)
    draws = resample(y, codes, n_boot=n_boot, rng=rng).draws(
        auroc_statistic(scores[0], y == 1, fold, codes)
    )
    whole = effect_sizes(X, y[None])[0]
    order = np.argsort(-np.abs(whole), kind="stable")[:top]
    return FeatureChoice(
        features=[int(i) for i in order],
        effects=[round(float(whole[i]), 6) for i in order],
        by_fold=by_fold,
        auroc=draws.estimate().widen_to(perfect_auroc(y, codes)).as_list(),
        p=permutation_p(float(statistics[0]), statistics[1:]) or 1.0,
        n_groups=int(codes.max()) + 1,
    )


def effect_sizes(X: Array, labellings: Array) -> Array:
    """Return (mean⁺ − mean⁻) / pooled deviation of the columns of ``X`` (n, d), (P, d).

    ``labellings`` is (P, n).
    """
    positive = labellings.astype(np.float64)
    negative = 1 - positive
    n_positive = np.maximum(positive.sum(axis=1, keepdims=True), 1)
    n_negative = np.maximum(negative.sum(axis=1, keepdims=True), 1)
    X = X - X.mean(axis=0)
    squares = X**2
    up, down = positive @ X / n_positive, negative @ X / n_negative
    inside = positive @ squares + negative @ squares - n_positive * up**2 - n_negative * down**2
    deviation = np.sqrt(np.maximum(inside, 0) / max(X.shape[0] - 2, 1))
    # A column that is constant within the classes has no finite effect.
    floor = 1e-6 * np.sqrt(squares.mean(axis=0)) + 1e-30
    return np.asarray((up - down) / np.maximum(deviation, floor))
