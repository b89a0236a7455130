"""The power of a design: how large an effect it would have found.

"Not decodable" means little without it. A layer counts as decodable where its interval lies above ½
and its family-wise p is at most 0.05 (``verdict``), so where its AUROC A is at least

    c = max(½ + q, a)    q: the 95 % quantile of the largest permuted AUROC of all layers, less ½
                         a: the smallest AUROC whose interval excludes ½, a − w √(V(a)/V(½)) = ½

w is the half width of the interval at chance, and V Newcombe's variance of an AUROC
(``perfect_scores``), which shrinks towards 1. The design finds an AUROC θ in 80 % of cases if

    θ − z_{.8} s √(V(θ)/V(½)) ≥ c

with s the standard deviation of the permuted AUROCs of a layer, which have the folds, the groups
and the correlations of the data. ``detectable`` is the smallest such θ. All of w, s and q fall as 1
/ √G with the number G of groups, which gives the number of groups for another θ.
`tests/bench/power.py` compares ``detectable`` with what is found.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.probes.permutation import Null
from circuit.methods.uncertainty.bootstrap import QUANTILES, Draws
from circuit.methods.uncertainty.perfect_scores import auroc_variance
from circuit.values.power import Power
from circuit.values.thresholds import MIN_GROUPS

Z_POWER = 0.8416212335729143  # of 80 %
TARGET = 0.7  # the AUROC for which the number of groups is said


class Scored(Protocol):
    """A cross-fitted AUROC with its resamples and permutations."""

    @property
    def draws(self) -> Draws:
        """The AUROC on resampled groups."""

    @property
    def null(self) -> Null:
        """The statistic of permuted labels, an AUROC."""

    @property
    def n_groups(self) -> int:
        """How many groups there are."""

    @property
    def least_groups(self) -> int:
        """How many groups the rarest class has."""


def power(layers: Mapping[int, Scored]) -> Power | None:
    """Return the power of jointly measured layers; None without permutations or an interval."""
    results = list(layers.values())
    permuted = np.array([result.null.permuted for result in results])
    widths = [_half_width(result) for result in results]
    if not permuted.size or not np.isfinite(widths).all():
        return None
    design = _Design(
        quantile=float(np.percentile(permuted.max(axis=0), 95)) - 0.5,
        spread=float(np.median(permuted.std(axis=1))),
        width=float(np.median(widths)),
        units=results[0].least_groups,
    )
    n_groups = results[0].n_groups
    return Power(
        detectable=design.smallest(), target=TARGET, groups=_groups(design, n_groups, TARGET)
    )


@dataclass(frozen=True)
class _Design:
    quantile: float
    spread: float
    width: float
    units: int

    def smallest(self, scale: float = 1.0) -> float | None:
        """Return the smallest AUROC that is found, all deviations times ``scale``; None for 1."""
        theta = np.linspace(0.5, 0.999, 500)
        shrink = _shrink(theta, self.units)
        counted = theta - scale * self.width * shrink >= 0.5
        if not counted.any():
            return None
        least = max(0.5 + scale * self.quantile, float(theta[counted.argmax()]))
        found = theta - Z_POWER * scale * self.spread * shrink >= least
        return round(float(theta[found.argmax()]), 3) if found.any() else None


def _groups(design: _Design, n_groups: int, target: float) -> int:
    """Return with how many groups ``target`` is found."""
    low, high = 1e-4, 10.0  # of the deviations
    for _ in range(40):
        middle = math.sqrt(low * high)
        smallest = design.smallest(middle)
        if smallest is not None and smallest <= target:
            low = middle
        else:
            high = middle
    return max(MIN_GROUPS, math.ceil(n_groups / low**2))


def _half_width(result: Scored) -> float:
    """Return the half width of the interval at chance, from that at the result."""
    known = result.draws.draws[np.isfinite(result.draws.draws)]
    if not len(known) or not math.isfinite(result.draws.factor):
        return math.inf
    low, high = np.percentile(known, QUANTILES)
    half = result.draws.factor * (high - low) / 2
    return float(half / _shrink(np.array(result.draws.value), result.least_groups))


def _shrink(theta: Array, units: int) -> Array:
    """Return √(V(θ)/V(½)) for ``units`` groups of each class."""
    at = np.clip(np.maximum(theta, 0.5), 0.5, 0.999)
    return np.sqrt(auroc_variance(at, units, units) / auroc_variance(0.5, units, units))
