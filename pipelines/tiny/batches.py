"""Batches of one step: token arrays of a few streams, with the positions that carry a loss.

A pool of examples is drawn from a grammar seeded by (seed, stream, pool number), sorted by length and cut
into batches, so that a batch pads little. Batch `step` of a stream can be made without the ones
before it: a resumed training reads what an uninterrupted one would have read.
"""

import random
from dataclasses import dataclass

import numpy as np
from examples import streams
from markup import Example
from tokenizers import Tokenizer

POOL = 24


@dataclass(frozen=True)
class Batch:
    """tokens (rows, length); inputs, targets, weights (k,): flat positions, next tokens, loss weights."""

    tokens: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Stream:
    """Batches of one kind of example."""

    def __init__(self, name: str, rows: int, seed: int, tokenizer: Tokenizer) -> None:
        self.name, self.rows, self.seed, self.tokenizer = name, rows, seed, tokenizer
        self.number = -1
        self.pool: list[Batch] = []

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        if step // POOL != self.number:
            self.number = step // POOL
            self.pool = self._draw()
        return self.pool[step % POOL]

    def _draw(self) -> list[Batch]:
        seed = f"{self.seed}/{self.name}/{self.number}"
        make = streams(seed)[self.name]
        rows = [encode(make(), self.tokenizer) for _ in range(self.rows * POOL)]
        rows.sort(key=lambda row: len(row[0]))
        cuts = [rows[i : i + self.rows] for i in range(0, len(rows), self.rows)]
        random.Random(seed).shuffle(cuts)
        return [pad(cut) for cut in cuts]


def encode(example: Example, tokenizer: Tokenizer) -> tuple[list[int], list[float]]:
    """Return the token ids of an example and the loss weight of each."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in example.pieces:
        piece = tokenizer.encode(text, add_special_tokens=False).ids
        ids += piece
        weights += [weight] * len(piece)
    return ids, weights


def pad(rows: list[tuple[list[int], list[float]]]) -> Batch:
    """Pad rows on the right (exact for a causal model) and list the positions with a loss."""
    length = max(len(ids) for ids, _ in rows)
    tokens = np.zeros((len(rows), length), np.int32)
    weight = np.zeros((len(rows), length), np.float32)
    for i, (ids, weights) in enumerate(rows):
        tokens[i, : len(ids)] = ids
        weight[i, : len(ids)] = weights
    row, column = np.nonzero(weight[:, 1:])
    return Batch(
        tokens,
        (row * length + column).astype(np.int32),
        tokens[row, column + 1],
        weight[row, column + 1],
    )
