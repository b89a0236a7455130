"""Cross-validated linear probes: is a label decodable from the rows, and with what uncertainty?

L2 logistic regression (softmax for three or more classes), features standardised in the training
part, C by inner grouped folds (``regularisation``), groups kept together throughout, solved on the
products of the rows (``products``, ``newton``). Every number is computed from held-out scores, and
every interval is the cluster bootstrap's (``bootstrap``), never narrower than the number of groups
allows (``perfect_scores``), and that of an AUROC holds ½ where the permutation test does:

    auroc                macro one-against-rest, compared within folds; chance 0.5
    balanced_accuracy    chance 1 / n_classes
    calibration          log-loss, Brier score, calibration error (``calibration``)
    shuffled, p          scores of permuted labels, and the p of the labels' statistic against them
                         (``permutation``); for several layers use ``permutation.family_wise``
    accuracy, majority   fraction predicted right, and fraction of the largest class

Hewitt & Liang 2019 (1909.03368) explain why a score needs its control: ``controls``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.linear.products import Fold, decompose
from circuit.methods.linear.rowspace import fold_numbers
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.calibration import Calibration, calibration
from circuit.methods.probes.permutation import Null, permutation_null
from circuit.methods.probes.question import Task, prepare
from circuit.methods.probes.regularisation import out_of_fold
from circuit.methods.uncertainty.bootstrap import Draws, Estimate, macro_statistic, recall_statistic
from circuit.methods.uncertainty.emergence import LayerAuroc
from circuit.methods.uncertainty.perfect_scores import perfect_auroc, perfect_recall
from circuit.methods.uncertainty.splits import least_groups


@dataclass(frozen=True)
class ProbeResult:
    """The scores of a probe on held-out rows, and of permuted labels."""

    auroc: Estimate
    balanced_accuracy: Estimate
    calibration: Calibration
    null: Null  # of the permutation test
    draws: Draws  # the AUROC on the task's resamples
    accuracy: float
    majority: float
    n: int
    n_groups: int
    least_groups: int  # of the class that has the fewest
    n_classes: int
    n_features: int
    n_folds: int
    regularisation: tuple[float, ...]  # the C of each fold
    inner_loss: tuple[float | None, ...]  # its log-loss on rows held out inside the training part
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

    @property
    def scored(self) -> LayerAuroc:
        """The AUROC with its resamples, the input of ``emergence``."""
        return LayerAuroc(self.auroc, self.draws)

    @property
    def shuffled(self) -> Estimate:
        """AUROC on permuted labels: mean and 95 % range."""
        return self.null.spread()

    def as_dict(self) -> dict[str, object]:
        """Everything but the scores of the rows, for a file."""
        return {
            "auroc": self.auroc.as_list(),
            "shuffled": self.shuffled.as_list(),
            "p": self.null.p,
            "balanced_accuracy": self.balanced_accuracy.as_list(),
            "accuracy": round(self.accuracy, 6),
            "majority": round(self.majority, 6),
            "chance_balanced_accuracy": round(1 / self.n_classes, 6),
            **self.calibration.as_dict(),
            "n": self.n,
            "n_groups": self.n_groups,
            "least_groups": self.least_groups,
            "n_classes": self.n_classes,
            "n_over_d": round(self.n / self.n_features, 6),
            "n_folds": self.n_folds,
            "n_shuffles": len(self.null.permuted),
            "regularisation": list(self.regularisation),
        }


def cross_validated_probe(
    H: Array,
    y: Array,
    groups: Sequence[object] | Array,
    *,
    units: Sequence[object] | Array | None = None,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    n_shuffles: int = 1000,
) -> ProbeResult:
    """Probe ``H`` (n, d) for the labels ``y`` (n,): ``prepare``, then ``probe``."""
    check_rows(H, y)
    task = prepare(
        y,
        groups,
        units=units,
        folds=folds,
        seed=seed,
        n_boot=n_boot,
        n_shuffles=n_shuffles,
    )
    return probe(H, task)


@single_threaded
def probe(H: Array, task: Task, prepared: Sequence[Fold] | None = None) -> ProbeResult:
    """Probe ``H`` (n, d) for a task; ``prepared`` is ``decompose(H, task.splits)``, if computed."""
    check_rows(H, task.y)
    if prepared is None:
        prepared = decompose(H, task.splits)
    y, rng = task.y, np.random.default_rng([task.seed, 4])
    scores, chosen = out_of_fold(prepared, y[None], task.groups, seed=task.seed)
    log_p, fold = scores[:, 0], fold_numbers([fold.held_out for fold in prepared], len(y))
    predicted = log_p.argmax(axis=1)
    draws = task.resamples.draws(macro_statistic(log_p, y, fold, task.groups))
    null = permutation_null(prepared, y, task.shuffles)
    recall = task.resamples.draws(recall_statistic(y, predicted)).estimate()
    return ProbeResult(
        auroc=null.hold(draws.estimate().widen_to(perfect_auroc(y, task.groups))),
        balanced_accuracy=recall.widen_to(perfect_recall(y, task.groups)),
        calibration=calibration(log_p, y, task.resamples, rng=rng),
        null=null,
        draws=draws,
        accuracy=float(np.mean(predicted == y)),
        majority=float(np.bincount(y).max() / len(y)),
        n=len(y),
        n_groups=task.n_groups,
        least_groups=least_groups(y, task.groups),
        n_classes=task.n_classes,
        n_features=H.shape[1],
        n_folds=len(prepared),
        regularisation=tuple(choice.c for choice in chosen),
        inner_loss=tuple(choice.loss for choice in chosen),
        scores=log_p,
        fold=fold,
    )


def check_rows(H: Array, y: Array) -> None:
    """Refuse rows with another count of labels, or with numbers that are not finite."""
    if len(H) != len(y):
        raise DataError(
            "label-count",
            f"{len(H)} rows have {len(y)} labels",
            n_rows=len(H),
            n_labels=len(y),
        )
    if not np.isfinite(H).all():
        rows = np.flatnonzero(~np.isfinite(H).all(axis=1))
        raise DataError(
            "not-finite",
            f"{len(rows)} rows contain NaN or infinity, the first is row {rows[0]}",
            hint="collect them again with --dtype float32",
            n_rows=len(rows),
            first=int(rows[0]),
        )
