"""Scores of a ranking or a decision: numbers in, one number out.

``auroc``     P(positive > negative) + ½ P(tie), by mid-ranks (Mann–Whitney U divided by n⁺n⁻).
``d_prime``   (mean⁺ − mean⁻) / √(½(var⁺ + var⁻)), sample variances.
``wilson``    the score interval of a proportion (Wilson 1927), z = 1.96.

They apply to held-out rows, not to rows that a direction or a probe was fitted to; see ``crossfit``
and ``probing``.
"""

import math

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array

Z95 = 1.959963984540054


def auroc(positive: Array, negative: Array) -> float:
    """Area under the ROC curve of two samples of scores, ties counted half."""
    from scipy.stats import rankdata

    n_positive, n_negative = len(positive), len(negative)
    if not n_positive or not n_negative:
        raise DataError(
            "empty-class",
            "AUROC needs at least one positive and one negative score, "
            f"got {n_positive} and {n_negative}",
            n_positive=n_positive,
            n_negative=n_negative,
        )
    ranks = rankdata(np.concatenate([positive, negative]))
    u = ranks[:n_positive].sum() - n_positive * (n_positive + 1) / 2
    return float(u / (n_positive * n_negative))


def macro_auroc(scores: Array, y: Array) -> float:
    """Mean over classes of the one-against-rest AUROC of column c of ``scores`` (n, n_classes)."""
    classes = [c for c in range(scores.shape[1]) if 0 < np.sum(y == c) < len(y)]
    return float(np.mean([auroc(scores[y == c, c], scores[y != c, c]) for c in classes]))


def pairs_in_order(scores: Array, positive: Array) -> tuple[Array, Array]:
    """Count the pairs of a positive and a negative row that ``scores`` (n, ...) rank correctly.

    Returns these and the numbers of all pairs, (...) each. ``positive`` (n, ...) has the same
    shape; a tie counts half.
    """
    n_positive = positive.sum(axis=0)
    size = np.abs(scores).max(axis=0, keepdims=True)
    # Equal rows may score apart by rounding; that is a tie.
    level = np.rint(np.divide(scores, size, out=np.zeros_like(scores), where=size > 0) * 1e10)
    won = _rank_sums(level, positive) - n_positive * (n_positive + 1) / 2
    return won, n_positive * (len(scores) - n_positive)


def _rank_sums(level: Array, positive: Array) -> Array:
    """Sum the mid-ranks 1 … n of the ``positive`` rows in each column of ``level`` (n, ...).

    Columns are laid out as rows first, because sorting is what this costs. Without ties the ranks
    of a sorted column are 1 … n, which takes half the time of ``rankdata``.
    """
    from scipy.stats import rankdata

    n = len(level)
    columns = np.ascontiguousarray(level.reshape(n, -1).T)
    order = np.argsort(columns, axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    marked = np.take_along_axis(np.ascontiguousarray(positive.reshape(n, -1).T), order, axis=1)
    sums: Array = marked @ np.arange(1.0, n + 1)
    if len(tied := np.flatnonzero((columns[:, 1:] == columns[:, :-1]).any(axis=1))):
        sums[tied] = (marked[tied] * rankdata(columns[tied], axis=1)).sum(axis=1)
    return sums.reshape(level.shape[1:])


def d_prime(positive: Array, negative: Array) -> float:
    """Return the distance of the means in within-class standard deviations; 0 for no gap."""
    if min(len(positive), len(negative)) < 2:
        raise DataError(
            "too-few-rows",
            "d′ needs at least two positive and two negative scores, "
            f"got {len(positive)} and {len(negative)}",
            n_positive=len(positive),
            n_negative=len(negative),
        )
    spread = math.sqrt((np.var(positive, ddof=1) + np.var(negative, ddof=1)) / 2)
    gap = float(np.mean(positive) - np.mean(negative))
    return gap / spread if spread else math.copysign(math.inf, gap) if gap else 0.0


def balanced_accuracy(y: Array, predicted: Array) -> float:
    """Mean over the classes in ``y`` of the fraction of their rows that is predicted right."""
    return float(np.mean([np.mean(predicted[y == c] == c) for c in np.unique(y)]))


def wilson(successes: int, n: int, *, z: float = Z95) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion; (0, 1) for ``n`` = 0."""
    # scipy.stats.binomtest has the same interval; importing it costs a command half a second.
    if n == 0:
        return 0.0, 1.0
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
