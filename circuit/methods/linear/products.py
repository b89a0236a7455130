"""Rows by their products alone: n training rows in d dimensions enter a fit only through X Xᵀ.

    X = (H − m) / σ  (n, d)          inside   V ↦ X Xᵀ V
    X' = (H' − m) / σ  (m, d)        outside  V ↦ X' Xᵀ V

m and σ are those of the training rows. An L2-penalised fit has its solution in the row space,
w = Xᵀα (representer theorem), so that fitting and predicting need these two maps, and no
decomposition. Each is stored as its matrix (n, n) and (m, n), or as the two factors where n > 2d
makes those cheaper. σ = 1 for a constant feature. Products of more than ``EXACT`` elements of
float32 rows are float32: their rounding (1e-6 of a product) is far below the smallest penalty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.threads import single_threaded
from circuit.methods.uncertainty.splits import Split

EXACT = 500_000


@dataclass(frozen=True)
class Products:
    """The map V (P, n) ↦ V X X'ᵀ (P, m): vectors are rows here, which is faster in BLAS."""

    left: Array  # (n, m): X X'ᵀ, or X (n, d) where there is a right factor
    right: Array | None = None  # (d, m): X'ᵀ

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision."""
        return self.left.dtype

    @property
    def size(self) -> float:
        """Mean squared length of the training rows, for ``inside`` products."""
        if self.right is None:
            return float(self.left.trace()) / max(len(self.left), 1)
        return float(np.einsum("ij,ij->", self.left, self.left)) / max(len(self.left), 1)

    def of(self, V: Array) -> Array:
        """Apply the map to the rows of ``V`` (P, n)."""
        through = V.astype(self.dtype, copy=False) @ self.left
        return np.asarray(through if self.right is None else through @ self.right)


@dataclass(frozen=True)
class Standardised:
    """Standardised training rows, and the parameters that standardise other rows."""

    mean: Array  # (d,)
    scale: Array  # (d,)
    rows: Array  # X (n, d)

    @property
    def inside(self) -> Products:
        """Products of the training rows among themselves."""
        return _products(self.rows, self.rows)

    def outside(self, H: Array) -> Products:
        """Products of other rows ``H`` (m, d) with the training rows."""
        return _products(self.rows, self._moved(H))

    def lift(self, coefficients: Array) -> Array:
        """Turn coefficients of the rows (n, ...) into weights on the original features (d, ...)."""
        return np.asarray(((self.rows.T @ coefficients).T / self.scale).T)

    def _moved(self, H: Array) -> Array:
        moved: Array = H.astype(self.rows.dtype)
        moved -= self.mean.astype(moved.dtype)
        moved /= self.scale.astype(moved.dtype)
        return moved


def standardised(H: Array) -> Standardised:
    """Standardise training rows ``H`` (n, d)."""
    dtype = np.float32 if H.dtype == np.float32 and H.size > EXACT else np.float64
    mean = H.mean(axis=0, dtype=np.float64)
    X: Array = H.astype(dtype)
    X -= mean.astype(dtype)
    spread = np.sqrt(np.einsum("ij,ij->j", X, X) / len(X)).astype(np.float64)
    # A float32 feature that is constant has a spread of rounding size, which must not be amplified.
    noise = 1e-6 * np.maximum(np.abs(H.max(axis=0)), np.abs(H.min(axis=0)))
    scale = np.where(spread > noise, spread, 1.0)
    X /= scale.astype(dtype)
    return Standardised(mean, scale, X)


def _products(X: Array, others: Array) -> Products:
    if len(X) > 2 * X.shape[1]:
        return Products(X, np.ascontiguousarray(others.T))
    return Products(X @ others.T)


@dataclass(frozen=True)
class Fold:
    """One split of the rows, standardised in its training part."""

    train: Array  # row numbers
    held_out: Array
    inside: Products  # of the training rows (n) among themselves
    outside: Products  # of the held-out rows (m) with them


@single_threaded
def decompose(H: Array, splits: Sequence[Split]) -> list[Fold]:
    """Compute the products of each split, once for all labels on the same rows."""
    return [_fold(H, *split) for split in splits]


def _fold(H: Array, train: Array, held_out: Array) -> Fold:
    space = standardised(H[train])
    return Fold(train, held_out, space.inside, space.outside(H[held_out]))
