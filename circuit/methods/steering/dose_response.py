"""The response of a read-out m to the dose of a steering vector: per prompt, and for the set.

For doses x (k,) and m (n, k), with OLS over the doses of a prompt,

    s_i             the slope of m_i on x: *steerability* (Tan et al. 2407.12404); S = mean_i s_i
    anti-steerable  the fraction of prompts with s_i < 0, which S alone hides

and of the mean curve m̄(x): slope (equal to S), R², Spearman's ρ, the fraction of neighbouring
doses between which m̄ moves in the direction of the slope,

    symmetry        min(|s₊|, |s₋|) / max(|s₊|, |s₋|), with the slopes s± over x ≥ 0 and x ≤ 0
    linear range    the largest d for which a line through the doses within ±d leaves residuals
                    of at most 10 % of m̄'s range
    score           S · R² · valid²: seed 002's, with its sign, and for 30 prompts or more

Intervals: bootstrap over groups of prompts (``uncertainty.bootstrap``, not cross-fitted). The null
of S are the slopes of control vectors: ``uncertainty.p_values.control_p``.
"""

from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Estimate, Resamples, resample
from circuit.methods.uncertainty.ranks import rank_correlation
from circuit.values.thresholds import MIN_PROMPTS

UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Response:
    """Doses (k,), m (n, k), and the resamples of the prompts' groups."""

    doses: Array
    m: Array
    resamples: Resamples

    def mean(self, values: Array, bounds: tuple[float, float] = UNBOUNDED) -> Estimate:
        """Estimate the mean of ``values`` (n,) over prompts, with its interval over groups."""

        def weighted(weights: Array) -> Array:
            return np.asarray(weights @ values / weights.sum(axis=1))

        return self.resamples.draws(weighted).estimate(bounds=bounds)

    @property
    def slopes(self) -> Array:
        """Slopes of the prompts, (n,)."""
        return slopes(self.doses, self.m)


def response(
    doses: Array, m: Array, groups: Array, *, n_boot: int = 1000, seed: int = 0
) -> Response:
    """Prepare a response; its resamples are drawn once for all estimates."""
    rng = np.random.default_rng(seed)
    one_class = np.zeros(len(m), np.intp)
    drawn = resample(one_class, groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    return Response(np.asarray(doses, np.float64), np.asarray(m, np.float64), drawn)


def slopes(doses: Array, m: Array) -> Array:
    """Return the OLS slope of every row of ``m`` (n, k) on ``doses`` (k,), (n,)."""
    x = np.asarray(doses, np.float64) - np.mean(doses)
    return np.asarray(m @ x / (x @ x))


def r_squared(doses: Array, curve: Array) -> float:
    """Return the fraction of a curve's variance that a line explains; 0 for a flat curve."""
    total = float(((curve - curve.mean()) ** 2).sum())
    if total < 1e-18:
        return 0.0
    return 1 - float((_residuals(doses, curve) ** 2).sum()) / total


def _residuals(doses: Array, curve: Array) -> Array:
    x = doses - doses.mean()
    slope = x @ curve / (x @ x)
    return np.asarray(curve - curve.mean() - slope * x)


@dataclass(frozen=True)
class CurveShape:
    """The shape of a mean curve; the field names are the keys in every artifact."""

    r2: float
    spearman: float | None
    monotone_frac: float
    slope_positive: float
    slope_negative: float
    symmetry: float | None  # None for a flat curve
    bidirectional: bool
    linear_range: float


def shape(doses: Array, curve: Array) -> CurveShape:
    """Describe a mean curve (k,) over ascending doses (k,) that lie on both sides of 0."""
    slope = float(slopes(doses, curve[None])[0])
    steps = np.diff(curve)
    up, down = (
        float(slopes(doses[half], curve[None, half])[0]) for half in (doses >= 0, doses <= 0)
    )
    larger = max(abs(up), abs(down))
    return CurveShape(
        r2=r_squared(doses, curve),
        spearman=rank_correlation(doses, np.round(curve, 12)),
        monotone_frac=float(np.mean(steps * np.sign(slope) > 0)),
        slope_positive=up,
        slope_negative=down,
        symmetry=min(abs(up), abs(down)) / larger if larger > 1e-12 else None,
        bidirectional=up > 1e-12 and down > 1e-12,
        linear_range=linear_range(doses, curve),
    )


def linear_range(doses: Array, curve: Array, tolerance: float = 0.1) -> float:
    """Return the largest |dose| up to which a curve is linear within ``tolerance`` of its range."""
    allowed = tolerance * float(np.ptp(curve))
    reached = 0.0
    for d in np.unique(np.abs(doses[doses != 0])):
        inside = np.abs(doses) <= d
        if np.abs(_residuals(doses[inside], curve[inside])).max() > allowed:
            break
        reached = float(d)
    return reached


def score(slope: float, r2: float, valid: float, n: int) -> float | None:
    """Return seed 002's score, repaired; None for fewer than 30 prompts."""
    return slope * r2 * valid**2 if n >= MIN_PROMPTS else None
