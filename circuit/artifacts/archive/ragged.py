"""Ragged arrays: a prompt has one or several consecutive rows.

``offsets`` has ``n_prompts + 1`` entries, the first 0: the rows of prompt ``i`` are
``offsets[i]:offsets[i + 1]``, at least one. With one row per prompt ``offsets`` is 0, 1, 2, … and
the array is an ordinary one.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]
Floats = NDArray[np.float32]

_CHUNK = 1 << 20


def offsets_of(counts: Sequence[int] | NDArray[np.integer]) -> Offsets:
    """Return the offsets of prompts with these numbers of rows."""
    counted = np.asarray(counts, np.int64)
    if counted.size and counted.min() < 1:
        message = f"prompt {int(np.argmin(counted))} has no rows"
        raise ValueError(message)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counted)])


def runs(offsets: Offsets, prompts: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """Yield ``(first row, first value, length)`` of each run of consecutive rows.

    The values of ``prompts`` are concatenated in their order.
    """
    begins, ends = offsets[prompts], offsets[prompts + 1]
    breaks = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    done = 0
    for left, right in pairwise([0, *breaks.tolist(), len(prompts)] if len(prompts) else []):
        length = int(ends[right - 1] - begins[left])
        yield int(begins[left]), done, length
        done += length


def split(values: NDArray[np.int32], offsets: Offsets) -> list[NDArray[np.int32]]:
    """Return one array per prompt."""
    return [values[begin:end] for begin, end in pairwise(offsets.tolist())]


def means(read: Callable[[int, int], Floats], offsets: Offsets, width: int) -> Floats:
    """Return the mean of each prompt's rows, computed in float64.

    ``read(first, end)`` returns rows, of which few are held at a time.
    """
    out = np.empty((len(offsets) - 1, width), np.float32)
    rows = max(1, _CHUNK // max(width, 1))
    first = 0
    while first < len(out):
        # As many prompts as fit, and one at least.
        end = max(first + 1, int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1)
        begins = offsets[first:end] - offsets[first]
        values = read(int(offsets[first]), int(offsets[end]))
        sums = np.add.reduceat(values, begins, axis=0, dtype=np.float64)
        out[first:end] = sums / np.diff(offsets[first : end + 1])[:, None]
        first = end
    return out
