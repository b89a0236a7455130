"""Batches: prompts of nearly equal length that run together, under a budget of tokens.

Prompts are sorted by length and right-padded, which is exact for causal models because the pads
come after every real token. A model on which that does not hold (``padding.pads_are_harmless``)
gets batches of prompts of equal length.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

Rows = npt.NDArray[np.intp]
BATCH_TOKENS = 512
# Keys and values of a shared prefix are copied for each row: at most this many budgets.
CONTEXT = 16


def plan_batches(
    lengths: ArrayLike,
    *,
    batch_tokens: int = BATCH_TOKENS,
    padded: bool = True,
    prefix: int = 0,
    parallel: int = 1,
) -> list[Rows]:
    """Cut the prompts, longest first, into batches of at most ``batch_tokens`` padded tokens.

    ``lengths`` counts the tokens that have to run, without the ``prefix`` that all share. The
    longest batch comes first so that running out of memory happens at once or never. Without
    ``padded`` all prompts of a batch have the same length. A set that would fill fewer than
    ``parallel`` batches is spread over that many.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    ordered = np.asarray(lengths)[order]
    budget = min(batch_tokens, -(-int(ordered.sum()) // parallel))
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(ordered[start]))
        size = max(1, min(budget // longest, CONTEXT * batch_tokens // (prefix + longest)))
        if not padded:
            size = min(size, int((ordered[start:] == longest).sum()))
        batches.append(order[start : start + size])
        start += size
    return batches


def padding_waste(lengths: ArrayLike, batches: Sequence[Rows]) -> float:
    """Return the fraction of all tokens in the batches that is padding."""
    sizes = np.asarray(lengths)
    padded = sum(len(rows) * int(sizes[rows].max()) for rows in batches)
    return 1 - int(sizes.sum()) / padded
