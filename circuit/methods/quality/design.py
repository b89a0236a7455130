"""Labels, groups and pairs of the rows that a direction is fitted to and scored on.

Pairs are used where every row has exactly one partner of the other class, else not at all; both
members of a pair share a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.splits import group_codes, groups_per_class, merge_identical


@dataclass(frozen=True)
class Design:
    """Labels, groups and pairs of the rows that a direction is fitted to and scored on."""

    y: Array  # (n,) 0 or 1
    groups: Array  # (n,) codes; pairs never cross groups
    pairs: Array | None  # (n,) pair numbers, or None when some row has no partner

    @property
    def units(self) -> Array:
        """The units that labels are permuted within, or between where they are constant."""
        return self.groups if self.pairs is None else self.pairs

    def take(self, rows: Array) -> "Design":
        """Keep some rows, whole groups of them."""
        pairs = None if self.pairs is None else self.pairs[rows]
        return Design(self.y[rows], self.groups[rows], pairs)

    def relabel(self, y: Array) -> "Design":
        """Replace the labels."""
        return replace(self, y=y)

    def classes(self, rows: Array) -> tuple[Array, Array]:
        """Positive and negative ones of ``rows``, in the order of their pairs."""
        order = rows if self.pairs is None else rows[np.argsort(self.pairs[rows], kind="stable")]
        return order[self.y[order] == 1], order[self.y[order] == 0]


def design(
    y: Array,
    groups: Sequence[object] | Array,
    pairs: Sequence[object] | Array | None = None,
) -> Design:
    """Check labels and groups; use ``pairs`` when each row has one partner of the other class."""
    y = np.asarray(y).astype(np.intp)
    numbers = None if pairs is None else _pair_numbers(y, pairs)
    codes = group_codes(groups)
    if numbers is not None:
        codes, _ = merge_identical(codes, numbers[:, None])
    counts = groups_per_class(y, codes)
    if set(counts) != {0, 1}:
        raise DataError(
            "two-classes-expected",
            f"a direction needs the classes 0 and 1, got {sorted(counts)}",
            classes=sorted(counts),
        )
    return Design(y, codes, numbers)


def _pair_numbers(y: Array, pairs: Sequence[object] | Array) -> Array | None:
    """Number the pairs, or None unless every row has exactly one partner of the other class."""
    values = pairs.tolist() if isinstance(pairs, np.ndarray) else list(pairs)
    if any(value is None for value in values):
        return None
    numbers = group_codes(values)
    size = np.bincount(numbers)
    positives = np.bincount(numbers, weights=y)
    return numbers if (size == 2).all() and (positives == 1).all() else None
