"""A small sufficient set: the shortest prefix of an order that reaches a threshold, then pruned.

``value(set)`` is any number, such as a faithfulness. The shortest prefix is searched by doubling
and bisection, so that about 2·log n sets are evaluated; where ``value`` does not grow with the set
the result need not be the very shortest. Then every member is left out in turn, last ones first,
for good wherever the rest still reaches the threshold. The result cannot lose any one member: it is
minimal, but not the smallest possible, which only 2^n evaluations would find.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shortest_prefix(
    order: Sequence[T], value: Callable[[frozenset[T]], float], bar: float
) -> list[T]:
    """Return a prefix of ``order`` whose value reaches ``bar``, or all of ``order``."""
    low, high = 0, 1  # a prefix of ``low`` members is known to be too short
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
    """Return ``members`` without those that are not needed to reach ``bar``."""
    kept = list(members)
    for member in reversed(members):
        rest = [each for each in kept if each != member]
        if rest and value(frozenset(rest)) >= bar:
            kept = rest
    return kept
