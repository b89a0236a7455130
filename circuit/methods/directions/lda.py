"""Linear discriminant: w = (S_w + λ I)⁻¹ μ_D, S_w the pooled within-class covariance.

A detector: it divides by the variation that the classes share. For writing to the residual stream
use ``mean_diff``. λ is that of Ledoit & Wolf 2004, whose estimate is
(1 − ρ) S_w + ρ (tr S_w / r) I; the length of w does not matter, so λ = ρ/(1 − ρ) · tr S_w / r. It
is solved in the row space of dimension r ≤ min(n − 1, d), outside of which S_w and μ_D are zero;
the target is the mean variance *there*, so r replaces d of the paper. Marks & Tegmark 2023
(2310.06824).
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "rows"
ROLE = "method"


def fit(rows: Rows) -> Array:
    """Return (S_w + λ I)⁻¹ (μ⁺ − μ⁻)."""
    centred = np.vstack([H - H.mean(axis=0) for H in (rows.positive, rows.negative)])
    covariance = centred.T @ centred / len(centred)
    rho = ledoit_wolf_shrinkage(centred)
    target = np.trace(covariance) / len(covariance) if covariance.size else 0.0
    shrunk = (1 - rho) * covariance + rho * target * np.eye(len(covariance))
    return np.asarray(rows.gap if target == 0 else np.linalg.solve(shrunk, rows.gap))


def ledoit_wolf_shrinkage(X: Array) -> float:
    """Return the weight ρ of the identity for centred rows ``X`` (n, r), lemma 3.3."""
    n, r = X.shape
    if n == 0 or r == 0:
        return 1.0
    S = X.T @ X / n
    mu, squares = np.trace(S) / r, (X**2).sum(axis=1)
    distance = (S**2).sum() / r - mu**2  # δ²
    error = ((squares**2).sum() / n - (S**2).sum()) / (n * r)  # β²
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0
