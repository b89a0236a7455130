"""Difference of means: v ∝ μ⁺ − μ⁻, and for pairs the mean of h⁺_i − h⁻_i, which is the same vector.

The default, for reading and for writing: along it the class means differ most per unit length. Contrastive
activation addition, Rimsky et al. 2023 (2312.06681). Sums in float64.
"""

import numpy as np

from circuit.methods.arrays import Array

SPACE = "raw"


def fit(positive: Array, negative: Array, *, paired: bool) -> Array:  # noqa: ARG001
    """Return μ⁺ − μ⁻; pairing does not change it."""
    return np.asarray(positive.mean(axis=0) - negative.mean(axis=0))
