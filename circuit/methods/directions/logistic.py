"""Weights of an L2 logistic regression on standardised features, mapped back: v_j ∝ w_j / σ_j.

A detector, like ``lda``. C is fixed at 0.01, where shrinkage dominates as it should with n < d; the probes of ``probing`` choose
their C, a direction needs none to be scored. Solved in the row space of the standardised features.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.newton import fit_logistic

SPACE = "standardised"
C = 0.01


def fit(positive: Array, negative: Array, *, paired: bool) -> Array:  # noqa: ARG001
    """Return the weights of the regression, without its intercept."""
    X = np.vstack([positive, negative])
    y = np.arange(len(X)) < len(positive)
    return np.asarray(fit_logistic(X, y[:, None, None], np.array([1 / C]))[:-1, 0, 0])
