"""Cross-validated linear probes: is a label decodable from the rows, and how sure is that?

L2 logistic regression (softmax for three classes and more), features standardised in the training part, C from 10^{−4 … 2} by
inner grouped folds inside each training part, groups kept together throughout, solved in the row space (``rowspace``,
``newton``). Every number is computed from held-out scores:

    estimate, interval    AUROC (macro one-against-rest) with the cluster-bootstrap interval of ``bootstrap``
    shuffled              the same procedure on permuted labels, same folds: mean and 95 % range over permutations
    balanced_accuracy     with its interval; chance is 1 / n_classes
    accuracy, majority    share predicted right, and share of the largest class

C rises through the grid while the inner log-loss falls by more than ``WORTH`` nats, and stops after two values that do not
earn it: the smallest C that is about as good as any. Permuted labels choose their own C, jointly on the first two
permutations. Hewitt & Liang 2019 (1909.03368) say why a score needs its control.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.bootstrap import (
    Estimate,
    cluster_bootstrap,
    macro_statistic,
    recall_statistic,
)
from circuit.methods.newton import ROUGH, fit_logistic, log_probabilities, predict
from circuit.methods.rowspace import Fold, decompose, fold_numbers
from circuit.methods.splits import (
    Split,
    group_codes,
    grouped_folds,
    groups_per_class,
    permuted_labels,
)
from circuit.methods.threads import calm

GRID = tuple(10.0**k for k in range(-4, 3))
FIXED = 0.01  # C where the training part is too small for inner folds
WORTH = 0.002
INNER_FOLDS = 3


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found on held-out rows, and what the same procedure finds on permuted labels."""

    auroc: Estimate
    balanced_accuracy: Estimate
    shuffled: Estimate  # AUROC on permuted labels: mean, and 95 % range over permutations
    accuracy: float
    majority: float
    n: int
    n_groups: int
    n_classes: int
    n_features: int
    n_folds: int
    n_shuffles: int
    regularisation: tuple[float, ...]  # the C of each fold
    scores: Array  # (n, n_classes) held-out log-probabilities, for binary (n, 2)
    fold: Array  # (n,) the fold in which the row was held out

    @property
    def estimate(self) -> float:
        """The AUROC."""
        return self.auroc.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the AUROC."""
        return self.auroc.low, self.auroc.high

    def as_dict(self) -> dict[str, Any]:
        """Everything but the scores of the rows, for a file."""
        return {
            "auroc": self.auroc.as_list(),
            "shuffled": self.shuffled.as_list(),
            "balanced_accuracy": self.balanced_accuracy.as_list(),
            "accuracy": round(self.accuracy, 6),
            "majority": round(self.majority, 6),
            "chance_balanced_accuracy": round(1 / self.n_classes, 6),
            "n": self.n,
            "n_groups": self.n_groups,
            "n_classes": self.n_classes,
            "n_over_d": round(self.n / self.n_features, 6),
            "n_folds": self.n_folds,
            "n_shuffles": self.n_shuffles,
            "regularisation": list(self.regularisation),
        }


@calm
def cross_validated_probe(
    H: Array,
    y: Array,
    groups: Sequence[object] | Array,
    *,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    n_shuffles: int = 20,
    splits: Sequence[Split] | None = None,
    prepared: Sequence[Fold] | None = None,
) -> ProbeResult:
    """Probe ``H`` (n, d) for the class numbers ``y`` (n,), groups kept together.

    ``splits`` replaces the splits that ``folds`` and ``seed`` would give; ``prepared`` = ``decompose(H, splits)`` saves
    the decompositions when several labels are probed on the same rows.
    """
    check_rows(H, y)
    classes, y = np.unique(y, return_inverse=True)
    codes, rng = group_codes(groups), np.random.default_rng(seed)
    groups_per_class(y, codes)
    if prepared is None:
        prepared = decompose(H, splits or grouped_folds(y, codes, folds=folds, seed=seed))
    shuffles = permuted_labels(y, codes, rng, size=n_shuffles)
    scores, chosen = _out_of_fold(prepared, y, shuffles, codes, seed)
    fold, predicted = (
        fold_numbers([fold.held_out for fold in prepared], len(y)),
        scores[:, 0].argmax(axis=1),
    )
    null = [
        float(macro_statistic(scores[:, 1 + i], labels, fold)(np.ones((1, len(y))))[0])
        for i, labels in enumerate(shuffles)
    ]
    statistic = macro_statistic(scores[:, 0], y, fold)
    recall = recall_statistic(y, predicted)
    return ProbeResult(
        auroc=cluster_bootstrap(statistic, y, codes, n_boot=n_boot, rng=rng),
        balanced_accuracy=cluster_bootstrap(recall, y, codes, n_boot=n_boot, rng=rng),
        shuffled=spread(null),
        accuracy=float(np.mean(predicted == y)),
        majority=float(np.bincount(y).max() / len(y)),
        n=len(y),
        n_groups=int(codes.max()) + 1,
        n_classes=len(classes),
        n_features=H.shape[1],
        n_folds=len(prepared),
        n_shuffles=n_shuffles,
        regularisation=tuple(chosen),
        scores=scores[:, 0],
        fold=fold,
    )


def check_rows(H: Array, y: Array) -> None:
    """Refuse rows that cannot be scored: another count of labels, or numbers that are not finite."""
    if len(H) != len(y):
        message = f"{len(H)} rows have {len(y)} labels"
        raise DataError(message)
    if not np.isfinite(H).all():
        rows = np.flatnonzero(~np.isfinite(H).all(axis=1))
        message = f"{len(rows)} rows hold NaN or infinity, the first is row {rows[0]}"
        raise DataError(message, hint="collect them again in float32")


def spread(null: Sequence[float]) -> Estimate:
    """Mean and 95 % range of a statistic over permutations."""
    values = [value for value in null if np.isfinite(value)]
    if not values:
        return Estimate(0.5, 0.0, 1.0)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(float(np.mean(values)), float(low), float(high))


def _out_of_fold(
    prepared: Sequence[Fold], y: Array, shuffles: Array, groups: Array, seed: int
) -> tuple[Array, list[float]]:
    """Held-out log-probabilities (n, 1 + n_shuffles, n_classes) and the C of each fold."""
    labellings = np.concatenate([y[None], shuffles])
    scores = np.zeros((len(y), len(labellings), int(y.max()) + 1))
    chosen = []
    for fold in prepared:
        inner = _inner_splits(y[fold.train], groups[fold.train], seed)
        X, Y = fold.space.coordinates, _targets(labellings[:, fold.train])
        c, c_null = choose_c(X, Y[:, :1], inner), choose_c(X, Y[:, 1:3], inner)
        true = fit_logistic(X, Y[:, :1], np.array([1 / c]))
        null = fit_logistic(X, Y[:, 1:], np.full(len(shuffles), 1 / c_null), tolerance=ROUGH)
        logits = predict(fold.outside, np.concatenate([true, null], axis=1))
        scores[fold.held_out] = log_probabilities(logits)
        chosen.append(c)
    return scores, chosen


def _targets(labellings: Array) -> Array:
    """Indicator array (n, P, K) of labellings (P, n); one column for two classes."""
    n_classes = int(labellings.max()) + 1
    classes = np.arange(n_classes) if n_classes > 2 else np.array([1])
    return np.asarray(labellings.T[:, :, None] == classes)


def _inner_splits(y: Array, groups: Array, seed: int) -> list[Split]:
    try:
        return grouped_folds(y, groups, folds=INNER_FOLDS, seed=seed)
    except DataError:  # one group of some class is left: nothing to choose C with
        return []


def choose_c(X: Array, Y: Array, splits: Sequence[Split]) -> float:
    """Choose C for the labellings ``Y`` (n, P, K) by the log-loss on inner held-out rows."""
    if not splits or not Y.shape[1]:
        return FIXED
    n, P, _ = Y.shape
    held_out = np.zeros((n, len(splits)))
    for k, (_, rows) in enumerate(splits):
        held_out[rows, k] = 1
    held_out, Y = np.repeat(held_out, P, axis=1), np.tile(Y, (1, len(splits), 1))
    best, best_loss, wasted, W = GRID[0], np.inf, 0, None
    for c in GRID:
        penalty = np.full(Y.shape[1], 1 / c)
        W = fit_logistic(X, Y, penalty, weights=1 - held_out, start=W, tolerance=ROUGH)
        loss = _log_loss(X, Y, W, held_out)
        if loss < best_loss - WORTH:
            best, best_loss, wasted = c, loss, 0
        else:
            wasted += 1
        if wasted == 2:
            break
    return best


def _log_loss(X: Array, Y: Array, W: Array, weights: Array) -> float:
    """Mean log-loss in nats over rows, weighted by ``weights`` (n, P)."""
    log_p = log_probabilities(predict(X, W))
    true = np.concatenate([1 - Y, Y], axis=2) if Y.shape[2] == 1 else Y
    return float(-(weights[:, :, None] * true * log_p).sum() / weights.sum())
