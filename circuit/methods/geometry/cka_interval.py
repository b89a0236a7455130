"""Linear CKA of two sets of rows with an interval over groups.

A bootstrap repeats rows, and two equal rows are similar in both sets in any case, so that resampled
CKA is biased upwards. The interval is a delete-one jackknife over at most ``BLOCKS`` blocks of
groups (Efron & Stein 1981):

    se² = (B − 1)/B Σ_b (θ_(−b) − mean θ)² ,   θ ± t_{0.975, B−1} se
"""

from collections.abc import Sequence

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.geometry.similarity import centred_gram, cka
from circuit.methods.uncertainty.splits import group_codes

BLOCKS = 40
MIN_ROWS = 4


def cka_estimate(A: Array, B: Array, groups: Sequence[str]) -> list[float | None] | None:
    """Return the CKA of ``A`` (n, d) and ``B`` (n, d') and the ends of its interval.

    None under 4 rows, or where all rows are equal; the ends are None with few groups.
    """
    if len(A) < MIN_ROWS:
        return None
    value, codes = _cka(A, B), group_codes(groups)
    if np.isnan(value):
        return None
    block = codes % min(int(codes.max()) + 1, BLOCKS)
    kept = [block != b for b in np.unique(block)]
    if len(kept) < MIN_ROWS or min(int(rows.sum()) for rows in kept) < MIN_ROWS:
        return [round(value, 6), None, None]
    from scipy.stats import t

    left_out = np.array([_cka(A[rows], B[rows]) for rows in kept])
    if np.isnan(left_out).any():
        return [round(value, 6), None, None]
    n = len(kept)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    half = float(t.ppf(0.975, n - 1) * error)
    return [round(value, 6), round(max(-1.0, value - half), 6), round(min(1.0, value + half), 6)]


def _cka(A: Array, B: Array) -> float:
    return float(cka([centred_gram(A), centred_gram(B)])[0, 1])
