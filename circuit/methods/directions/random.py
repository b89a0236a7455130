"""An isotropic random direction, v ∝ z, z ~ N(0, I).

A control: the effect of any direction, in steering at the same norm and in separation. It lies
mostly where the activations do not vary; ``random_within`` lies where they do.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "control"


def fit(rows: Rows) -> Array:
    """Draw a vector; the rows give its width only."""
    rng = np.random.default_rng([rows.seed, 5])
    return np.asarray(rng.normal(size=rows.positive.shape[1]))
