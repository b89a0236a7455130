"""A small set that still does the work: the shortest beginning of an order that reaches a bar, then without what it does not need.

``value(set)`` is any number, such as a faithfulness. The shortest beginning is looked for by doubling and halving, so that about
2·log n sets are tried; where ``value`` does not grow with the set it need not be the very shortest. Then every member is left out in
turn, last ones first, for good wherever the rest still reaches the bar. What remains cannot lose any one member: minimal, not the
smallest that there is, which only 2^n trials would find.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shortest_prefix(
    order: Sequence[T], value: Callable[[frozenset[T]], float], bar: float
) -> list[T]:
    """Return a beginning of ``order`` whose value reaches ``bar``; all of it where no shorter one was found to."""
    low, high = 0, 1  # a beginning of ``low`` members is known to be too short
    while high < len(order) and value(frozenset(order[:high])) < bar:
        low, high = high, 2 * high
    high = min(high, len(order))
    while high - low > 1:
        middle = (low + high) // 2
        if value(frozenset(order[:middle])) < bar:
            low = middle
        else:
            high = middle
    return list(order[:high])


def prune(members: Sequence[T], value: Callable[[frozenset[T]], float], bar: float) -> list[T]:
    """Return ``members`` without those that the rest does not need."""
    kept = list(members)
    for member in reversed(members):
        rest = [each for each in kept if each != member]
        if rest and value(frozenset(rest)) >= bar:
            kept = rest
    return kept
