"""Similarity of directions, and of whole layers.

``cosine_matrix``, and its level by chance: two random unit vectors in d dimensions have
E|cos| = √(2 / πd).

``cka``: linear centred kernel alignment of two layers on the same rows,
HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), with the *unbiased* HSIC of Song et al. 2012, as in Nguyen et
al. 2021:

    HSIC = [tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1/((n−1)(n−2)) − 2·1ᵀK̃L̃1/(n−2)] / (n(n−3))
    K̃ = K with a zero diagonal

The plain estimate of Kornblith et al. 2019 tends to 1 for unrelated layers when n < d; this one is
0 in the mean, and so can be slightly negative.
"""

import math
from collections.abc import Sequence

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array


def cosine_matrix(vectors: Array) -> Array:
    """Cosines between the rows of ``vectors`` (k, d)."""
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    return np.asarray(np.clip(unit @ unit.T, -1, 1))


def paired_cosines(A: Array, B: Array) -> Array:
    """Return the cosine of row i of ``A`` (n, d) with row i of ``B``, (n,); 0 for a zero row."""
    wide = np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)
    size = np.linalg.norm(wide[0], axis=1) * np.linalg.norm(wide[1], axis=1)
    return np.asarray(np.clip((wide[0] * wide[1]).sum(axis=1) / np.where(size > 0, size, 1), -1, 1))


def centred_cosines(A: Array, B: Array) -> Array | None:
    """Paired cosines after the mean of each set's rows is subtracted, (n,).

    None where all rows of one are equal: nothing is left of them.
    """
    if all_equal(A) or all_equal(B):
        return None
    wide = np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)
    return paired_cosines(wide[0] - wide[0].mean(axis=0), wide[1] - wide[1].mean(axis=0))


def relative_distances(A: Array, B: Array) -> Array:
    """‖b_i − a_i‖ / ‖a_i‖ of rows ``A`` and ``B`` (n, d), (n,)."""
    wide = np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)
    lengths = np.linalg.norm(wide[0], axis=1)
    moved = np.linalg.norm(wide[1] - wide[0], axis=1)
    return np.asarray(moved / np.where(lengths > 0, lengths, 1))


def expected_cosine(d: int) -> float:
    """Mean |cos| of two random directions in ``d`` dimensions."""
    return math.sqrt(2 / (math.pi * d))


def all_equal(H: Array) -> bool:
    """Tell whether all rows of ``H`` (n, d) are equal: centred, only rounding would be left."""
    return bool((H[0] == H).all())


def centred_gram(H: Array) -> Array:
    """Return the U-centred Gram matrix of rows ``H`` (n, d), the input of ``cka``, (n, n) float32.

    U-centring turns HSIC into an inner product: HSIC = Σ_{i≠j} K*_ij L*_ij / (n(n − 3)).
    """
    if len(H) < 4:
        raise DataError(
            "too-few-prompts",
            f"CKA needs at least 4 prompts, got {len(H)}",
            hint="collect more prompts",
            n=len(H),
        )
    if all_equal(H):
        return np.zeros((len(H), len(H)), dtype=np.float32)
    X = np.asarray(H, dtype=np.float64)
    X = X - X.mean(axis=0)
    K, n = X @ X.T, len(X)
    np.fill_diagonal(K, 0)
    rows = K.sum(axis=1) / (n - 2)
    K = K - rows[:, None] - rows[None, :] + K.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(K, 0)
    return np.asarray(K, dtype=np.float32)


def cka(grams: Sequence[Array]) -> Array:
    """Return the CKA of layers from their ``centred_gram``s; NaN for a layer of equal rows."""
    flat = np.stack([gram.ravel() for gram in grams])
    products = (flat @ flat.T).astype(np.float64)
    size = np.sqrt(np.maximum(np.diag(products), 0))
    scale = np.outer(size, size)
    similar: Array = np.full_like(products, np.nan)
    np.divide(products, scale, out=similar, where=scale > 0)
    return similar
