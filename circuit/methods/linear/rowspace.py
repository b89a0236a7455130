"""The row space of a training matrix: n rows in d ≫ n dimensions, in r ≤ min(n − 1, d) coordinates.

    X = (H − m) / σ,   X = U S Vᵀ (thin SVD),   coordinates = U S
    held-out rows → (H' − m) / σ · V

With n < d the Gram matrix X Xᵀ = U S² Uᵀ is decomposed, otherwise Xᵀ X, both in float64. The map is
an isometry on the row space, and LDA, PCA and differences of means have their solution in the row
space (representer theorem), so fitting in coordinates is exact, and costs n instead of d.
Regressions need products only: ``products``. σ = 1 unless ``standardise``; a constant feature has
σ = 1 and drops out. Directions with S below 1e-7 of the largest are rounding noise and are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.threads import single_threaded


@dataclass(frozen=True)
class RowSpace:
    """Coordinates of the training rows (n, r), and the maps into and out of them."""

    mean: Array  # (d,)
    scale: Array  # (d,)
    basis: Array  # (d, r), orthonormal columns: V
    coordinates: Array  # (n, r): U S

    def project(self, H: Array) -> Array:
        """Return coordinates (m, r) of other rows (m, d), projected on the row space."""
        return np.asarray((H - self.mean) / self.scale @ self.basis)

    def lift(self, weights: Array) -> Array:
        """Turn weights on coordinates (r, ...) into weights on the original features (d, ...)."""
        lifted = self.basis @ weights
        return np.asarray((lifted.T / self.scale).T)


@single_threaded
def row_space(H: Array, *, standardise: bool) -> RowSpace:
    """Decompose the rows ``H`` (n, d)."""
    H = np.asarray(H, dtype=np.float64)
    mean = H.mean(axis=0)
    scale = _scale(H) if standardise else np.ones(H.shape[1])
    X = (H - mean) / scale
    singular, left, right = thin_svd(X)
    return RowSpace(mean, scale, right, left * singular)


@single_threaded
def row_coordinates(H: Array, *, standardise: bool) -> Array:
    """Return the coordinates U S (n, r) of the rows ``H`` (n, d) without the maps."""
    if len(H) > H.shape[1]:
        return row_space(H, standardise=standardise).coordinates
    X = np.asarray(H, dtype=np.float64)
    scale = _scale(X) if standardise else 1.0
    singular, left = _left((X - X.mean(axis=0)) / scale)
    return np.asarray(left * singular)


def _scale(H: Array) -> Array:
    spread = H.std(axis=0)
    # A float32 feature that is constant has a spread of rounding size, which must not be amplified.
    noise = 1e-6 * np.abs(H).max(axis=0)
    return np.where(spread > noise, spread, 1.0)


def thin_svd(X: Array) -> tuple[Array, Array, Array]:
    """Return S (r,), U (n, r), V (d, r) of ``X`` (n, d), S falling, by the smaller Gram matrix."""
    if X.shape[0] <= X.shape[1]:
        singular, left = _left(X)
        return singular, left, X.T @ left / singular
    values, vectors = np.linalg.eigh(X.T @ X)
    singular, keep = _kept(values)
    right = vectors[:, ::-1][:, keep]
    return singular, X @ right / singular, right


def _left(X: Array) -> tuple[Array, Array]:
    """Return S (r,) and U (n, r) of ``X`` (n, d), n ≤ d, S falling."""
    values, vectors = np.linalg.eigh(X @ X.T)
    singular, keep = _kept(values)
    return singular, vectors[:, ::-1][:, keep]


def _kept(eigenvalues: Array) -> tuple[Array, Array]:
    """Return falling singular values from rising eigenvalues, and which exceed rounding."""
    singular = np.sqrt(np.maximum(eigenvalues[::-1], 0))
    keep = singular > 1e-7 * max(float(singular.max(initial=0)), np.finfo(np.float64).tiny)
    return singular[keep], keep


def fold_numbers(held_out: Sequence[Array], n: int) -> Array:
    """Number the fold in which each row is held out, (n,), from the row numbers of each fold."""
    numbers = np.full(n, -1, dtype=np.intp)
    for k, rows in enumerate(held_out):
        numbers[rows] = k
    return numbers
