"""Above a baseline: the paired difference of two AUROCs, bounded for all layers at once.

    d_l = A_l − B_l   on the same rows, folds and resamples of groups; B one baseline, or one for each layer
    bound_l = d_l − c s_l ,   s_l the deviation of d_l*, widened, c the 97.5 % quantile over resamples of max_l (d_l − d_l*) / s_l

Intervals that do not overlap are a much stricter demand, which a baseline *at chance* with few groups fails to leave room for: with
AUROC 0.48 [0.28, 0.68] nothing under 0.68 could be above it. What the two scores share drops out of the
difference; that some layer of many is looked for does not, hence c. It is a claim, so it is kept as strict as others here: where resamples
vary by less than the rule of three allows, its bound is taken (``bootstrap.difference``), and no score counts for more
than a perfect one of as many groups is sure of (``perfect``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Draws
from circuit.methods.uncertainty.perfect_scores import perfect_auroc
from circuit.methods.uncertainty.splits import group_codes

ONE_SIDED = 97.5
Baseline = Draws | Mapping[int, Draws]


@dataclass(frozen=True)
class Certainty:
    """How sure a comparison on these groups can be."""

    n_groups: int
    ceiling: float  # the lower bound of a perfect score

    @classmethod
    def of(cls, y: Array, groups: Sequence[object] | Array) -> "Certainty":
        """Count the groups of rows with classes ``y`` (n,)."""
        return cls(int(group_codes(groups).max()) + 1, perfect_auroc(y, groups))


def bounds(layers: Mapping[int, Draws], baseline: Baseline, sure: Certainty) -> Array:
    """Lower bounds of the difference, (1 + n_boot, n_layers): of the rows, and of every resample with c held."""
    order = sorted(layers)
    above = _columns([layers[layer] for layer in order])
    below = _columns([baseline if isinstance(baseline, Draws) else baseline[k] for k in order])
    gaps = above - below
    away = _away(gaps[0] - gaps[1:], max(each.factor for each in layers.values()))
    unseen = 1 - 0.05 ** (1 / sure.n_groups)
    away = np.where(2 * away >= unseen, away, unseen)
    return np.asarray(np.minimum(gaps - away, sure.ceiling - below))


def _away(falls: Array, factor: float) -> Array:
    """How far each layer's bound is from its difference, from how far resamples fall below it (n_boot, n_layers)."""
    if not len(falls) or not np.isfinite(factor):
        return np.full(falls.shape[1], np.inf)
    spread = np.sqrt((falls**2).mean(axis=0))
    relative = np.divide(falls, spread, out=np.zeros_like(falls), where=spread > 0)
    return np.asarray(factor * spread * np.percentile(relative.max(axis=1), ONE_SIDED))


def _columns(draws: Sequence[Draws]) -> Array:
    """Values and resamples (1 + n_boot, k); a resample with nothing to compare counts as no deviation."""
    return np.array(
        [
            np.append(each.value, np.where(np.isfinite(each.draws), each.draws, each.value))
            for each in draws
        ]
    ).T
