"""The held-out score of "take the layer whose probe looks best", for logistic probes.

The best of L layers on the scored rows is an optimistic number (``nested``). Here the layer is
chosen in each outer fold by the log-loss on the *inner* held-out rows that the choice of C computed
already (``regularisation``), none of which is held out in the outer fold, and the outer held-out
rows get the scores of that layer. The pooled AUROC is that of the procedure, on the same folds and
resamples as the layers' own; nothing is fitted for it. Of equal losses the earlier layer is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from circuit.methods.probes.probing import ProbeResult
from circuit.methods.probes.question import Task
from circuit.methods.uncertainty.bootstrap import Estimate, macro_statistic
from circuit.methods.uncertainty.perfect_scores import perfect_auroc


@dataclass(frozen=True)
class ProbeLayerChoice:
    """The held-out score of choosing a layer, and the choice in each outer fold."""

    auroc: Estimate
    chosen: tuple[int, ...]

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {"auroc": self.auroc.as_list(), "chosen_by_fold": list(self.chosen)}


def nested_probe(probes: Mapping[int, ProbeResult], task: Task) -> ProbeLayerChoice | None:
    """Score the choice among layers of one task.

    None for one layer, or where a training part has no inner folds.
    """
    losses = {layer: result.inner_loss for layer, result in probes.items()}
    if len(probes) < 2 or any(loss is None for each in losses.values() for loss in each):
        return None
    fold = next(iter(probes.values())).fold
    scores = np.empty_like(next(iter(probes.values())).scores)
    chosen = []
    for k in range(len(task.splits)):
        best = min(probes, key=lambda layer: (losses[layer][k] or 0.0, layer))
        scores[fold == k] = probes[best].scores[fold == k]
        chosen.append(best)
    draws = task.resamples.draws(macro_statistic(scores, task.y, fold, task.groups))
    auroc = draws.estimate().widen_to(perfect_auroc(task.y, task.groups))
    return ProbeLayerChoice(auroc, tuple(chosen))
