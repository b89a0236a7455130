"""The activations of one prompt: v ∝ h⁺ of the first positive row.

A weak baseline: most of h is common to all prompts, so that it hardly separates any two of them. It
is what "a single activation vector" in early steering recipes means; the difference of a pair
(``mean_diff`` of two prompts) at least subtracts the common part.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "baseline"


def fit(rows: Rows) -> Array:
    """Return the first positive row."""
    return np.asarray(rows.positive[0], dtype=np.float64)
