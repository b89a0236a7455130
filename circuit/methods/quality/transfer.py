"""Transfer between kinds of prompts: a matrix of scores, fitted on part i, scored on part j.

Parts are datasets, categories or templates, each with rows of both classes; they may share rows
(the negatives of several categories, say). Every cell is cross-fitted over one set of grouped folds
of all rows: for each fold the direction is fitted on the rows of part i *outside* of the fold's
groups and scored on the rows of part j inside. So the diagonal is an ordinary held-out score, and
no group is on both sides of any cell, shared or not.

Fits are class-balanced: by the method itself where it declares ``BALANCED``, else the larger class
is subsampled, with a seed. A cell that cannot be fitted or compared is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.directions import Method, Rows, fit_weights, load
from circuit.methods.linear.rowspace import fold_numbers
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.probing import check_rows
from circuit.methods.quality.design import Design, design
from circuit.methods.uncertainty.bootstrap import Estimate, auroc_statistic, resample
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.splits import Split, grouped_folds


@dataclass(frozen=True)
class Transfer:
    """AUROC of a direction fitted on the rows of one part (first index) and scored on another's."""

    names: tuple[str, ...]
    auroc: tuple[tuple[Estimate | None, ...], ...]
    n: tuple[int, ...]  # rows of each part
    n_groups: tuple[int, ...]

    def values(self) -> Array:
        """Return the AUROCs as a matrix, NaN for None."""
        return np.array([[np.nan if c is None else c.value for c in row] for row in self.auroc])

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "names": list(self.names),
            "auroc": [[None if c is None else c.as_list() for c in row] for row in self.auroc],
            "n": list(self.n),
            "n_groups": list(self.n_groups),
        }


@single_threaded
def transfer_matrix(
    method: str,
    H: Array,
    y: Array,
    groups: Sequence[object] | Array,
    parts: Mapping[str, Array],
    *,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
) -> Transfer:
    """Fit on each of ``parts`` {name: row numbers of ``H`` (n, d)}, score on each."""
    check_rows(H, y)
    rows, how = design(y, groups), load(method)
    for name, members in parts.items():
        if len(np.unique(rows.y[members])) < 2:
            raise DataError(
                "one-class",
                f"part `{name}` has rows of one class only",
                hint="a part needs rows of both classes",
                part=name,
            )
    splits = grouped_folds(rows.y, rows.groups, folds=folds, seed=seed)
    X = np.asarray(H, dtype=np.float64)
    scores = {name: _scores(how, X, rows, splits, part, seed=seed) for name, part in parts.items()}
    fold = fold_numbers([held_out for _, held_out in splits], len(rows.y))
    cells = [
        [_cell(scores[i], rows, fold, parts[j], seed=seed, n_boot=n_boot) for j in parts]
        for i in parts
    ]
    return Transfer(
        names=tuple(parts),
        auroc=tuple(map(tuple, cells)),
        n=tuple(len(members) for members in parts.values()),
        n_groups=tuple(len(np.unique(rows.groups[members])) for members in parts.values()),
    )


def _scores(
    method: Method, X: Array, rows: Design, splits: Sequence[Split], part: Array, *, seed: int
) -> Array:
    """Project all rows, (n,), each on the direction of the rows of ``part`` in the other folds."""
    scores = np.full(len(X), np.nan)
    for train, held_out in splits:
        inside = np.intersect1d(train, part)
        positive, negative = inside[rows.y[inside] == 1], inside[rows.y[inside] == 0]
        if len(positive) and len(negative):
            scores[held_out] = X[held_out] @ _balanced(method, X, positive, negative, seed)
    return scores


def _balanced(method: Method, X: Array, positive: Array, negative: Array, seed: int) -> Array:
    """Return weights (d,) of a class-balanced fit, signed from class 0 to class 1."""
    if not method.balanced:
        rng, size = np.random.default_rng([seed, 10]), min(len(positive), len(negative))
        positive, negative = (
            np.sort(rng.choice(rows, size, replace=False)) for rows in (positive, negative)
        )
    inputs = Rows(X[positive], X[negative])
    weights = fit_weights(method, inputs)
    return np.asarray(-weights if weights @ inputs.gap < 0 else weights)


def _cell(
    scores: Array, rows: Design, fold: Array, part: Array, *, seed: int, n_boot: int
) -> Estimate | None:
    scored = part[np.isfinite(scores[part])]
    y, groups = rows.y[scored], rows.groups[scored]
    if len(np.unique(y)) < 2:
        return None
    statistic = auroc_statistic(scores[scored], y == 1, fold[scored], groups)
    drawn = resample(y, groups, n_boot=n_boot, rng=np.random.default_rng([seed, 11]))
    draws = drawn.draws(statistic)
    if not np.isfinite(draws.value):
        return None
    return draws.estimate().widen_to(perfect_auroc(y, groups))
