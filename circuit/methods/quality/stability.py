"""How well the rows determine a direction, and how well the pairs agree on one.

    split_half    mean cosine c of the directions of two random halves of the groups, with its 5 and
                  95 % quantiles over ``HALVINGS`` halvings
    settled       √(2c / (1 + c)): the estimated cosine between the direction of *all* rows and that
                  of infinitely many (Spearman & Brown, for a difference of means)
    resampled     cosine with directions of resampled groups: mean, 5 and 95 % quantile
    pair_cosine   mean cosine of h⁺_i − h⁻_i and h⁺_j − h⁻_j, i ≠ j, with its cluster-bootstrap
                  interval; it predicts how well steering along the mean works (2505.22637)

For noise of variance σ² on each of d features and a true difference δ of the class means, a
difference of means from n⁺ and n⁻ independent rows has

    E cos(v, δ) ≈ 1 / √(1 + d σ² (1/n⁺ + 1/n⁻) / ‖δ‖²) ,

which ``expected_cosine_with_truth`` returns; pairs have 1/n_pairs and the variance of a difference
instead.
"""

from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.directions import Method, Rows, fit_weights
from circuit.methods.quality.design import Design
from circuit.methods.uncertainty.bootstrap import Estimate, resample
from circuit.methods.uncertainty.splits import grouped_folds

HALVINGS = 10
RESAMPLES = 20  # refits where a method has no ``combine``
MANY_RESAMPLES = 200


@dataclass(frozen=True)
class Stability:
    """Cosines between the directions of different parts of the rows."""

    split_half: Estimate | None  # None where a half has no group of some class
    resampled: Estimate
    pair_cosine: Estimate | None  # None without pairs

    @property
    def settled(self) -> float | None:
        """Estimated cosine with the direction of infinitely many rows; 0 if the halves disagree."""
        if self.split_half is None:
            return None
        c = max(self.split_half.value, 0.0)
        return float(np.sqrt(2 * c / (1 + c)))

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "split_half_cosine": _listed(self.split_half),
            "settled_cosine": None if self.settled is None else round(self.settled, 6),
            "resampled_cosine": self.resampled.as_list(),
            "pair_cosine": _listed(self.pair_cosine),
        }


def _listed(estimate: Estimate | None) -> list[float] | None:
    return None if estimate is None else estimate.as_list()


def stability(
    method: Method, H: Array, rows: Design, *, seed: int = 0, n_boot: int = 1000
) -> Stability:
    """Measure how stable the direction of ``method`` on the rows ``H`` (n, d) is."""
    X = np.asarray(H, dtype=np.float64)
    return Stability(
        split_half=split_half_cosine(method, X, rows, seed=seed),
        resampled=resampled_cosine(method, X, rows, seed=seed),
        pair_cosine=None if rows.pairs is None else pair_cosine(X, rows, seed=seed, n_boot=n_boot),
    )


def direction_of(method: Method, X: Array, rows: Design, chosen: Array) -> Array:
    """Return the unit direction (d,) of the rows ``chosen``, towards class 1; zero if undefined."""
    positive, negative = rows.classes(chosen)
    inputs = Rows(X[positive], X[negative], paired=rows.pairs is not None)
    v = fit_weights(method, inputs)
    length = float(np.linalg.norm(v))
    return v / length * np.sign(v @ inputs.gap) if length else v


def split_half_cosine(
    method: Method, X: Array, rows: Design, *, seed: int = 0, halvings: int = HALVINGS
) -> Estimate | None:
    """Return the cosine of the directions of two halves of the groups: mean, 5, 95 % quantile."""
    cosines = []
    for halving in range(halvings):
        try:
            halves = grouped_folds(rows.y, rows.groups, folds=2, seed=seed + halving)[0]
        except DataError:
            return None
        if any(len(np.unique(rows.y[half])) < 2 for half in halves):
            return None
        a, b = (direction_of(method, X, rows, half) for half in halves)
        cosines.append(float(a @ b))
    return _mean_and_quantiles(np.array(cosines))


def resampled_cosine(method: Method, X: Array, rows: Design, *, seed: int = 0) -> Estimate:
    """Return the cosine with the directions of resampled groups: mean, 5, 95 % quantile."""
    v, rng = direction_of(method, X, rows, np.arange(len(X))), np.random.default_rng([seed, 8])
    n_boot = MANY_RESAMPLES if method.combine else RESAMPLES
    weights = resample(rows.y, rows.groups, n_boot=n_boot, rng=rng).weights
    if method.combine:
        drawn = _weighted_gaps(X, rows.y, weights)
    else:
        drawn = np.stack([_refitted(method, X, rows, w.astype(np.intp)) for w in weights])
    lengths = np.linalg.norm(drawn, axis=1)
    return _mean_and_quantiles(drawn @ v / np.where(lengths > 0, lengths, 1))


def _weighted_gaps(X: Array, y: Array, weights: Array) -> Array:
    """Return differences of the class means (draws, d), rows weighted by ``weights`` (draws, n)."""
    positive, negative = weights * y, weights * (1 - y)
    shares = [w / np.maximum(w.sum(axis=1, keepdims=True), 1) for w in (positive, negative)]
    return np.asarray((shares[0] - shares[1]) @ X)


def _refitted(method: Method, X: Array, rows: Design, times: Array) -> Array:
    return direction_of(method, X, rows, np.repeat(np.arange(len(X)), times))


def pair_cosine(X: Array, rows: Design, *, seed: int = 0, n_boot: int = 1000) -> Estimate | None:
    """Return the mean cosine between the differences of two pairs; None under two pairs."""
    positive, negative = rows.classes(np.arange(len(X)))
    D = X[positive] - X[negative]
    lengths = np.linalg.norm(D, axis=1)
    kept = lengths > 0
    D = D[kept] / lengths[kept, None]
    if len(D) < 2:
        return None
    cosines, groups = D @ D.T, rows.groups[positive][kept]
    np.fill_diagonal(cosines, 0)
    rng = np.random.default_rng([seed, 9])
    one_class = np.zeros(len(D))
    drawn = resample(one_class, groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    draws = drawn.draws(
        lambda w: (
            np.einsum("bi,bi->b", w @ cosines, w)
            / np.maximum(w.sum(axis=1) ** 2 - (w**2).sum(axis=1), 1)
        )
    )
    return draws.estimate(bounds=(-1.0, 1.0))


def _mean_and_quantiles(values: Array) -> Estimate:
    low, high = np.quantile(values, [0.05, 0.95])
    return Estimate(float(values.mean()), float(low), float(high))


def expected_cosine_with_truth(
    d: int, gap: float, n_positive: int, n_negative: int, *, sigma: float = 1.0
) -> float:
    """Return E cos of a difference of means with the true one, ‖δ‖ = ``gap``."""
    noise = d * sigma**2 * (1 / n_positive + 1 / n_negative)
    return float(1 / np.sqrt(1 + noise / gap**2))
