"""p-values by counting: the fraction of draws of the null that reach the observed value.

    permutation_p   (1 + #{permuted ≥ observed}) / (1 + N)    one-sided; scores of permuted labels
    control_p       (1 + #{|control| ≥ |observed|}) / (1 + N)    two-sided; effects of controls

The observed value counts as one draw, so that p is never 0 (Phipson & Smyth 2010): N draws cannot
give a p below 1 / (1 + N). An effect is measured from the unsteered model, and the sign of a
control vector has no meaning.
"""

import numpy as np
import numpy.typing as npt

# Labellings that are equal, and rates with equal counts, differ by rounding.
ROUNDING = 1e-9


def permutation_p(observed: float, permuted: npt.ArrayLike) -> float | None:
    """Return the one-sided p of a statistic against permuted labels (N,); None for N = 0."""
    return _p(np.asarray(permuted) >= observed - ROUNDING)


def control_p(observed: float, controls: npt.ArrayLike) -> float | None:
    """Return the two-sided p of an effect against the effects of controls (N,); None for N = 0."""
    return _p(np.abs(controls) >= abs(observed) - ROUNDING)


def _p(reaches: npt.NDArray[np.bool_]) -> float | None:
    return float((1 + reaches.sum()) / (1 + len(reaches))) if len(reaches) else None
