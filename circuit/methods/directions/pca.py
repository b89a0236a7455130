"""Top right-singular vector of the **uncentred** differences D, D_i = h⁺_i − h⁻_i.

Centring D first would subtract the mean difference, which is the signal: such a "PCA direction" has
|cos| 0.03 with a planted direction where this one has 1.0. Representation engineering, Zou et al.
2023 (2310.01405).

Without pairs D holds all n⁺n⁻ differences between a positive and a negative row. They need not be
formed, nor sampled:

    (1/n⁺n⁻) Σ_ij (p_i − q_j)(p_i − q_j)ᵀ = Σ⁺ + Σ⁻ + μ_D μ_Dᵀ ,   Σ± the class covariances

(divisor n±), so v is the top eigenvector of the right-hand side. Where the classes vary more within
than between, it is a direction of common variation, and its held-out score shows that.
"""

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.directions import Rows

NEEDS = ("rows",)
SPACE = "rows"
ROLE = "method"
BALANCED = True


def fit(rows: Rows) -> Array:
    """Return the direction of largest mean square difference."""
    D = rows.positive - rows.negative if rows.paired else _second_moment_rows(rows)
    return np.asarray(np.linalg.eigh(D.T @ D)[1][:, -1])


def _second_moment_rows(rows: Rows) -> Array:
    """Rows D with Dᵀ D = Σ⁺ + Σ⁻ + μ_D μ_Dᵀ."""
    centred = [(H - H.mean(axis=0)) / np.sqrt(len(H)) for H in (rows.positive, rows.negative)]
    return np.vstack([*centred, rows.gap])
