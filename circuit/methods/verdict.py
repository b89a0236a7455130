"""What a result may be called, and no more: the ladder from "not decodable" to "selective".

    decodable   at one layer: the interval of the AUROC lies above ½, the family-wise permutation p over all layers is at most 0.05, and
                there are at least 10 groups

and of a question, over the layers:

    few groups      under 10 groups nothing is claimed
    not decodable   at no layer decodable
    surface         decodable, but no layer is above what is read off the text itself (words, length, punctuation, …)
    tokens          above the surface, but no layer is above the embedding of the token or a model with random weights
    decodable       above those, but not above the control task, or that was not run
    selective       above all of them

"Above a baseline" is the lower bound of the AUROC's interval above the upper bound of the baseline's. None of these says that the
model uses what can be read: only an intervention shows that.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from circuit.methods.bootstrap import Estimate
from circuit.methods.permutation import LEVEL, family_wise
from circuit.methods.probing import ProbeResult
from circuit.methods.splits import MIN_GROUPS

FEW, NOT, SURFACE, TOKENS, DECODABLE, SELECTIVE = (
    "few groups",
    "not decodable",
    "surface",
    "tokens",
    "decodable",
    "selective",
)
Key = TypeVar("Key", bound=Hashable)


def decodable(results: Mapping[Key, ProbeResult]) -> dict[Key, bool]:
    """Say at which of the layers that were measured together a question is decodable."""
    p_any = family_wise({key: result.null for key, result in results.items()})
    return {
        key: result.n_groups >= MIN_GROUPS and result.auroc.low > 0.5 and _small(p_any[key])
        for key, result in results.items()
    }


def _small(p: float | None) -> bool:
    return p is not None and p <= LEVEL


def verdict(
    results: Mapping[Key, ProbeResult],
    *,
    surface: Iterable[Estimate],
    tokens: Iterable[Estimate],
    control: Iterable[Estimate] | None,
) -> str:
    """Name what may be said of a question from its layers and its baselines; ``control`` None: the task was not run."""
    if any(result.n_groups < MIN_GROUPS for result in results.values()):
        return FEW
    stars = decodable(results)
    lows = [result.auroc.low for key, result in results.items() if stars[key]]
    if not lows:
        return NOT
    best = max(lows)
    for name, baselines in ((SURFACE, surface), (TOKENS, tokens), (DECODABLE, control or [])):
        if any(baseline.high >= best for baseline in baselines):
            return name
    return DECODABLE if control is None else SELECTIVE
