"""Difference of means: v ∝ μ⁺ − μ⁻; for pairs the mean of h⁺_i − h⁻_i is the same vector.

The default, for reading and for writing: along it the class means differ most per unit length.
Contrastive activation addition, Rimsky et al. 2023 (2312.06681). Sums in float64.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "method"
BALANCED = True


def fit(rows: Rows) -> Array:
    """Return μ⁺ − μ⁻; pairing does not change it."""
    return rows.gap


def combine(labellings: Array) -> Array:
    """Return coefficients (P, n) of the rows that sum to μ⁺ − μ⁻, for labellings in {0, 1}."""
    positive = np.maximum(labellings.sum(axis=1, keepdims=True), 1)
    negative = np.maximum((1 - labellings).sum(axis=1, keepdims=True), 1)
    return np.asarray(labellings / positive - (1 - labellings) / negative)
