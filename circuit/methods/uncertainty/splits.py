"""Splits that keep groups together, and label permutations that respect them.

A *group* is a template, a seed question or a contrast pair. Rows of one group are near-copies of
each other, so a group is entirely in the training part or entirely in the held-out part.
``grouped_folds`` is scikit-learn's ``StratifiedGroupKFold`` with as many folds as the class with
the fewest groups allows.

A shuffled-label baseline permutes what is exchangeable under the null: where the label is constant
in a group, labels move between groups; where a group (or a pair) holds several labels, they move
within it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_GROUPS

Split = tuple[Array, Array]


def grouped_folds(
    y: Array, groups: Sequence[object] | Array, *, folds: int = 5, seed: int = 0
) -> list[Split]:
    """Split rows into (training, held-out) index arrays, groups kept together, classes balanced.

    ``y`` (n,) class numbers, ``groups`` (n,) anything hashable. Returns fewer than ``folds``
    splits when a class is present in fewer groups. Raises ``DataError`` for one class only, or for
    a class within one group.
    """
    y, codes = np.asarray(y), group_codes(groups)
    counts = groups_per_class(y, codes)
    if len(y) < folds:
        raise DataError(
            "too-few-rows",
            f"{len(y)} rows cannot be split into {folds} folds",
            hint="collect more prompts, or use fewer folds",
            n=len(y),
            folds=folds,
        )
    classes = np.unique(y, return_inverse=True)[1].astype(np.intp)
    held_out = _fold_of_each(classes.tobytes(), codes.tobytes(), min(folds, *counts.values()), seed)
    if held_out is None:
        raise DataError(
            "no-valid-split",
            "no split of the groups has every class to train on and two classes to compare",
            hint="add groups (templates) to the smaller classes",
        )
    fold = np.frombuffer(held_out, dtype=np.intp)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


# Every layer, baseline and control of a question needs the same folds of the same rows.
@lru_cache(maxsize=1024)
def _fold_of_each(classes: bytes, codes: bytes, k: int, seed: int) -> bytes | None:
    """Number the fold in which each row is held out; None where no split is valid.

    Takes and returns the bytes of integer arrays, so that results can be cached.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, groups = (np.frombuffer(each, dtype=np.intp) for each in (classes, codes))
    fold = np.empty(len(y), dtype=np.intp)
    for attempt in range(20):
        splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed + 1000 * attempt)
        splits = list(splitter.split(np.zeros((len(y), 1)), y, groups))
        if all(_usable(y, train, held_out) for train, held_out in splits):
            for number, (_, held_out) in enumerate(splits):
                fold[held_out] = number
            return fold.tobytes()
    return None


def _usable(y: Array, train: Array, held_out: Array) -> bool:
    """Tell whether every class can be fitted, and two classes can be compared on held-out rows."""
    return len(np.unique(y[train])) == len(np.unique(y)) and len(np.unique(y[held_out])) > 1


def groups_per_class(y: Array, groups: Sequence[object] | Array) -> dict[int, int]:
    """Count the groups in which each class occurs; ``DataError`` where no split is possible."""
    codes = group_codes(groups)
    counts = {int(c): len(np.unique(codes[y == c])) for c in np.unique(y)}
    if len(counts) < 2:
        raise DataError(
            "one-class",
            f"all {len(y)} rows have the same label",
            hint="a score needs at least two classes",
            n=len(y),
        )
    smallest = min(counts, key=lambda c: counts[c])
    if counts[smallest] < 2:
        raise DataError(
            "class-of-one-group",
            f"class {smallest} occurs in one group only, so none of it can be held out",
            hint="each class needs prompts from at least 2 groups (templates)",
            label=smallest,
        )
    return counts


def least_groups(y: Array, groups: Sequence[object] | Array) -> int:
    """Return the number of groups of the class that has the fewest."""
    return min(groups_per_class(y, groups).values())


def enough_groups(n_groups: int, least: int) -> bool:
    """Tell whether ``n_groups``, with ``least`` or more of each class, may support a claim."""
    return n_groups >= MIN_GROUPS and least >= MIN_CLASS_GROUPS


def group_codes(groups: Sequence[object] | Array) -> Array:
    """Number the groups 0, 1, … in order of appearance, (n,)."""
    numbers: dict[object, int] = {}
    values = groups.tolist() if isinstance(groups, np.ndarray) else groups
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp)


def merge_identical(
    groups: Sequence[object] | Array, *keys: Sequence[object] | Array
) -> tuple[Array, int]:
    """Merge the groups of rows that are equal under any of ``keys``; count the repeated rows.

    A key has one entry per row: a sequence of texts, or a 2-d array whose rows are compared.
    """
    merged = group_codes(groups)
    repeats = np.zeros(len(merged), dtype=bool)
    for key in keys:
        same = group_codes([row.tobytes() for row in key] if isinstance(key, np.ndarray) else key)
        first = np.unique(same, return_index=True)[1]
        repeats |= ~np.isin(np.arange(len(same)), first)
        merged = _join(merged, same)
    return group_codes(merged), int(repeats.sum())


def _join(a: Array, b: Array) -> Array:
    """Connected components of "shares a or shares b"."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n_a, n_b = a.max(initial=-1) + 1, b.max(initial=-1) + 1
    edges = coo_matrix((np.ones(len(a)), (a, b + n_a)), shape=(n_a + n_b, n_a + n_b))
    component: Array = connected_components(edges, directed=False)[1]
    return component[a]


def permuted_labels(
    y: Array, groups: Sequence[object] | Array, rng: np.random.Generator, *, size: int
) -> Array:
    """Draw ``size`` permutations of the labels, (size, n), that respect the groups."""
    y, codes = np.asarray(y), group_codes(groups)
    members = [np.flatnonzero(codes == g) for g in range(codes.max(initial=-1) + 1)]
    constant = np.array([len(np.unique(y[rows])) == 1 for rows in members], dtype=bool)
    drawn = np.tile(y, (size, 1))
    fixed = np.flatnonzero(constant)
    of_group = np.array([y[members[g][0]] for g in fixed], dtype=y.dtype)
    moved = rng.permuted(np.tile(of_group, (size, 1)), axis=1)
    for k, g in enumerate(fixed):
        drawn[:, members[g]] = moved[:, k : k + 1]
    for g in np.flatnonzero(~constant):
        drawn[:, members[g]] = rng.permuted(drawn[:, members[g]], axis=1)
    return drawn
