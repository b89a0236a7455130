"""Permutation test of "some layer separates the classes", with all layers in each permutation.

Labels are permuted where they are exchangeable (``splits.permuted_labels``): between groups where a
group has one label, within pairs where there are pairs. The statistic is the held-out AUROC,
compared within folds, of a least-squares probe on the same folds and the same standardised features
as the logistic probe, with ridge ρ · ‖X‖²/n, averaged over the ρ of ``RIDGES``. It is not the
published score but a function of the same rows that costs a matrix product: with the products of
the training rows X (``products``, computed once, because they do not depend on labels) the held-out
scores of P labellings at once are

    X' Xᵀ (X Xᵀ + λ)⁻¹ Y = X' (XᵀX + λ)⁻¹ Xᵀ Y ,   Y (n, P) centred, whichever is smaller

    p       at one layer: ``p_values.permutation_p``
    p_any   the same with the largest statistic of all layers in each permutation (Westfall & Young
            1993): the family-wise p. Where nothing is decodable, 5 % of the batteries have a layer
            below 0.05
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.products import Fold
from circuit.methods.uncertainty.bootstrap import Estimate
from circuit.methods.uncertainty.p_values import permutation_p
from circuit.methods.uncertainty.scores import pairs_in_order
from circuit.values.thresholds import LEVEL, MIN_CONTROLS

RIDGES = (1.0, 0.01, 0.0001)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Null:
    """The statistic of the labels, and of every permutation of them."""

    observed: float
    permuted: Array  # (N,)

    @property
    def p(self) -> float | None:
        """The p of the observed statistic; None without permutations."""
        return permutation_p(self.observed, self.permuted)

    @property
    def p_two_sided(self) -> float | None:
        """The p of a distance from ½, on either side, as large as the observed one."""
        return permutation_p(abs(self.observed - 0.5), np.abs(self.permuted - 0.5))

    def hold(self, found: Estimate) -> Estimate:
        """Widen an interval of the AUROC to hold ½ where this test does not reject ½.

        The test is exact for any number of groups; resamples of few groups vary too little, above
        all where most of their comparisons agree. Under 19 permutations it can reject nothing, and
        the interval stays as it is.
        """
        p = self.p_two_sided
        if p is None or p <= LEVEL or len(self.permuted) < MIN_CONTROLS:
            return found
        return Estimate(found.value, min(found.low, 0.5), max(found.high, 0.5))

    def spread(self) -> Estimate:
        """Return mean and 95 % range over permutations: the level of chance."""
        if not len(self.permuted):
            return Estimate(0.5, 0.0, 1.0)
        low, high = np.percentile(self.permuted, [2.5, 97.5])
        return Estimate(float(self.permuted.mean()), float(low), float(high))


def family_wise(nulls: Mapping[Key, Null]) -> dict[Key, float | None]:
    """Return the family-wise p of each member; row i of each is the same permutation."""
    if not nulls:
        return {}
    largest = np.max([null.permuted for null in nulls.values()], axis=0)
    return {key: permutation_p(null.observed, largest) for key, null in nulls.items()}


def holm(ps: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """Correct the p of several questions for their number (Holm 1979); None stays None."""
    known = sorted((p, i, key) for i, (key, p) in enumerate(ps.items()) if p is not None)
    corrected: dict[Key, float | None] = dict.fromkeys(ps)
    largest = 0.0
    for rank, (p, _, key) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[key] = largest
    return corrected


def permutation_null(prepared: Sequence[Fold], y: Array, labellings: Array) -> Null:
    """Test the labels ``y`` (n,) against ``labellings`` (N, n) on the folds of one layer."""
    everything = np.concatenate([y[None], labellings])
    statistic = held_out_aurocs(prepared, everything).mean(axis=0)
    return Null(float(statistic[0]), statistic[1:])


def held_out_aurocs(prepared: Sequence[Fold], labellings: Array) -> Array:
    """AUROC within folds of the least-squares probe, (ridges, P), macro for several classes."""
    classes = np.unique(labellings[0])
    one_of = classes if len(classes) > 2 else classes[1:]
    won = np.zeros((len(RIDGES), len(labellings), len(one_of)))
    pairs = np.zeros(won.shape)
    indicator = np.ascontiguousarray((labellings[:, :, None] == one_of).transpose(1, 0, 2))
    for fold in prepared:
        targets = indicator[fold.train].astype(np.float64)  # (n, P, K)
        targets -= targets.mean(axis=0)
        held_out = indicator[fold.held_out]
        for k, weights in enumerate(_ridge_maps(fold)):
            scores = np.tensordot(weights, targets, axes=1)
            in_order, compared = pairs_in_order(scores, held_out)
            won[k] += in_order
            pairs[k] += compared
    auroc = np.divide(won, pairs, out=np.full(won.shape, 0.5), where=pairs > 0)
    return np.asarray(auroc.mean(axis=2))


def _ridge_maps(fold: Fold) -> list[Array]:
    """Return for each ridge the map (m, n) from centred training targets to held-out scores."""
    inside, outside = fold.inside, fold.outside
    if inside.right is None:
        mean = np.trace(inside.left) / len(inside.left)
        return [_solved(inside.left, outside.left, ridge * mean).T for ridge in RIDGES]
    assert outside.right is not None
    X, others = inside.left, outside.right
    mean = float(np.einsum("ij,ij->", X, X)) / len(X)
    return [(X @ _solved(X.T @ X, others, ridge * mean)).T for ridge in RIDGES]


def _solved(A: Array, B: Array, ridge: float) -> Array:
    """Return (A + ridge)⁻¹ B; zeros where all rows are equal."""
    from scipy.linalg import cho_factor, cho_solve

    if ridge <= 0:
        return np.zeros(B.shape)
    A = A.astype(np.float64)
    A[np.diag_indices_from(A)] += ridge
    return np.asarray(
        cho_solve(cho_factor(A, overwrite_a=True, check_finite=False), B, check_finite=False)
    )
