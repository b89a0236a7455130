"""Controls of a probe: its score on meaningless labels, and that of meaningless directions.

Control task (Hewitt & Liang 2019, 1909.03368): one random label per group, the classes as frequent
as in the data, learned by the same logistic probe from the same rows.

    control        its AUROC on the same folds, mean over ``N_CONTROLS`` labellings: no group is in
                   both parts, so that nothing can be memorised and it should be at chance
    selectivity    the probe's AUROC − the control's, on the same resamples of groups
    memory         its AUROC on folds that divide the groups: how well a probe recognises the group
                   of a row, which a split that ignores groups would have rewarded; None where a
                   group is one row

Random directions: N directions, isotropic in the standardised features, each with the sign that
fits the training part: mean, 5 % and 95 % quantile of their held-out AUROC. Where the concept lies
in the common variation of the rows, it is well above ½.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.products import Fold, decompose
from circuit.methods.linear.rowspace import fold_numbers, row_coordinates
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.probing import ProbeResult
from circuit.methods.probes.question import Task
from circuit.methods.probes.regularisation import out_of_fold
from circuit.methods.uncertainty.bootstrap import Draws, Estimate, difference, macro_statistic
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.scores import pairs_in_order
from circuit.methods.uncertainty.splits import Split

N_CONTROLS = 5
N_DIRECTIONS = 1000


@dataclass(frozen=True)
class Control:
    """The control task, and the probe's score above it."""

    auroc: Estimate
    selectivity: Estimate
    memory: Estimate | None
    n_labellings: int
    draws: Draws  # the AUROC on the task's resamples

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "auroc": self.auroc.as_list(),
            "selectivity": self.selectivity.as_list(),
            "memory": None if self.memory is None else self.memory.as_list(),
            "n_labellings": self.n_labellings,
        }


def control_labels(y: Array, groups: Array, rng: np.random.Generator, *, size: int) -> Array:
    """Draw ``size`` labellings (size, n), constant in each group, class frequencies as in ``y``."""
    n_groups, n_classes = int(groups.max()) + 1, int(y.max()) + 1
    edges = np.cumsum(np.bincount(y, minlength=n_classes)) / len(y) * n_groups
    labels = np.searchsorted(edges - 1e-9, np.arange(n_groups) + 0.5)
    return np.asarray(rng.permuted(np.tile(labels, (size, 1)), axis=1)[:, groups])


@single_threaded
def control_task(
    H: Array,
    task: Task,
    result: ProbeResult,
    prepared: Sequence[Fold],
    *,
    n_controls: int = N_CONTROLS,
) -> Control:
    """Run the control task for the probe ``result`` of ``H`` (n, d), on its decomposed folds."""
    rng = np.random.default_rng([task.seed, 1])
    labellings = control_labels(task.y, task.groups, rng, size=n_controls)
    held_out = _averaged(prepared, labellings, task.groups, task)
    mixed = folds_across_groups(task.groups, rng, folds=len(prepared))
    memory = None
    if mixed is not None:
        rows = np.arange(len(task.y))
        memory = _averaged(decompose(H, mixed), labellings, rows, task).estimate()
        memory = memory.widen_to(perfect_auroc(task.y, task.groups))
    return Control(
        auroc=held_out.estimate(),
        selectivity=difference(result.draws, held_out, n_groups=task.n_groups),
        memory=memory,
        n_labellings=n_controls,
        draws=held_out,
    )


def _averaged(prepared: Sequence[Fold], labellings: Array, groups: Array, task: Task) -> Draws:
    """AUROC of several labellings, averaged on each resample."""
    scores, _ = out_of_fold(prepared, labellings, groups, seed=task.seed)
    fold = fold_numbers([fold.held_out for fold in prepared], len(task.y))
    found = [
        task.resamples.draws(macro_statistic(scores[:, i], labels, fold, task.groups))
        for i, labels in enumerate(labellings)
    ]
    drawn = np.array([each.draws for each in found])
    drawn[np.isnan(drawn)] = 0.5  # undefined where all groups of a fold drew one class
    value = np.nan_to_num([each.value for each in found], nan=0.5).mean()
    return Draws(float(value), drawn.mean(axis=0), task.resamples.factor)


def folds_across_groups(
    groups: Array, rng: np.random.Generator, *, folds: int
) -> list[Split] | None:
    """Spread the rows of each group over the folds; None where every group has one row."""
    if np.bincount(groups).max() < 2:
        return None
    number = np.empty(len(groups), dtype=np.intp)
    for g in range(int(groups.max()) + 1):
        rows = rng.permutation(np.flatnonzero(groups == g))
        number[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    used = [k for k in range(folds) if (number == k).any()]
    return [(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in used]


@single_threaded
def random_directions(H: Array, task: Task, *, n_directions: int = N_DIRECTIONS) -> Estimate:
    """Return the held-out AUROC of random directions: mean, 5 % and 95 % quantile (macro)."""
    rng, y = np.random.default_rng([task.seed, 2]), task.y
    X = row_coordinates(H, standardise=True)
    scores = X @ rng.normal(size=(X.shape[1], n_directions))
    classes = range(task.n_classes) if task.n_classes > 2 else [1]
    found = [_signed(scores, y == c, task.splits) for c in classes]
    low, high = np.percentile(np.mean(found, axis=0), [5, 95])
    return Estimate(float(np.mean(found)), float(low), float(high))


def _signed(scores: Array, positive: Array, splits: list[Split]) -> Array:
    """Return the AUROC within held-out folds of each column, signed by the training part."""
    won, compared = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for train, held_out in splits:
        inside, is_positive = scores[train], positive[train]
        gap = inside[is_positive].mean(axis=0) - inside[~is_positive].mean(axis=0)
        signed = scores[held_out] * np.where(gap < 0, -1, 1)
        labels = np.broadcast_to(positive[held_out, None], signed.shape)
        in_order, pairs = pairs_in_order(signed, labels)
        won, compared = won + in_order, compared + pairs
    return np.asarray(np.divide(won, compared, out=np.full(len(won), 0.5), where=compared > 0))
