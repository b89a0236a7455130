"""Positive mean against the corpus: v ∝ μ⁺ − μ_corpus.

The corpus is every other available row: the negative class, and the prompts with another label or
none. With the two classes only it is the vector of ``mean_diff``; with a broad corpus it is what
separates the positive class from prompts in general.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "raw"
ROLE = "method"
CORPUS = True


def fit(rows: Rows) -> Array:
    """Return μ⁺ − mean of all other rows."""
    others = [rows.negative] if rows.corpus is None else [rows.negative, rows.corpus]
    return np.asarray(rows.positive.mean(axis=0) - np.concatenate(others).mean(axis=0))
