"""The change that a vector makes, from no vector and from control vectors, with intervals.

    change    mean of (steered − unsteered) over prompts; bootstrap over groups of prompts
    excess    mean of (steered − control) over prompts and controls; bootstrap over groups of
              prompts and over controls, both at once (Owen 2007, "The pigeonhole bootstrap", whose
              intervals are never too narrow on average)

A vector *acts* where the family-wise p of its effect against those of the controls is at most 0.05
(``p_values.family_control_p``), and both intervals lie on the same side of 0: more than without
steering, and more than what controls of the same size do. A vector that hurts less than random ones
has an excess and no change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Draws, Estimate, difference, resample
from circuit.values.intervals import Interval
from circuit.values.thresholds import LEVEL


@dataclass(frozen=True)
class AgainstControls:
    """The change from the unsteered model, and the excess over controls (None for fewer than 2)."""

    change: Estimate
    excess: Estimate | None


def acts(p_any: float | None, *intervals: Interval | None) -> bool:
    """Say whether a vector acts: by its family-wise p, and by the side of its intervals."""
    known = [each for each in intervals if each is not None]
    if p_any is None or p_any > LEVEL or len(known) < len(intervals):
        return False
    return all(low > 0 for _, low, _ in known) or all(high < 0 for _, _, high in known)


def against_controls(
    steered: Array,
    unsteered: Array,
    controls: Array,
    groups: Sequence[object] | Array,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> AgainstControls | None:
    """Compare outcomes of prompts, between 0 and 1; None for prompts of one group.

    Args:
        steered: Outcome of each prompt with the vector, (n,).
        unsteered: The same without, (n,).
        controls: The same with each control vector, (k, n).
        groups: The group of each prompt, (n,): groups are drawn, not prompts.
        n_boot: Resamples.
        seed: Of the resamples.
    """
    n_groups = len({*groups})
    if n_groups < 2:
        return None
    rng, n = np.random.default_rng(seed), len(steered)
    drawn = resample(np.zeros(n, np.intp), groups, n_boot=n_boot, rng=rng, cross_fitted=False)
    weights = drawn.weights / drawn.weights.sum(axis=1, keepdims=True)
    own = Draws(float(steered.mean()), weights @ steered, drawn.factor)
    base = Draws(float(unsteered.mean()), weights @ unsteered, drawn.factor)
    change = difference(own, base, n_groups=n_groups)
    k = len(controls)
    if k < 2:
        return AgainstControls(change, None)
    shares = rng.multinomial(k, np.full(k, 1 / k), size=n_boot) / k  # (n_boot, k)
    means = np.einsum("bk,bk->b", weights @ controls.T, shares)
    others = Draws(float(controls.mean()), means, drawn.factor)
    return AgainstControls(change, difference(own, others, n_groups=n_groups))
