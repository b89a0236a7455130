"""A random direction with the covariance of the activations, v ∝ S_w^{1/2} z, z ~ N(0, I).

A stricter control than ``random``: it lies where the rows vary within their classes, so that
steering along it moves the model as much as a typical difference between prompts does. Drawn as
Σ_i z_i (h_i − μ_class(i)), which has covariance n S_w.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "control"


def fit(rows: Rows) -> Array:
    """Draw a combination of the rows minus their class means."""
    centred = np.vstack([H - H.mean(axis=0) for H in (rows.positive, rows.negative)])
    return np.asarray(np.random.default_rng([rows.seed, 6]).normal(size=len(centred)) @ centred)
