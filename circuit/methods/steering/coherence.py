"""How coherent a text is, from its tokens alone: no judge, no second model.

    distinct_n    distinct n-grams / n-grams                          1: no n-gram occurs twice (Li et al. 2016, 1510.03055)
    repeated_n    1 − distinct_n, the share of n-grams that are repeats   (Welleck et al. 2020, 1908.04319)
    entropy       −Σ f log f over the shares f of the tokens, in nats      0: one token over and over
    collapsed     the text fell into a loop: more than half of its 4-grams are repeats, or one token is more than half of it

``ids`` are token ids (T,). A text without an n-gram has none that is repeated: 1, 0 and 0. Under ``SHORT`` tokens nothing
is called a collapse. None of these says whether a text makes sense: that it is likely under the model as it is does
(``mean_nll`` of ``circuit.model.forward.teacher_forcing.token_log_probs``), and a loop is likely too, so both stand side by side.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = Sequence[int] | npt.NDArray[np.integer]
SHORT = 8


def distinct_n(ids: Ids, n: int) -> float:
    """Return the share of distinct n-grams among the n-grams of a text."""
    grams = _n_grams(ids, n)
    return len(np.unique(grams, axis=0)) / len(grams) if len(grams) else 1.0


def repeated_n(ids: Ids, n: int) -> float:
    """Return the share of the n-grams of a text that occurred in it before."""
    return 1.0 - distinct_n(ids, n)


def entropy(ids: Ids) -> float:
    """Return the entropy of the tokens of a text, in nats."""
    _, counts = np.unique(np.asarray(ids), return_counts=True)
    shares = counts / counts.sum() if len(counts) else np.ones(1)
    return float(abs(np.sum(shares * np.log(shares))))


def collapsed(ids: Ids) -> bool:
    """Say whether a text of ``SHORT`` tokens or more fell into a loop."""
    if len(ids) < SHORT:
        return False
    _, counts = np.unique(np.asarray(ids), return_counts=True)
    return bool(repeated_n(ids, 4) > 0.5 or counts.max() > len(ids) / 2)


def mean_nll(log_probs: npt.NDArray[np.floating]) -> float | None:
    """Return the mean negative log-probability of a text's tokens, in nats; None for an empty text."""
    return float(-np.mean(log_probs, dtype=np.float64)) if len(log_probs) else None


def _n_grams(ids: Ids, n: int) -> npt.NDArray[np.integer]:
    """Return the n-grams of a text, ``(T − n + 1, n)``."""
    tokens = np.asarray(ids, dtype=np.int64)
    if len(tokens) < n:
        return np.empty((0, n), np.int64)
    return np.lib.stride_tricks.sliding_window_view(tokens, n)
