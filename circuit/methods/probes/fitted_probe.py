"""A probe to save: the regression of ``probing`` fitted to all rows, on the raw features.

    logit_k(h) = w_k · h + b_k ,   p = softmax over k (two classes: one logit, sigmoid)

Standardisation is folded into w and b. C is chosen by grouped folds of all rows. Its quality is the
held-out score of ``probing``; a score on the rows that it was fitted to has no meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.newton import fit_logistic, log_probabilities
from circuit.methods.linear.products import standardised
from circuit.methods.linear.threads import single_threaded
from circuit.methods.probes.probing import check_rows
from circuit.methods.probes.regularisation import choose_c, inner_splits, targets
from circuit.methods.uncertainty.splits import group_codes


@dataclass(frozen=True)
class FittedProbe:
    """Weights (d, K) and biases (K,) on raw features: K = 1 for two classes."""

    weights: Array
    bias: Array
    c: float

    def logits(self, H: Array) -> Array:
        """Return w · h + b of rows ``H`` (n, d), (n, K)."""
        return np.asarray(np.asarray(H, dtype=np.float64) @ self.weights + self.bias)

    def probabilities(self, H: Array) -> Array:
        """Return the probability of each class, (n, n_classes)."""
        return probabilities(self.logits(H))


def probabilities(logits: Array) -> Array:
    """Turn logits (n, K) into probabilities (n, n_classes); one logit means two classes."""
    return np.asarray(np.exp(log_probabilities(logits[:, None, :])[:, 0]))


@single_threaded
def fit_probe(
    H: Array, y: Array, groups: Sequence[object] | Array, *, seed: int = 0
) -> FittedProbe:
    """Fit the class numbers ``y`` (n,) to all rows ``H`` (n, d)."""
    check_rows(H, y)
    n_classes, codes = int(y.max()) + 1, group_codes(groups)
    space, Y = standardised(H), targets(y[None], n_classes)
    inside = space.inside
    c = choose_c(inside, Y, inner_splits(y, codes, seed=seed))
    W = fit_logistic(inside, Y, np.array([1 / c]))[:, 0]
    weights = space.lift(W[:-1])
    return FittedProbe(weights, W[-1] - space.mean @ weights, c)
