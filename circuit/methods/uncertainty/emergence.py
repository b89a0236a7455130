"""The layer at which a label becomes decodable, and its uncertainty.

*Emergence layer*: the first decodable layer that is above every baseline (``above_baseline``:
paired, for all layers at once) and stays above in the next two. Its distribution repeats the rule
on resamples of the groups (``bootstrap``), the same ones for all layers and baselines, with the
distances from the estimates to their bounds held fixed: median, 90 % interval, and the fraction of
resamples in which no layer qualifies.

*Saturation layer*: the first layer that is not shown to be worse than the best one by more than
``MARGIN``, by the paired difference. With few groups little is shown, so it is early.

*Threshold crossing*: the first layer whose score reaches a threshold, whatever its uncertainty; it
belongs in a plot, not in a claim. Layers that were not measured are not known to be below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from circuit.errors import UsageError
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.above_baseline import Certainty, bounds
from circuit.methods.uncertainty.bootstrap import Draws, Estimate, difference

STAY = 2
MARGIN = 0.01


@dataclass(frozen=True)
class LayerAuroc:
    """An AUROC with its interval, and its value on every resample."""

    estimate: Estimate
    draws: Draws


@dataclass(frozen=True)
class Emergence:
    """The layer at which a label emerges, and the distribution of that layer over resamples."""

    layer: int | None
    median: int | None  # None: no layer qualifies in half of the resamples
    interval: tuple[int | None, int | None]  # 90 %
    never: float  # fraction of the resamples in which no layer qualifies

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "layer": self.layer,
            "median": self.median,
            "interval_90": list(self.interval),
            "never": round(self.never, 4),
        }


def emergence_layer(
    layers: Sequence[int], low: Sequence[float], baseline_high: Sequence[float], *, stay: int = STAY
) -> int | None:
    """Return the first layer that is above its baseline and stays there, or None.

    The next ``stay`` measured layers must hold too, or as many as there are before the last one.
    """
    above = np.asarray(low, dtype=float) > np.asarray(baseline_high, dtype=float)
    first = int(_first(above[None], stay)[0])
    return layers[first] if first < len(layers) else None


def _first(above: Array, stay: int) -> Array:
    """Return the first index from which ``above`` (draws, n_layers) holds for 1 + ``stay`` layers.

    It is n_layers where there is none.
    """
    n_layers = above.shape[1]
    padded = np.concatenate([above, np.ones((len(above), stay), dtype=bool)], axis=1)
    holds = np.all([padded[:, k : k + n_layers] for k in range(stay + 1)], axis=0)
    return np.asarray(np.where(holds.any(axis=1), holds.argmax(axis=1), n_layers))


def emergence(
    layers: Mapping[int, LayerAuroc],
    baselines: Sequence[Draws | Mapping[int, Draws]],
    decodable: Mapping[int, bool],
    certainty: Certainty,
) -> Emergence:
    """Locate the emergence above all ``baselines`` among the ``decodable`` layers (``verdict``).

    A baseline is one score, or one for each layer. The scores of permuted labels are no bound here:
    where a concept is strong, a permutation that happens to resemble the labels scores well, too.
    The permutation *test* accounts for that, and is part of being decodable.
    """
    order = sorted(layers)
    floor = np.array([0.5 if decodable[layer] else np.inf for layer in order])
    above = _lows([layers[layer] for layer in order]) > floor
    draws = {layer: each.draws for layer, each in layers.items()}
    for baseline in baselines:
        above &= bounds(draws, baseline, certainty) > 0
    first = _first(above, STAY)
    # The first row is the estimate itself, the others are resamples.
    found, drawn = int(first[0]), first[1:]
    named = [*order, None]
    if not len(drawn):
        drawn = first
    early, middle, late = np.quantile(drawn, [0.05, 0.5, 0.95], method="inverted_cdf").astype(int)
    return Emergence(
        layer=named[found],
        median=named[middle],
        interval=(named[early], named[late]),
        never=float(np.mean(drawn == len(order))),
    )


def _lows(scored: Sequence[LayerAuroc]) -> Array:
    """Return lower bounds (1 + n_boot, k): the draws moved by the distance from value to bound."""
    columns = []
    for each in scored:
        away = each.estimate.low - each.estimate.value
        draws = np.where(np.isfinite(each.draws.draws), each.draws.draws, each.draws.value)
        columns.append(np.append(each.draws.value, draws) + away)
    return np.array(columns).T


def saturation_layer(layers: Mapping[int, Draws], *, n_groups: int) -> int:
    """Return the first layer not shown to be worse than the best by more than ``MARGIN``."""
    order = sorted(layers)
    best = max(order, key=lambda layer: (layers[layer].value, -layer))
    for layer in order:
        if layer == best:
            break
        gap = difference(layers[best], layers[layer], n_groups=n_groups)
        if gap.low <= MARGIN:
            return layer
    return best


def steps(layers: Mapping[int, Draws], *, n_groups: int) -> dict[int, Estimate]:
    """Paired difference of each layer to the measured layer before it."""
    order = sorted(layers)
    return {
        layer: difference(layers[layer], layers[before], n_groups=n_groups)
        for before, layer in pairwise(order)
    }


def check_threshold(threshold: float) -> None:
    """Raise ``UsageError`` unless ``threshold`` is an AUROC above chance."""
    if not 0.5 < threshold <= 1:
        raise UsageError(
            "out-of-range",
            f"the threshold {threshold} is not an AUROC above chance",
            hint="choose one above 0.5, at most 1",
            value=threshold,
        )


def threshold_crossing(
    layers: Sequence[int], values: Sequence[float], threshold: float
) -> int | None:
    """Return the first layer whose value reaches ``threshold``, or None."""
    return next((layer for layer, v in zip(layers, values, strict=True) if v >= threshold), None)
