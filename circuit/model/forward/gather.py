"""Gather the requested tokens of a batch inside the graph, and join them into rows.

A *gather* takes the activations of the tokens of a batch, (B, T, width), and returns the requested
ones, (B, K, width), inside the graph: a slice would keep the whole array alive, and nothing else is
evaluated. K is the largest number of requested tokens of a prompt in the batch; shorter lists are
padded, and cut again when the rows are joined, which gives (sum of tokens, width) in the order of
the prompts.

Tokens of a shared prefix did not run with the batch. Their rows are read once, when the prefix
runs.

A row of ``attn_pattern`` is one key of one query: for each query of a prompt of T tokens there are
T rows (n_heads,), query after query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.prompts.lists import Ids, stacked

Array = npt.NDArray[np.float32]


def gathered(hidden: mx.array, indices: npt.NDArray[np.int32]) -> mx.array:
    """Return the tokens ``indices`` (B, K) of ``hidden`` (B, T, ...)."""
    wide = mx.array(indices).reshape(*indices.shape, *[1] * (hidden.ndim - 2))
    return mx.take_along_axis(hidden, wide, axis=1)


@dataclass(frozen=True, eq=False)
class PrefixRows:
    """Tokens ``at`` of the shared prefix, and the activations of each: (len(at), ...)."""

    at: Ids
    values: Array

    def rows(self, wanted: Ids) -> Array:
        """Return the values of some tokens."""
        found: Array = self.values[np.searchsorted(self.at, wanted)]
        return found


@dataclass(eq=False)
class BatchPosition:
    """One position of one batch: ``indices`` of each prompt, of which ``prefix`` tokens ran."""

    indices: Sequence[Ids]
    lengths: Sequence[int]
    is_mean: bool = False
    prefix: int = 0
    inside: Sequence[Ids] = field(init=False)

    def __post_init__(self) -> None:
        self.inside = self.indices
        if self.prefix:
            self.inside = [each[each >= self.prefix] - self.prefix for each in self.indices]

    @property
    def runs(self) -> bool:
        """Say whether any requested token is in the batch, and not in the prefix."""
        return any(len(each) for each in self.inside)

    def gather(self, hidden: mx.array) -> mx.array:
        """Select (B, T, ...) -> (B, K, ...), or average (B, T, width) -> float32 (B, 1, width)."""
        if self.is_mean:
            return self._weights(hidden.shape[1]) @ hidden.astype(mx.float32)
        return gathered(hidden, stacked(self.inside))

    def rows(self, values: Array | None, before: PrefixRows | None) -> Array:
        """Join what was gathered, (B, K, ...), and the prefix's rows: (sum, width)."""
        if self.is_mean:
            return self._means(values, before)
        if values is not None and before is None and values.shape[1:-1] == (1,):
            return values[:, 0]
        return np.concatenate(list(self._parts(values, before)))

    def rows_of_each(self, values: Array) -> list[int]:
        """Return how many rows of ``values`` belong to each prompt."""
        tokens = [1 if self.is_mean else len(every) for every in self.indices]
        per_key = len(values) != sum(tokens)  # a pattern: a row for every key of every token
        return [n * t if per_key else n for n, t in zip(tokens, self.lengths, strict=True)]

    def _parts(self, values: Array | None, before: PrefixRows | None) -> Iterator[Array]:
        for row, (every, length) in enumerate(zip(self.indices, self.lengths, strict=True)):
            if before is not None:
                yield _as_rows(before.rows(every[every < self.prefix]), length)
            if values is not None:
                yield _as_rows(values[row, : len(self.inside[row])], length)

    def _means(self, values: Array | None, before: PrefixRows | None) -> Array:
        if before is None:
            assert values is not None
            return values[:, 0]
        shared = [before.rows(every[every < self.prefix]) for every in self.indices]
        sums = np.stack([rows.sum(axis=0, dtype=np.float64) for rows in shared])
        means: Array = (sums / [[len(every)] for every in self.indices]).astype(np.float32)
        return means if values is None else means + values[:, 0]

    def _weights(self, length: int) -> mx.array:
        weights = np.zeros((len(self.indices), 1, length), dtype=np.float32)
        for row, (inside, every) in enumerate(zip(self.inside, self.indices, strict=True)):
            weights[row, 0, inside] = 1 / len(every)
        return mx.array(weights)


def _as_rows(values: Array, length: int) -> Array:
    """Return (k, width) unchanged, and a pattern (k, n_heads, T_keys) as (k * length, n_heads)."""
    if values.ndim == 2:
        return values
    missing = max(0, length - values.shape[2])  # keys after a query of the prefix have weight 0
    whole = np.pad(values, ((0, 0), (0, 0), (0, missing)))[:, :, :length]
    return whole.swapaxes(1, 2).reshape(-1, values.shape[1])
