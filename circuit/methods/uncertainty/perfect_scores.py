"""The uncertainty of a perfect score with few groups, which a bootstrap cannot see.

When every positive row scores above every negative one, each resample scores 1 as well and the
percentile interval collapses to [1, 1], with 5 groups as with 500. The standard solution is a score
interval for the Mann–Whitney probability θ (Newcombe 2006, Statistics in Medicine 25:559, method 5,
the one that he recommends): all θ with

    (A − θ)² ≤ z² V(θ) ,   V(θ) = θ(1 − θ) [1 + h(1 − θ)/(2 − θ) + hθ/(1 + θ)] / (mn)
    h = (m + n)/2 − 1

where m and n are the numbers of independent units of the two classes: the *groups* in which they
occur. For A = 1 the lower bound is 0.64 for 5 + 5 groups, 0.80 for 10 + 10, 0.95 for 40 + 40;
Obuchowski & Lieber 2002 discuss the same case. No lower bound of any score may be above that of a
perfect score with as many groups, so that nothing jumps as a score reaches 1. For balanced
accuracy the bound is Wilson's for G of G groups.
"""

from collections.abc import Sequence

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Estimate
from circuit.methods.uncertainty.scores import Z95, wilson
from circuit.methods.uncertainty.splits import group_codes


def newcombe(auroc: float, m: int, n: int, *, z: float = Z95) -> Estimate:
    """Return an AUROC of ``m`` positive and ``n`` negative units with its score interval."""
    from scipy.optimize import brentq

    def excess(theta: float) -> float:
        return (auroc - theta) ** 2 - z * z * float(auroc_variance(theta, m, n))

    # θ = 0 and θ = 1 solve the equation where A does; the other root is the bound.
    tiny = 1e-12
    low = float(brentq(excess, 0.0, max(auroc - tiny, tiny))) if auroc > 0 else 0.0
    high = float(brentq(excess, min(auroc + tiny, 1 - tiny), 1.0)) if auroc < 1 else 1.0
    return Estimate(auroc, low, high)


def auroc_variance(theta: float | Array, m: int, n: int) -> Array:
    """Return V(θ) of an AUROC of ``m`` positive and ``n`` negative units, elementwise."""
    h, theta = (m + n) / 2 - 1, np.asarray(theta)
    spread = 1 + h * (1 - theta) / (2 - theta) + h * theta / (1 + theta)
    return np.asarray(theta * (1 - theta) * spread / (m * n))


def perfect_auroc(y: Array, groups: Sequence[object] | Array) -> float:
    """Return the lower bound of a perfect AUROC (macro for several classes) on these groups."""
    codes, classes = group_codes(groups), np.unique(y)
    bounds = []
    for c in classes if len(classes) > 2 else classes[1:]:
        m, n = len(np.unique(codes[y == c])), len(np.unique(codes[y != c]))
        bounds.append(newcombe(1.0, m, n).low)
    return float(np.mean(bounds))


def perfect_recall(y: Array, groups: Sequence[object] | Array) -> float:
    """Return the lower bound of a perfect balanced accuracy on these groups."""
    codes = group_codes(groups)
    counts = [len(np.unique(codes[y == c])) for c in np.unique(y)]
    return float(np.mean([wilson(g, g)[0] for g in counts]))
