"""Above a baseline: the paired difference of two AUROCs, bounded for all layers at once.

    d_l = A_l − B_l   on the same rows, folds and resamples of groups
    bound_l = d_l − c s_l

B is one baseline, or one for each layer; s_l is the widened standard deviation of the resampled
d_l*, and c the 97.5 % quantile over resamples of max_l (d_l − d_l*) / s_l.

Separate intervals that do not overlap are a much stricter criterion, and a baseline *at chance*
with few groups makes it impossible: with AUROC 0.48 [0.28, 0.68] no layer under 0.68 could be above
it. In the difference, the variation that both scores share cancels; c accounts for the choice among
layers. The bound is as strict as the other claims here: where resamples vary by less than the rule
of three allows, the rule of three is the bound (``bootstrap.difference``), and no score counts for
more than the lower bound of a perfect score with as many groups (``perfect_scores``).
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
    """The limits that the number of groups sets to a comparison."""

    n_groups: int
    ceiling: float  # the lower bound of a perfect score

    @classmethod
    def of(cls, y: Array, groups: Sequence[object] | Array) -> "Certainty":
        """Derive the limits from the groups of rows with classes ``y`` (n,)."""
        return cls(int(group_codes(groups).max()) + 1, perfect_auroc(y, groups))


def bounds(layers: Mapping[int, Draws], baseline: Baseline, certainty: Certainty) -> Array:
    """Return lower bounds of the difference (1 + n_boot, n_layers): of the rows, of each resample.

    c is that of the rows, for all resamples.
    """
    order = sorted(layers)
    above = _columns([layers[layer] for layer in order])
    below = _columns([baseline if isinstance(baseline, Draws) else baseline[k] for k in order])
    gaps = above - below
    away = _away(gaps[0] - gaps[1:], max(each.factor for each in layers.values()))
    least = 1 - 0.05 ** (1 / certainty.n_groups)  # the rule of three
    away = np.where(2 * away >= least, away, least)
    return np.asarray(np.minimum(gaps - away, certainty.ceiling - below))


def _away(falls: Array, factor: float) -> Array:
    """Return the distance from d_l to its bound (n_layers,), from d_l − d_l* (n_boot, n_layers)."""
    if not len(falls) or not np.isfinite(factor):
        return np.full(falls.shape[1], np.inf)
    spread = np.sqrt((falls**2).mean(axis=0))
    relative = np.divide(falls, spread, out=np.zeros_like(falls), where=spread > 0)
    return np.asarray(factor * spread * np.percentile(relative.max(axis=1), ONE_SIDED))


def _columns(draws: Sequence[Draws]) -> Array:
    """Return values and resamples (1 + n_boot, k); an undefined resample counts as no deviation."""
    return np.array(
        [
            np.append(each.value, np.where(np.isfinite(each.draws), each.draws, each.value))
            for each in draws
        ]
    ).T
