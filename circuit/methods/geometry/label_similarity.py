"""Similarity within labels and between them, from a matrix of similarities of all pairs of rows.

    within      mean of S_ij over pairs i < j of one label
    between     mean over pairs of two labels
    separation  within − between

A resample draws groups within labels: S_ij weighs w_g w_h for rows of groups g ≠ h, w_g for two
rows of one group (its copies are not compared, see ``bootstrap``), and pairs of a row with itself
are left out. Under the null labels are exchangeable between groups (``splits.permuted_labels``);
p is ``p_values.permutation_p``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import resample
from circuit.methods.uncertainty.means import Mean
from circuit.methods.uncertainty.p_values import permutation_p
from circuit.methods.uncertainty.splits import group_codes, permuted_labels

# Fraction of resamples without a pair within a label above which there is no interval.
UNDEFINED = 0.05


@dataclass(frozen=True)
class Separation:
    """Means with their intervals; a mean of no pair is None.

    The ends are None where a label has one group, or so few that over 5 % of the resamples hold no
    pair within a label: in those every label is one group, drawn repeatedly.
    """

    within: Mean | None
    between: Mean | None
    separation: Mean | None
    p: float | None


def separation(
    S: Array,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    n_boot: int = 1000,
    n_shuffles: int = 999,
    seed: int = 0,
) -> Separation:
    """Compare similarities ``S`` (n, n) within and between ``labels``."""
    y, rng = group_codes(labels), np.random.default_rng(seed)
    per_label = [
        len({g for g, label in zip(groups, labels, strict=True) if label == each})
        for each in set(labels)
    ]
    sampled = min(per_label) > 1
    weights = resample(y, groups, n_boot=n_boot, rng=rng, cross_fitted=False) if sampled else None

    def estimate(statistic: Callable[[Array], Array], low: float, high: float) -> Mean | None:
        value = float(statistic(np.ones((1, len(y))))[0])
        if not np.isfinite(value):
            return None
        if weights is None:
            return [round(value, 6), None, None]
        return [*weights.draws(statistic).estimate(bounds=(low, high)).as_list()]

    same = y[:, None] == y[None, :]
    codes = group_codes(groups)
    inside, outside = _mean_over(S, same, codes), _mean_over(S, ~same, codes)
    if weights is not None and np.mean(np.isnan(inside(weights.weights))) > UNDEFINED:
        weights = None

    def gap(w: Array) -> Array:
        return inside(w) - outside(w)

    return Separation(
        within=estimate(inside, -1, 1),
        between=estimate(outside, -1, 1),
        separation=estimate(gap, -2, 2),
        p=_p(S, y, groups, n_shuffles, rng) if sampled and len(per_label) > 1 else None,
    )


def _mean_over(S: Array, chosen: Array, codes: Array) -> Callable[[Array], Array]:
    """Return the mean of ``S`` over the chosen pairs as a statistic of row weights (B, n).

    NaN without a pair.
    """
    mask = (chosen & ~np.eye(len(S), dtype=bool)).astype(float)
    values = np.where(mask, S, 0)
    first = np.unique(codes, return_index=True)[1]
    member = (codes[None, :] == codes[first][:, None]).astype(float)

    def weighed(weights: Array, of: Array) -> Array:
        own = np.einsum("gi,ij,gj->g", member, of, member, optimize=True)
        surplus = weights[:, first] * (weights[:, first] - 1)
        whole = np.einsum("bi,ij,bj->b", weights, of, weights, optimize=True)
        return np.asarray(whole - surplus @ own)

    def statistic(weights: Array) -> Array:
        total, pairs = weighed(weights, values), weighed(weights, mask)
        mean: Array = np.full(len(weights), np.nan)
        np.divide(total, pairs, out=mean, where=pairs > 0.5)
        return mean

    return statistic


def _p(S: Array, y: Array, groups: Sequence[str], n: int, rng: np.random.Generator) -> float | None:
    one, codes = np.ones((1, len(y))), group_codes(groups)

    def gap(labels: Array) -> float:
        same = labels[:, None] == labels[None, :]
        return float((_mean_over(S, same, codes)(one) - _mean_over(S, ~same, codes)(one))[0])

    observed = gap(y)
    drawn = [gap(each) for each in permuted_labels(y, groups, rng, size=n)]
    return permutation_p(observed, drawn)
