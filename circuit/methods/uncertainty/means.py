"""A mean with its interval: groups, not rows, are drawn with replacement (B = 1000).

For measured numbers, not fitted ones: the interval is widened for few groups, but not for
cross-fitting (``circuit.methods.uncertainty.bootstrap``).
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import QUANTILES, Estimate, resample

Mean: TypeAlias = list[float | None]  # value, low, high


def mean_estimate(
    values: Array, groups: Sequence[object] | Array, *, seed: int = 0, n_boot: int = 1000
) -> Estimate | None:
    """Return the mean of ``values`` (n,) with its 95 % interval; None under two groups."""
    if len(set(groups)) < 2:
        return None
    same = np.zeros(len(values), dtype=int)
    rng = np.random.default_rng(seed)
    drawn = resample(same, groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    found = drawn.draws(lambda weights: weights @ values / weights.sum(axis=1))
    return found.estimate(bounds=(-np.inf, np.inf))


def mean_interval(
    values: Sequence[float] | Array,
    groups: Sequence[object],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Mean:
    """Return [mean, low, high], clipped to ``bounds``; low and high are None under two groups."""
    numbers = np.asarray(values, dtype=np.float64)
    found = mean_estimate(numbers, groups, seed=seed)
    if found is None:
        return [round(float(numbers.mean()), 6), None, None]
    value, low, high = found.as_list()
    return [value, max(low, bounds[0]), min(high, bounds[1])]


def mean_estimates(
    values: Array, groups: Sequence[object] | Array, *, seed: int = 0, n_boot: int = 1000
) -> tuple[Array, Array, Array] | None:
    """Return mean, lower and upper bound, each (k,), of every column of ``values`` (n, k).

    None with fewer than two groups. The resamples are those of ``mean_estimate``, for all columns.
    """
    if len(set(groups)) < 2:
        return None
    same = np.zeros(len(values), dtype=int)
    rng = np.random.default_rng(seed)
    drawn = resample(same, groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    mean = values.mean(axis=0)
    means = drawn.weights @ values / drawn.weights.sum(axis=1, keepdims=True)
    low, high = np.percentile(mean + drawn.factor * (means - mean), QUANTILES, axis=0)
    return mean, low, high
