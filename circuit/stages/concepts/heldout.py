"""What adding a concept is measured on: held-out texts and neutral prompts.

    effect     Δ log p / T of each held-out text, teacher-forced; their contrast is the mean over
               positive texts − the mean over neutral ones
    damage     KL(steered ‖ unsteered), the mean over the tokens of each neutral prompt

in nats per token, with 95 % bootstrap intervals over groups of texts, and over prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.concept_files import find_concept
from circuit.artifacts.prompts.read import read_prompts
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.bootstrap import Statistic, resample
from circuit.stages.concepts.fit import ConceptTexts
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.neutral import neutral_prompts
from circuit.values.intervals import Interval
from circuit.values.prompt_format import RAW

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.teacher_forcing import Text
    from circuit.model.interventions.steering import Steering

NEUTRAL = 16  # neutral prompts
N_BOOT = 1000


@dataclass(frozen=True, eq=False)
class EvaluationTexts:
    """Held-out texts with the unsteered model's log-probabilities, and neutral prompts."""

    model: "LoadedModel"
    held_out: "list[Text]"
    y: Array
    groups: Array
    unsteered: Array  # (n,) log p per token
    neutral: "list[Text]"

    @classmethod
    def of(cls, model: "LoadedModel", name: str) -> "EvaluationTexts":
        """Take the held-out texts of the concept ``name``, and neutral prompts."""
        from circuit.model.forward.teacher_forcing import Text

        prompts = read_prompts(find_concept(name))
        part = ConceptTexts.of(prompts).held_out
        texts = [prompts.texts[row] for row in part.rows]
        # The first token is given: no token precedes it.
        held_out = [Text(each.ids, 1) for each in encode(model, texts, RAW)] if texts else []
        return cls(
            model=model,
            held_out=held_out,
            y=part.y,
            groups=part.groups,
            unsteered=_per_token(model, held_out),
            neutral=[Text(each.ids, 1) for each in neutral_prompts(model, RAW)[:NEUTRAL]],
        )

    def effect(self, steerings: "Sequence[Steering]") -> Interval | None:
        """Return the contrast of Δ log p per token; None where no text is held out."""
        from circuit.model.interventions.steering import steered

        if not self.held_out:
            return None
        with steered(self.model, steerings):
            change = _per_token(self.model, self.held_out) - self.unsteered
        is_positive, is_neutral = self.y == 1, self.y == 0
        positive, neutral = change * is_positive, change * is_neutral
        return _interval(
            lambda w: np.asarray(w @ positive / (w @ is_positive) - w @ neutral / (w @ is_neutral)),
            self.y,
            self.groups,
        )

    def damage(self, steerings: "Sequence[Steering]") -> Array:
        """Return the mean KL per token of every neutral prompt, (m,)."""
        from circuit.model.forward.teacher_forcing import divergence
        from circuit.model.interventions.steering import steered

        moved = divergence(self.model, self.neutral, lambda: steered(self.model, steerings))
        return np.array([each.kl.mean(dtype=np.float64) for each in moved])


def mean_interval(values: Array) -> Interval:
    """Return the mean of the values of single prompts, with its interval."""
    y = np.zeros(len(values), np.intp)
    return _interval(lambda w: np.asarray(w @ values / w.sum(axis=1)), y, np.arange(len(y)))


def _interval(statistic: Statistic, y: Array, groups: Array) -> Interval:
    rng = np.random.default_rng(0)
    drawn = resample(y, groups, n_boot=N_BOOT, rng=rng, cross_fitted=False)
    return drawn.draws(statistic).estimate(bounds=(-np.inf, np.inf)).as_triple()


def _per_token(model: "LoadedModel", texts: "Sequence[Text]") -> Array:
    from circuit.model.forward.teacher_forcing import token_log_probs

    found = token_log_probs(model, texts) if texts else []
    return np.array([each.mean(dtype=np.float64) for each in found])
