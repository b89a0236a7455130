"""p-values by counting: the fraction of draws of the null that reach the observed value.

    permutation_p   (1 + #{permuted ≥ observed}) / (1 + N)    one-sided; scores of permuted labels
    control_p       (1 + #{|control| ≥ |observed|}) / (1 + N)    two-sided; effects of controls
    family_control_p    the same for several effects of one vector (coefficients, labels), with the
                    largest standardised effect of each control (maxT, Westfall & Young 1993): the
                    chance that any of them is below 0.05 under the null is 0.05

The observed value counts as one draw, so that p is never 0 (Phipson & Smyth 2010): N draws cannot
give a p below 1 / (1 + N), so a claim at the level 0.05 needs ``MIN_CONTROLS`` = 19 controls,
however many effects are tested together. An effect is measured from the unsteered model, and the
sign of a control vector has no meaning.
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


def family_control_p(observed: npt.ArrayLike, controls: npt.ArrayLike) -> list[float | None]:
    """Return the two-sided family-wise p of each of m effects; None for N = 0.

    Args:
        observed: Effects of the vector, (m,).
        controls: Effects of the controls, (N, m); a row is one control.

    An effect is divided by the root mean square over vector and controls, in which all N + 1 count
    alike, so that the N + 1 largest effects are exchangeable under the null.
    """
    effects = np.abs(np.vstack([np.atleast_2d(observed), controls])).astype(np.float64)
    if len(effects) == 1:
        return [None] * effects.shape[1]
    scale = np.sqrt(np.square(effects).mean(axis=0))
    size = np.divide(effects, scale, out=np.zeros(effects.shape), where=scale > 0)
    largest = size[1:].max(axis=1)
    return [permutation_p(each, largest) for each in size[0]]


def _p(reaches: npt.NDArray[np.bool_]) -> float | None:
    return float((1 + reaches.sum()) / (1 + len(reaches))) if len(reaches) else None
