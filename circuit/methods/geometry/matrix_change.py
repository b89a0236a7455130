"""The size of a change of a weight matrix, and its rank.

relative    ‖B − A‖_F / ‖A‖_F           cosine    ⟨A, B⟩ / (‖A‖ ‖B‖)
spectrum    singular values σ of B − A, the largest first
stable rank    ‖B − A‖_F² / σ₁²
effective rank exp(−Σ p log p), p = σ / Σσ (Roy & Vetterli 2007): at most the rank; a LoRA of rank r
               has at most r
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array


@dataclass(frozen=True)
class Sums:
    """Sums over elements: ‖A‖², ‖B‖², ⟨A, B⟩, ‖B − A‖²; the largest |b − a|; the count."""

    a: float = 0.0
    b: float = 0.0
    ab: float = 0.0
    change: float = 0.0
    largest: float = 0.0
    size: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.a + other.a,
            self.b + other.b,
            self.ab + other.ab,
            self.change + other.change,
            max(self.largest, other.largest),
            self.size + other.size,
        )

    @property
    def relative(self) -> float | None:
        """Norm of the change relative to the base; None where only the base is zero."""
        if self.a == 0:
            return 0.0 if self.change == 0 else None
        return float(np.sqrt(self.change / self.a))

    @property
    def cosine(self) -> float | None:
        """Cosine of both; None where one of them is zero."""
        size = np.sqrt(self.a) * np.sqrt(self.b)
        return float(np.clip(self.ab / size, -1, 1)) if size else None


def sums(pieces: Iterable[tuple[Array, Array]]) -> Sums:
    """Add up flat pieces of A and B, in float64."""
    total = Sums()
    for part, other in pieces:
        a, b = part.astype(np.float64), other.astype(np.float64)
        change = b - a
        largest = float(np.abs(change).max(initial=0))
        total += Sums(
            float(a @ a), float(b @ b), float(a @ b), float(change @ change), largest, a.size
        )
    return total


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of a change, and its ranks."""

    values: list[float]
    stable_rank: float
    effective_rank: float


def spectrum(change: Array, top: int) -> Spectrum | None:
    """Return the spectrum of a matrix (m, n); None where it is zero."""
    values = np.linalg.svd(change.astype(np.float64), compute_uv=False)
    if not values.size or values[0] == 0:
        return None
    p = values[values > 1e-12 * values[0]]
    p = p / p.sum()
    return Spectrum(
        [float(f"{value:.6g}") for value in values[:top]],
        float((values**2).sum() / values[0] ** 2),
        float(np.exp(-(p * np.log(p)).sum())),
    )


def total(parts: Sequence[Sums]) -> Sums:
    """Add up the sums of several tensors."""
    added = Sums()
    for part in parts:
        added += part
    return added
