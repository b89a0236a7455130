"""Spearman's rank correlation: Pearson's correlation of the ranks; ties share their mean rank."""

import numpy as np
import numpy.typing as npt


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Return ρ of two lists; None with fewer than three values, or for a constant list."""
    from scipy.stats import spearmanr

    if np.size(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
