"""The strongest claim that the numbers support, from "not decodable" to "selective".

    decodable   at one layer: the interval of the AUROC lies above ½, the family-wise permutation p
                over all layers is at most 0.05, and there are at least 10 groups, 5 of each class

and of a question, over the layers:

    few groups      under 10 groups, or 5 of a class, nothing is claimed
    not decodable   at no layer decodable
    surface         decodable, but no layer is above the baselines of the text itself (words,
                    length, punctuation, …)
    tokens          above the surface, but no layer is above the embedding of the token or a model
                    with random weights
    unresolved      the same, but the baseline in the way is not decodable itself: it explains
                    nothing, and there are too few groups to separate the two
    decodable       above those, but not above the control task, or that was not run
    selective       above all of them

"Above a baseline" is a paired difference on the same rows, folds and resamples whose lower bound,
for all layers at once, is above 0 (``above_baseline``). None of these says that the model uses the
label: only an intervention shows that.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from circuit.methods.probes.permutation import family_wise
from circuit.methods.probes.probing import ProbeResult
from circuit.methods.uncertainty.above_baseline import Baseline, Certainty, bounds
from circuit.methods.uncertainty.bootstrap import Draws
from circuit.methods.uncertainty.splits import enough_groups
from circuit.values.thresholds import LEVEL

FEW_GROUPS, NOT_DECODABLE, SURFACE, TOKENS, UNRESOLVED, DECODABLE, SELECTIVE = (
    "few groups",
    "not decodable",
    "surface",
    "tokens",
    "unresolved",
    "decodable",
    "selective",
)
Key = TypeVar("Key", bound=Hashable)
BaselineResult = ProbeResult | Mapping[int, ProbeResult]  # one baseline, or one for each layer


def decodable(results: Mapping[Key, ProbeResult]) -> dict[Key, bool]:
    """Tell at which of the jointly measured layers a question is decodable."""
    p_any = family_wise({key: result.null for key, result in results.items()})
    return {
        key: _enough(result) and result.auroc.low > 0.5 and _small(p_any[key])
        for key, result in results.items()
    }


def _enough(result: ProbeResult) -> bool:
    return enough_groups(result.n_groups, result.least_groups)


def _small(p: float | None) -> bool:
    return p is not None and p <= LEVEL


def verdict(
    results: Mapping[int, ProbeResult],
    *,
    surface: Iterable[BaselineResult],
    tokens: Iterable[BaselineResult],
    control: Mapping[int, Draws] | None,
    certainty: Certainty,
) -> str:
    """Return the strongest claim for a question from its layers and its baselines.

    ``control`` is None where the control task was not run.
    """
    if not all(map(_enough, results.values())):
        return FEW_GROUPS
    left = {layer for layer, star in decodable(results).items() if star}
    if not left:
        return NOT_DECODABLE
    for name, baselines in ((SURFACE, list(surface)), (TOKENS, list(tokens))):
        above = [left & _above(results, _draws(each), certainty) for each in baselines]
        if baselines and not set.intersection(*above):
            not_above = [b for b, at in zip(baselines, above, strict=True) if at != left]
            return name if any(map(_is_decodable, not_above)) else UNRESOLVED
        left = left.intersection(*above)
    if control is None or not left & _above(results, control, certainty):
        return DECODABLE
    return SELECTIVE


def _above(
    results: Mapping[int, ProbeResult], baseline: Baseline, certainty: Certainty
) -> set[int]:
    """Layers that are shown to be above a baseline."""
    at_data = bounds({k: result.draws for k, result in results.items()}, baseline, certainty)[0]
    return {layer for layer, low in zip(sorted(results), at_data, strict=True) if low > 0}


def _draws(baseline: BaselineResult) -> Baseline:
    if isinstance(baseline, ProbeResult):
        return baseline.draws
    return {layer: result.draws for layer, result in baseline.items()}


def _is_decodable(baseline: BaselineResult) -> bool:
    found = {0: baseline} if isinstance(baseline, ProbeResult) else baseline
    return any(decodable(found).values())
