"""The regularisation of a probe: C is chosen inside the training part, by inner grouped folds.

C rises through ``GRID`` while the inner held-out log-loss falls by more than ``MIN_GAIN`` nats, and
stops after two values without such a gain: the smallest C that is about as good as any. Several
labellings of the same rows choose one C jointly and are fitted in one batch (``newton``). Where a
training part has too few groups for inner folds, C is ``FIXED_C``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.linear.newton import ROUGH, fit_logistic, log_probabilities, predict
from circuit.methods.linear.products import Fold, Products
from circuit.methods.uncertainty.splits import Split, grouped_folds

GRID = tuple(10.0**k for k in range(-4, 3))
FIXED_C = 0.01
MIN_GAIN = 0.002
INNER_FOLDS = 3
N_JUDGING = 2  # labellings that C is chosen by


def out_of_fold(
    prepared: Sequence[Fold], labellings: Array, groups: Array, *, seed: int
) -> tuple[Array, list["PenaltyChoice"]]:
    """Fit ``labellings`` (P, n) in each fold.

    Returns held-out log-probabilities (n, P, n_classes), and the choice of C in each fold.
    """
    n_classes = int(labellings.max()) + 1
    scores, chosen = np.zeros((labellings.shape[1], len(labellings), n_classes)), []
    for fold in prepared:
        Y = targets(labellings[:, fold.train], n_classes)
        inner = inner_splits(labellings[0, fold.train], groups[fold.train], seed=seed)
        choice = choose_penalty(fold.inside, Y[:, :N_JUDGING], inner)
        W = fit_logistic(fold.inside, Y, np.full(len(labellings), 1 / choice.c))
        scores[fold.held_out] = log_probabilities(predict(fold.outside, W))
        chosen.append(choice)
    return scores, chosen


def targets(labellings: Array, n_classes: int) -> Array:
    """Indicator array (n, P, K) of labellings (P, n); one column for two classes."""
    classes = np.arange(n_classes) if n_classes > 2 else np.array([1])
    return np.asarray(labellings.T[:, :, None] == classes)


def inner_splits(y: Array, groups: Array, *, seed: int) -> list[Split]:
    """Split a training part again, groups kept together; empty where impossible."""
    return _inner_splits(y.astype(np.intp).tobytes(), groups.astype(np.intp).tobytes(), seed)


@lru_cache(maxsize=64)  # the same for every layer and baseline of a question
def _inner_splits(y: bytes, groups: bytes, seed: int) -> list[Split]:
    labels, codes = (np.frombuffer(each, dtype=np.intp) for each in (y, groups))
    try:
        return grouped_folds(labels, codes, folds=INNER_FOLDS, seed=seed)
    except DataError:  # one group of some class is left: C cannot be chosen
        return []


@dataclass(frozen=True)
class PenaltyChoice:
    """A C and its mean log-loss on inner held-out rows, in nats; None without inner folds."""

    c: float
    loss: float | None


def choose_c(inside: Products, Y: Array, splits: Sequence[Split]) -> float:
    """Choose C for the labellings ``Y`` (n, P, K) by the log-loss on inner held-out rows."""
    return choose_penalty(inside, Y, splits).c


def choose_penalty(inside: Products, Y: Array, splits: Sequence[Split]) -> PenaltyChoice:
    """Choose C as ``choose_c`` does; return it with its log-loss."""
    if not splits or not Y.shape[1]:
        return PenaltyChoice(FIXED_C, None)
    n, P, _ = Y.shape
    held_out = np.zeros((n, len(splits)))
    for k, (_, rows) in enumerate(splits):
        held_out[rows, k] = 1
    held_out, Y = np.repeat(held_out, P, axis=1), np.tile(Y, (1, len(splits), 1))
    best, best_loss, wasted, W = GRID[0], np.inf, 0, None
    for c in GRID:
        penalty = np.full(Y.shape[1], 1 / c)
        W = fit_logistic(inside, Y, penalty, weights=1 - held_out, start=W, tolerance=ROUGH)
        loss = _log_loss(inside, Y, W, held_out)
        if loss < best_loss - MIN_GAIN:
            best, best_loss, wasted = c, loss, 0
        else:
            wasted += 1
        if wasted == 2:
            break
    return PenaltyChoice(best, float(best_loss))


def _log_loss(inside: Products, Y: Array, W: Array, weights: Array) -> float:
    """Mean log-loss in nats over rows, weighted by ``weights`` (n, P)."""
    log_p = log_probabilities(predict(inside, W))
    true = np.concatenate([1 - Y, Y], axis=2) if Y.shape[2] == 1 else Y
    return float(-(weights[:, :, None] * true * log_p).sum() / weights.sum())
