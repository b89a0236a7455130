"""Spearman's rank correlation: Pearson's correlation of ranks, equal values sharing their mean rank."""

import numpy as np
import numpy.typing as npt


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Return the correlation of two lists; None with fewer than three values, or where one of them does not vary."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(each, dtype=float)) for each in (a, b)]
    if len(ranks[0]) < 3 or any(each.std() == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
