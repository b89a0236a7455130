"""How coherent a text is: its repetitions, and its likelihood under the unsteered model. No judge.

    distinct_n    distinct n-grams / n-grams; 1 without repeats         (Li et al. 2016, 1510.03055)
    repeated_n    1 − distinct_n: the fraction of repeats       (Welleck et al. 2020, 1908.04319)
    entropy       −Σ f log f over the frequencies f of the tokens, in nats; 0 for one repeated token
    collapsed     the text is a loop: more than half of its 4-grams are repeats, or one token is
                  more than half of it
    mean_nll      −(1/T) Σ_t log p(x_t | x_<t), in nats per token; of several texts, the mean over
                  the texts

``ids`` are token ids (T,). A text without an n-gram has distinct 1, repeated 0 and entropy 0. Under
``SHORT`` tokens nothing is called a collapse. A loop is likely, too: read ``mean_nll`` together
with the repetitions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = Sequence[int] | npt.NDArray[np.integer]
SHORT = 8


@dataclass(frozen=True)
class Repetition:
    """How repetitive a text is; the field names are the keys in every artifact."""

    distinct_1: float
    distinct_2: float
    repeated_4: float
    entropy: float
    collapsed: bool


def repetition(ids: Ids) -> Repetition:
    """Measure the repetitions in a text."""
    return Repetition(
        distinct_1=distinct_n(ids, 1),
        distinct_2=distinct_n(ids, 2),
        repeated_4=repeated_n(ids, 4),
        entropy=entropy(ids),
        collapsed=collapsed(ids),
    )


def distinct_n(ids: Ids, n: int) -> float:
    """Return the fraction of distinct n-grams among the n-grams of a text."""
    grams = _n_grams(ids, n)
    return len(np.unique(grams, axis=0)) / len(grams) if len(grams) else 1.0


def repeated_n(ids: Ids, n: int) -> float:
    """Return the fraction of the n-grams of a text that occurred before in it."""
    return 1.0 - distinct_n(ids, n)


def entropy(ids: Ids) -> float:
    """Return the entropy of the tokens of a text, in nats."""
    _, counts = np.unique(np.asarray(ids), return_counts=True)
    frequencies = counts / counts.sum() if len(counts) else np.ones(1)
    return float(abs(np.sum(frequencies * np.log(frequencies))))


def collapsed(ids: Ids) -> bool:
    """Tell whether a text of ``SHORT`` tokens or more is a loop."""
    if len(ids) < SHORT:
        return False
    _, counts = np.unique(np.asarray(ids), return_counts=True)
    return bool(repeated_n(ids, 4) > 0.5 or counts.max() > len(ids) / 2)


def mean_nll(log_probs: npt.NDArray[np.floating]) -> float | None:
    """Return the mean of −log p over the tokens of a text, in nats; None for no tokens."""
    return float(-np.mean(log_probs, dtype=np.float64)) if len(log_probs) else None


def _n_grams(ids: Ids, n: int) -> npt.NDArray[np.integer]:
    """Return the n-grams of a text, ``(T − n + 1, n)``."""
    tokens = np.asarray(ids, dtype=np.int64)
    if len(tokens) < n:
        return np.empty((0, n), np.int64)
    return np.lib.stride_tricks.sliding_window_view(tokens, n)
