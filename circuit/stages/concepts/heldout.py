"""What adding a concept is measured on: its texts that had no part in its direction, and neutral prompts.

    effect     Δ log p / T of each held-out text, teacher-forced; their contrast is the mean over positive texts − over neutral ones
    damage     KL(steered ‖ as it is), the mean over the tokens of each neutral prompt

in nats per token, with 95 % bootstrap intervals over groups of texts, and over prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.artifacts.prompts.read import read_prompts
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import resample
from circuit.stages.concepts.fit import held_out_texts
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.neutral import neutral_prompts
from circuit.values.prompt_format import RAW

NEUTRAL = 16  # neutral prompts


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What points are measured on: held-out texts with the model's own log-probabilities, and neutral prompts."""

    texts: list[Any]
    y: Array
    groups: Array
    base: Array  # (n,) log p per token under the model as it is
    neutral: list[Any]
    n_boot: int

    @classmethod
    def of(cls, model: Any, name: str, n_boot: int) -> "Yardstick":
        """Take the held-out texts of the concept ``name``, and neutral prompts."""
        from circuit.model.forward.teacher_forcing import Text

        held_out, y, groups = held_out_texts(read_prompts(find_concept(name)))
        # The first token is given: nothing stands before it.
        texts = [Text(each.ids, 1) for each in encode(model, held_out, RAW)] if held_out else []
        neutral = [Text(each.ids, 1) for each in neutral_prompts(model, RAW)[:NEUTRAL]]
        return cls(texts, y, groups, _per_token(model, texts), neutral, n_boot)

    def effect(self, model: Any, steerings: Sequence[Any]) -> Array:
        """Return Δ log p per token of every held-out text, (n,)."""
        if not self.texts:
            return self.base
        from circuit.model.interventions.steering import steered

        with steered(model, steerings):
            return _per_token(model, self.texts) - self.base

    def damage(self, model: Any, steerings: Sequence[Any]) -> Array:
        """Return the mean KL per token of every neutral prompt, (m,)."""
        from circuit.model.forward.teacher_forcing import divergence
        from circuit.model.interventions.steering import steered

        moved = divergence(model, self.neutral, lambda: steered(model, steerings))
        return np.array([each.kl.mean(dtype=np.float64) for each in moved])

    def contrast(self, change: Array) -> list[float] | None:
        """Return mean over positive − mean over neutral texts, with its interval."""
        if not len(change):
            return None
        positive, negative = change * (self.y == 1), change * (self.y == 0)

        def statistic(weights: Array) -> Array:
            return np.asarray(
                weights @ positive / (weights @ (self.y == 1))
                - weights @ negative / (weights @ (self.y == 0))
            )

        return self._interval(statistic, self.y, self.groups)

    def mean(self, values: Array) -> list[float]:
        """Return the mean of values of single prompts, with its interval."""
        y = np.zeros(len(values), np.intp)
        return self._interval(
            lambda w: np.asarray(w @ values / w.sum(axis=1)), y, np.arange(len(y))
        )

    def _interval(self, statistic: Any, y: Array, groups: Array) -> list[float]:
        rng = np.random.default_rng(0)
        drawn = resample(y, groups, n_boot=self.n_boot, rng=rng, cross_fitted=False)
        return drawn.draws(statistic).estimate(bounds=(-np.inf, np.inf)).as_list()


def _per_token(model: Any, texts: Sequence[Any]) -> Array:
    from circuit.model.forward.teacher_forcing import token_log_probs

    found = token_log_probs(model, texts) if texts else []
    return np.array([each.mean(dtype=np.float64) for each in found])
