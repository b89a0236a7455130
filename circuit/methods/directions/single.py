"""The activations of one prompt: v ∝ h⁺ of the first positive row.

A baseline, and a poor one: most of h is what all prompts share, so that it hardly tells any two of them apart. It is what
"a single activation vector" in early steering recipes means; a pair's difference (``mean_diff`` of two prompts) at least
takes the common part off.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "baseline"


def fit(rows: Rows) -> Array:
    """Return the first positive row as it stands."""
    return np.asarray(rows.positive[0], dtype=np.float64)
