"""The |cosine| of two unrelated directions: its distribution; its mean is in ``similarity``.

For two independent directions in d dimensions, one of them uniform on the sphere,
cos² ~ Beta(½, (d − 1)/2). Of m pairs the largest |cos| stays below the (1 − α)^(1/m) quantile with
probability 1 − α if the pairs are independent, and with at least about that if they share
directions (Šidák 1967). d = 1 has only ±1.

Activations are not isotropic: directions that are fitted to the same layer share its few strong
axes, and are therefore farther from orthogonal than this; ``random_within`` directions show how
far.
"""

import math

from circuit.values.thresholds import LEVEL


def cosine_bound(d: int, *, pairs: int = 1, level: float = LEVEL) -> float:
    """Return the bound of the largest |cos| of ``pairs`` pairs of random directions.

    It holds with probability 1 − ``level``, in ``d`` dimensions.
    """
    if d < 2:
        return 1.0
    from scipy.stats import beta

    return math.sqrt(float(beta.ppf((1 - level) ** (1 / max(pairs, 1)), 0.5, (d - 1) / 2)))
