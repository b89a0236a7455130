"""Cross-fitted quality of a direction: fitted on some groups, scored on others.

In-sample a difference of means separates 120 × 640 noise at 98 %, so no score of a direction on the rows it was fitted to
is ever computed. For each fold the direction is fitted on the training rows, and the held-out rows are projected on it and
standardised by their own mean and standard deviation (labels unused), because length and offset differ between fits.

    auroc         compared within folds, with the interval of ``bootstrap``
    d_prime       of the standardised held-out projections
    shuffled      AUROC of the same procedure on permuted labels: mean and 95 % range over permutations
    split_half    mean cosine of the directions of two halves of the groups: how far the direction is determined
    pair_cosine   mean cosine between the differences of two pairs, which predicts steerability (2505.22637)

Labels are permuted within pairs where there are pairs, else as in ``splits``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.bootstrap import Estimate, auroc_statistic, cluster_bootstrap
from circuit.methods.directions import Method, load, weigh
from circuit.methods.probing import check_rows, spread
from circuit.methods.rowspace import fold_numbers, row_space
from circuit.methods.scores import d_prime
from circuit.methods.splits import (
    Split,
    group_codes,
    grouped_folds,
    groups_per_class,
    merge_identical,
    permuted_labels,
)
from circuit.methods.threads import calm

HALVINGS = 5


@dataclass(frozen=True)
class Quality:
    """How well a direction separates rows that it was not fitted to."""

    auroc: Estimate
    d_prime: float
    shuffled: Estimate
    split_half: float | None  # None where a half has no group of some class
    pair_cosine: float | None  # None without pairs
    n: int
    n_groups: int
    n_features: int
    n_folds: int
    n_shuffles: int
    paired: bool
    scores: Array  # (n,) held-out projections, standardised per fold
    fold: Array  # (n,)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the scores of the rows, for a file."""
        return {
            "auroc": self.auroc.as_list(),
            "d_prime": _rounded(self.d_prime),
            "shuffled": self.shuffled.as_list(),
            "split_half_cosine": _rounded(self.split_half),
            "pair_cosine": _rounded(self.pair_cosine),
            "n": self.n,
            "n_groups": self.n_groups,
            "n_over_d": round(self.n / self.n_features, 6),
            "n_folds": self.n_folds,
            "n_shuffles": self.n_shuffles,
            "paired": self.paired,
        }


def _rounded(value: float | None) -> float | None:
    return round(float(value), 6) if value is not None and np.isfinite(value) else None


@dataclass(frozen=True)
class Design:
    """Labels, groups and pairs of the rows that a direction is fitted to and scored on."""

    y: Array  # (n,) 0 or 1
    groups: Array  # (n,) codes; pairs never cross groups
    pairs: Array | None  # (n,) pair numbers, or None when some row has no partner

    @property
    def units(self) -> Array:
        """What labels are permuted within, or between when they are constant."""
        return self.groups if self.pairs is None else self.pairs

    def take(self, rows: Array) -> "Design":
        """Keep some rows, whole groups of them."""
        pairs = None if self.pairs is None else self.pairs[rows]
        return Design(self.y[rows], self.groups[rows], pairs)

    def relabel(self, y: Array) -> "Design":
        """Replace the labels."""
        return replace(self, y=y)

    def classes(self, rows: Array) -> tuple[Array, Array]:
        """Positive and negative ones of ``rows``, in the order of their pairs."""
        order = rows if self.pairs is None else rows[np.argsort(self.pairs[rows], kind="stable")]
        return order[self.y[order] == 1], order[self.y[order] == 0]


def design(
    y: Array,
    groups: Sequence[object] | Array,
    pairs: Sequence[object] | Array | None = None,
) -> Design:
    """Check labels and groups; use ``pairs`` when each row has exactly one partner of the other class."""
    y = np.asarray(y).astype(np.intp)
    numbers = None if pairs is None else _pair_numbers(y, pairs)
    codes = group_codes(groups)
    if numbers is not None:
        codes, _ = merge_identical(codes, numbers[:, None])
    counts = groups_per_class(y, codes)
    if set(counts) != {0, 1}:
        message = f"a direction leads from class 0 to class 1, not between {sorted(counts)}"
        raise DataError(message)
    return Design(y, codes, numbers)


def _pair_numbers(y: Array, pairs: Sequence[object] | Array) -> Array | None:
    """Number the pairs, or None unless every row has exactly one partner of the other class."""
    values = pairs.tolist() if isinstance(pairs, np.ndarray) else list(pairs)
    if any(value is None for value in values):
        return None
    numbers = group_codes(values)
    size = np.bincount(numbers)
    positives = np.bincount(numbers, weights=y)
    return numbers if (size == 2).all() and (positives == 1).all() else None


@calm
def cross_fitted_quality(
    method: str,
    H: Array,
    y: Array,
    groups: Sequence[object] | Array,
    pairs: Sequence[object] | Array | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    n_shuffles: int = 20,
) -> Quality:
    """Score the direction that ``method`` finds from class 0 to class 1 in ``H`` (n, d)."""
    check_rows(H, y)
    rows, rng, how = design(y, groups, pairs), np.random.default_rng(seed), load(method)
    splits = grouped_folds(rows.y, rows.groups, folds=folds, seed=seed)
    shuffles = permuted_labels(rows.y, rows.units, rng, size=n_shuffles)
    scores = held_out_scores(how, H, rows, splits, np.concatenate([rows.y[None], shuffles]))
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    one = np.ones((1, len(rows.y)))
    null = [
        float(auroc_statistic(s, labels == 1, fold)(one)[0])
        for s, labels in zip(scores[1:], shuffles, strict=True)
    ]
    statistic = auroc_statistic(scores[0], rows.y == 1, fold)
    return Quality(
        auroc=cluster_bootstrap(statistic, rows.y, rows.groups, n_boot=n_boot, rng=rng),
        d_prime=d_prime(scores[0, rows.y == 1], scores[0, rows.y == 0]),
        shuffled=spread(null),
        split_half=split_half_cosine(how, H, rows, seed=seed),
        pair_cosine=None if rows.pairs is None else pair_cosine(H, rows),
        n=len(rows.y),
        n_groups=int(rows.groups.max()) + 1,
        n_features=H.shape[1],
        n_folds=len(splits),
        n_shuffles=n_shuffles,
        paired=rows.pairs is not None,
        scores=scores[0],
        fold=fold,
    )


@calm
def held_out_scores(
    method: Method, H: Array, rows: Design, splits: Sequence[Split], labellings: Array
) -> Array:
    """Standardised held-out projections (P, n) for each of ``labellings`` (P, n)."""
    scores = np.zeros(labellings.shape)
    for train, held_out in splits:
        inside, outside = _spaces(method, H, train, held_out)
        local = rows.take(train)
        weights = [_weights(method, inside, local.relabel(y[train])) for y in labellings]
        projections = np.stack(weights) @ outside.T
        scores[:, held_out] = _standardised(projections)
    return scores


def _spaces(method: Method, H: Array, train: Array, held_out: Array) -> tuple[Array, Array]:
    """Training and held-out rows in the space in which the method works."""
    if method.SPACE == "raw":
        return H[train].astype(np.float64), H[held_out].astype(np.float64)
    space = row_space(H[train], standardise=method.SPACE == "standardised")
    return space.coordinates, space.project(H[held_out])


def _weights(method: Method, X: Array, rows: Design) -> Array:
    """Weights (r,) that point from class 0 to class 1 in ``X``."""
    positive, negative = rows.classes(np.arange(len(X)))
    paired = rows.pairs is not None
    # A permutation can leave a class out of a fold; rows that are all equal have no coordinates.
    if not len(positive) or not len(negative) or not X.shape[1]:
        return np.zeros(X.shape[1])
    weights = method.fit(X[positive], X[negative], paired=paired)
    gap = X[positive].mean(axis=0) - X[negative].mean(axis=0)
    return np.asarray(-weights if weights @ gap < 0 else weights)


def _standardised(projections: Array) -> Array:
    centred = projections - projections.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    # Equal rows project to equal numbers up to rounding; that must not be blown up to a ranking.
    noise = 1e-9 * np.abs(projections).max(axis=1, keepdims=True)
    scores: Array = np.zeros_like(centred)
    np.divide(centred, deviation, out=scores, where=deviation > noise)
    return scores


def split_half_cosine(method: Method, H: Array, rows: Design, *, seed: int) -> float | None:
    """Mean cosine between the directions of two halves of the groups, over ``HALVINGS`` halvings."""
    cosines = []
    for halving in range(HALVINGS):
        halves = grouped_folds(rows.y, rows.groups, folds=2, seed=seed + halving)[0]
        vectors = []
        for half in halves:
            if len(np.unique(rows.y[half])) < 2:
                return None
            positive, negative = rows.classes(half)
            X = H.astype(np.float64)
            v = weigh(method, X[positive], X[negative], paired=rows.pairs is not None)
            gap = X[positive].mean(axis=0) - X[negative].mean(axis=0)
            length = float(np.linalg.norm(v))
            vectors.append(v / length * np.sign(v @ gap) if length else v)
        cosines.append(float(vectors[0] @ vectors[1]))
    return float(np.mean(cosines))


def pair_cosine(H: Array, rows: Design) -> float | None:
    """Mean cosine between h⁺_i − h⁻_i and h⁺_j − h⁻_j, i ≠ j."""
    positive, negative = rows.classes(np.arange(len(H)))
    D = (H[positive] - H[negative]).astype(np.float64)
    lengths = np.linalg.norm(D, axis=1)
    D = D[lengths > 0] / lengths[lengths > 0, None]
    n = len(D)
    return float((np.sum(D.sum(axis=0) ** 2) - n) / (n * (n - 1))) if n > 1 else None
