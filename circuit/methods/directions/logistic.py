"""Weights of an L2 logistic regression on standardised features, mapped back: v_j ∝ w_j / σ_j.

A detector, like ``lda``. C is fixed at 0.01, where shrinkage dominates as it should with n < d; the
probes of ``probing`` choose their C, a direction needs none to be scored. Both classes weigh the
same, however many rows they have. Solved on the products of the rows (``newton``).
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows
from circuit.methods.linear.newton import fit_logistic
from circuit.methods.linear.products import Products

NEEDS = ("rows",)
SPACE = "standardised"
ROLE = "method"
BALANCED = True
C = 0.01


def fit(rows: Rows) -> Array:
    """Return the weights of the regression, without its intercept."""
    X, n = np.vstack([rows.positive, rows.negative]), len(rows.positive)
    y = np.arange(len(X)) < n
    # Both classes weigh the same, n/2, as with scikit-learn's class_weight="balanced".
    weights = np.where(y, len(X) / (2 * n), len(X) / (2 * (len(X) - n)))
    products = Products(X @ X.T)
    W = fit_logistic(products, y[:, None, None], np.array([1 / C]), weights=weights[:, None])
    return np.asarray(X.T @ W[:-1, 0, 0])
