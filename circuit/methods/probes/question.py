"""One labelling of rows, prepared so that every layer and baseline is scored in the same way.

Folds, resamples of groups and permutations of labels are drawn once. So all layers are scored on
the same folds, differences between them are paired, and the maximum over layers in a permutation
refers to one permutation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Resamples, resample
from circuit.methods.uncertainty.splits import (
    Split,
    group_codes,
    grouped_folds,
    groups_per_class,
    permuted_labels,
)

MANY_CLASSES, RANKINGS, LEAST = 20, 20_000, 199


@dataclass(frozen=True)
class Task:
    """Class numbers, groups, and everything that is drawn from them."""

    y: Array  # (n,) class numbers 0, 1, …
    groups: Array  # (n,) codes
    splits: list[Split]
    shuffles: Array  # (n_shuffles, n) permuted labels
    resamples: Resamples
    seed: int

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return int(self.y.max()) + 1

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1


def most_permutations(n_classes: int) -> int | None:
    """Return how many permutations more than 20 classes get at most; None for fewer classes.

    Each permutation ranks the rows once per class: at most ``RANKINGS`` in all, but at least
    ``LEAST`` permutations, whose smallest p is 0.005.
    """
    return None if n_classes <= MANY_CLASSES else max(LEAST, RANKINGS // n_classes)


def prepare(
    y: Array,
    groups: Sequence[object] | Array,
    *,
    units: Sequence[object] | Array | None = None,
    folds: int = 5,
    seed: int = 0,
    n_boot: int = 1000,
    n_shuffles: int = 1000,
) -> Task:
    """Draw folds, permutations and resamples for the labels ``y`` (n,), groups kept together.

    Labels are permuted by ``units``: the pairs where there are pairs, the groups by default. Of
    many classes there are at most ``most_permutations``.
    """
    y, codes = np.unique(y, return_inverse=True)[1], group_codes(groups)
    n_shuffles = min(n_shuffles, most_permutations(int(y.max()) + 1) or n_shuffles)
    groups_per_class(y, codes)
    rng = np.random.default_rng(seed)
    splits = grouped_folds(y, codes, folds=folds, seed=seed)
    return Task(
        y=y,
        groups=codes,
        splits=splits,
        shuffles=permuted_labels(y, codes if units is None else units, rng, size=n_shuffles),
        resamples=resample(y, codes, n_boot=n_boot, rng=rng, folds=len(splits)),
        seed=seed,
    )
