"""Scores of an attention pattern between 0 and 1: A[t, s] is the weight of query t on key s ≤ t.

    previous     mean over t ≥ 1 of A[t, t − 1]
    first        mean over t ≥ 1 of A[t, 0], the sink
    self         mean over t ≥ 1 of A[t, t]
    duplicate    mean over t with an earlier x_s = x_t of Σ_s A[t, s] over those s; x are the tokens
    induction    mean over t with an earlier x_s = x_t of Σ_s A[t, s + 1], s + 1 < t: the token that
                 followed then (Olsson et al. 2022, 2209.11895)
    entropy      mean over t ≥ 1 of H(A[t, ·]) / log(t + 1), of the weights normalised over the keys

``uniform`` gives the scores of a head that attends to all keys alike, for comparison. A score is
NaN where no token qualifies.
"""

import numpy as np
import numpy.typing as npt

from circuit.methods.arrays import Array

SCORES = ("previous", "first", "self", "duplicate", "induction", "entropy")


def head_scores(patterns: Array, tokens: npt.ArrayLike) -> dict[str, Array]:
    """Return every score of patterns (T, n_heads, T), (n_heads,) each."""
    weights = np.asarray(patterns, dtype=np.float64).swapaxes(0, 1)
    x = np.asarray(tokens)
    n = len(x)
    same = np.tril(x[:, None] == x[None, :], -1)
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    after &= np.tri(n, k=-1, dtype=bool)
    later = np.arange(n) >= 1
    return {
        "previous": _mean(weights, np.eye(n, k=-1, dtype=bool), later),
        "first": _mean(weights, np.arange(n)[None, :] == np.zeros((n, 1)), later),
        "self": _mean(weights, np.eye(n, dtype=bool), later),
        "duplicate": _mean(weights, same, same.any(axis=1)),
        "induction": _mean(weights, after, after.any(axis=1)),
        "entropy": _entropy(weights, later),
    }


def uniform(tokens: npt.ArrayLike) -> dict[str, float]:
    """Return the scores of a head that attends to all keys alike."""
    n = len(np.asarray(tokens))
    even = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    return {name: float(value[0]) for name, value in head_scores(even[:, None], tokens).items()}


def _mean(weights: Array, keys: npt.NDArray[np.bool_], queries: npt.NDArray[np.bool_]) -> Array:
    """Return the mean over ``queries`` (T,) of the weight on ``keys`` (T, T)."""
    if not queries.any():
        return np.full(len(weights), np.nan)
    return np.asarray((weights * keys).sum(axis=2)[:, queries].mean(axis=1))


def _entropy(weights: Array, queries: npt.NDArray[np.bool_]) -> Array:
    if not queries.any():
        return np.full(len(weights), np.nan)
    whole = np.maximum(weights.sum(axis=2, keepdims=True), 1e-30)
    p = weights / whole
    terms = -p * np.log(np.where(p > 0, p, 1.0))
    most = np.log(np.arange(1, weights.shape[1] + 1))
    return np.asarray((terms.sum(axis=2)[:, queries] / most[queries]).mean(axis=1))
