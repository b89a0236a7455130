"""The difference of means under random labels.

Within pairs each sign is drawn, else labels are permuted among the rows. A control with the same
rows and the same arithmetic as ``mean_diff``; only the labels are wrong.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "control"


def fit(rows: Rows) -> Array:
    """Return the difference of means of relabelled rows."""
    rng, n = np.random.default_rng([rows.seed, 7]), len(rows.positive)
    if rows.paired:
        return np.asarray(rng.choice([-1.0, 1.0], size=n) @ (rows.positive - rows.negative) / n)
    X = rng.permutation(np.concatenate([rows.positive, rows.negative]))
    return np.asarray(X[:n].mean(axis=0) - X[n:].mean(axis=0))
