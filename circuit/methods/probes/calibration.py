"""Calibration of a probe's probabilities: held-out log-loss, Brier score and calibration error.

    log_loss   mean of −ln p(true class), nats; compared with that of the class frequencies
    brier      mean over rows of Σ_c (p_c − [y = c])² / 2; for two classes it is (p₁ − y)²
    error      Σ_b (n_b/n) |mean p − fraction true| over bins of equal size (expected calibration
               error); as many bins as keep the fractions rising (the monotone sweep of Roelofs et
               al. 2020, 2012.08668), at most 50, because any fixed number of bins has its own bias

For two classes p is that of the second class; for more it is that of the predicted class, and
"true" means that it is right. The calibration error of a perfectly calibrated probe is not 0 at
finite n: ``error_by_chance`` is its mean and 95 % range, with labels drawn from the probe's own
probabilities and bins swept anew for each draw. Intervals are those of ``bootstrap``.
"""

from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Estimate, Resamples, Statistic

N_DRAWS = 100
MAX_BINS = 50


@dataclass(frozen=True)
class Calibration:
    """Proper scores and calibration error of held-out probabilities."""

    log_loss: Estimate
    log_loss_of_frequencies: float
    brier: Estimate
    error: Estimate
    error_by_chance: Estimate  # mean and 95 % range of a calibrated probe
    n_bins: int

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "log_loss": self.log_loss.as_list(),
            "log_loss_of_frequencies": round(self.log_loss_of_frequencies, 6),
            "brier": self.brier.as_list(),
            "calibration_error": self.error.as_list(),
            "calibration_error_by_chance": self.error_by_chance.as_list(),
            "calibration_bins": self.n_bins,
        }


def calibration(
    log_p: Array, y: Array, resamples: Resamples, *, rng: np.random.Generator
) -> Calibration:
    """Judge held-out log-probabilities (n, n_classes) of the class numbers ``y`` (n,)."""
    p = np.exp(log_p)
    confidence, true = confidence_of(p, y)
    bins = sweep(confidence, true)
    free = (0.0, np.inf)
    shares = np.bincount(y) / len(y)
    return Calibration(
        log_loss=resamples.draws(mean_statistic(row_losses(log_p, y))).estimate(bounds=free),
        log_loss_of_frequencies=float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        brier=resamples.draws(mean_statistic(row_briers(p, y))).estimate(),
        error=resamples.draws(error_statistic(confidence, true, bins)).estimate(),
        error_by_chance=_error_by_chance(confidence, rng),
        n_bins=int(bins.max()) + 1,
    )


def row_losses(log_p: Array, y: Array) -> Array:
    """−ln p(true class) of each row, (n,)."""
    return np.asarray(-log_p[np.arange(len(y)), y])


def row_briers(p: Array, y: Array) -> Array:
    """Half the squared distance from the true class's corner, (n,)."""
    return np.asarray(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1) / 2)


def mean_statistic(values: Array) -> Statistic:
    """Return the weighted mean of ``values`` (n,)."""
    return lambda weights: weights @ values / weights.sum(axis=1)


def confidence_of(p: Array, y: Array) -> tuple[Array, Array]:
    """Return the probability of one class per row (n,), and whether that class is true (n,)."""
    if p.shape[1] == 2:
        return p[:, 1], y == 1
    predicted = p.argmax(axis=1)
    return p[np.arange(len(y)), predicted], predicted == y


def sweep(confidence: Array, true: Array) -> Array:
    """Number the bin of each row, (n,): the most bins of equal size with rising fractions true."""
    order = np.argsort(confidence, kind="stable")
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    bins = np.zeros(len(order), dtype=np.intp)
    for k in range(2, min(len(order), MAX_BINS) + 1):
        finer = rank * k // len(order)
        shares = np.bincount(finer, weights=true) / np.bincount(finer)
        if (np.diff(shares) < 0).any():
            break
        bins = finer
    return bins


def error_statistic(confidence: Array, true: Array, bins: Array) -> Statistic:
    """Return the expected calibration error over given bins (n,)."""
    members = (bins[:, None] == np.arange(bins.max() + 1)).astype(np.float64)
    gaps = members * (confidence - true)[:, None]
    return lambda weights: np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def _error_by_chance(confidence: Array, rng: np.random.Generator) -> Estimate:
    errors, one = [], np.ones((1, len(confidence)))
    for _ in range(N_DRAWS):
        true = rng.random(len(confidence)) < confidence
        errors.append(error_statistic(confidence, true, sweep(confidence, true))(one)[0])
    low, high = np.percentile(errors, [2.5, 97.5])
    return Estimate(float(np.mean(errors)), float(low), float(high))
