"""Many short lists of integers in two arrays: 4 bytes per number and 8 bytes per list.

A separate array for each prompt would take 100 bytes besides its numbers, which with 50,000 prompts
is more than the forward pass needs.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


class Lists(Sequence[Ids]):
    """An immutable sequence of int32 arrays; each is a view, made on access."""

    def __init__(self, values: Ids, offsets: npt.NDArray[np.int64]) -> None:
        self.values, self.offsets = values, offsets

    @classmethod
    def of(cls, lists: Iterable[Ids]) -> "Lists":
        """Copy ``lists``, one after the other."""
        (made,) = cls.columns(([each] for each in lists), 1)
        return made

    @classmethod
    def columns(cls, rows: Iterable[Sequence[Ids]], n: int) -> list["Lists"]:
        """Put rows of ``n`` lists each into ``n`` sequences, holding one row at a time."""
        values, lengths = [array("i") for _ in range(n)], [array("q") for _ in range(n)]
        for row in rows:
            for at, each in enumerate(row):
                values[at].frombytes(each.astype(np.int32).tobytes())
                lengths[at].append(len(each))
        # Views: a copy would briefly double the memory.
        return [
            cls(np.frombuffer(v, np.int32), np.append(0, np.cumsum(k, dtype=np.int64)))
            for v, k in zip(values, lengths, strict=True)
        ]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The length of each list."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Ids: ...
    @overload
    def __getitem__(self, index: slice) -> list[Ids]: ...
    def __getitem__(self, index: int | slice) -> Ids | list[Ids]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[Ids]:
        return (self[i] for i in range(len(self)))


def stacked(lists: Sequence[Ids]) -> Ids:
    """Return the lists as rows of one array (B, longest), padded with zeros on the right."""
    filled = np.zeros((len(lists), max(len(each) for each in lists)), np.int32)
    for row, each in zip(filled, lists, strict=True):
        row[: len(each)] = each
    return filled
