"""Entropy of distributions over a vocabulary, and divergences between two of them, in nats.

    H(p)      −Σ p log p                               entropy; divided by log V it is 0 to 1
    KL(p‖q)    Σ p (log p − log q)
    JS(p, q)   ½ KL(p‖m) + ½ KL(q‖m), m = ½(p + q)     symmetric, at most log 2 (Lin 1991)

All take log-probabilities (..., V) and work in float64.
"""

import numpy as np
import numpy.typing as npt

from circuit.methods.arrays import Array


def log_softmax(logits: npt.ArrayLike) -> Array:
    """Return log-probabilities of ``logits`` (..., V), in float64."""
    from scipy import special

    return np.asarray(special.log_softmax(np.asarray(logits, dtype=np.float64), axis=-1))


def entropy(log_p: Array) -> Array:
    """Return H(p), (...)."""
    return _mean(log_p, -log_p)


def normalised_entropy(log_p: Array) -> Array:
    """Return H(p) / log V, (...)."""
    return np.asarray(entropy(log_p) / np.log(log_p.shape[-1]))


def kl(log_p: Array, log_q: Array) -> Array:
    """Return KL(p‖q), (...)."""
    return _mean(log_p, log_p - log_q)


def js(log_p: Array, log_q: Array) -> Array:
    """Return JS(p, q), (...)."""
    middle = np.logaddexp(log_p, log_q) - np.log(2)
    return np.asarray((kl(log_p, middle) + kl(log_q, middle)) / 2)


def rank(log_p: Array, token: int) -> Array:
    """Return the rank of a token (...): 1 for the most likely one."""
    return np.asarray((log_p > log_p[..., token : token + 1]).sum(axis=-1) + 1)


def _mean(log_p: Array, values: Array) -> Array:
    """Return Σ p · values over the tokens that have a probability."""
    p = np.exp(log_p)
    return np.asarray(np.sum(p * np.where(p > 0, values, 0.0), axis=-1))
