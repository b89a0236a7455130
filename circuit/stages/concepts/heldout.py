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
    from circuit.model.forward.branches import Variant
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
            unsteered=_per_token(model, held_out, _variants(model, [[]]))[0],
            neutral=[Text(each.ids, 1) for each in neutral_prompts(model, RAW)[:NEUTRAL]],
        )

    def effects(self, several: "Sequence[Sequence[Steering]]") -> list[Interval] | None:
        """Return the contrast of Δ log p per token under each of several lists of steerings.

        None where no text is held out.
        """
        if not self.held_out:
            return None
        is_positive, is_neutral = self.y == 1, self.y == 0

        def effect(per_token: Array) -> Interval:
            change = per_token - self.unsteered
            positive, neutral = change * is_positive, change * is_neutral
            return _interval(
                lambda w: np.asarray(
                    w @ positive / (w @ is_positive) - w @ neutral / (w @ is_neutral)
                ),
                self.y,
                self.groups,
            )

        variants = _variants(self.model, several)
        return [effect(each) for each in _per_token(self.model, self.held_out, variants)]

    def damages(self, several: "Sequence[Sequence[Steering]]") -> Array:
        """Return the mean KL per token of each of several lists of steerings, (k, n_neutral)."""
        from circuit.model.forward.teacher_forcing import divergences

        moved = divergences(self.model, self.neutral, _variants(self.model, several))
        return np.array([[each.kl.mean(dtype=np.float64) for each in own] for own in moved])


def _variants(model: "LoadedModel", several: "Sequence[Sequence[Steering]]") -> "list[Variant]":
    from circuit.model.interventions.steering import steered_variant

    return [steered_variant(model, steerings) for steerings in several]


def mean_interval(values: Array) -> Interval:
    """Return the mean of the values of single prompts, with its interval."""
    y = np.zeros(len(values), np.intp)
    return _interval(lambda w: np.asarray(w @ values / w.sum(axis=1)), y, np.arange(len(y)))


def _interval(statistic: Statistic, y: Array, groups: Array) -> Interval:
    rng = np.random.default_rng(0)
    drawn = resample(y, groups, n_boot=N_BOOT, rng=rng, cross_fitted=False)
    return drawn.draws(statistic).estimate(bounds=(-np.inf, np.inf)).as_triple()


def _per_token(
    model: "LoadedModel", texts: "Sequence[Text]", variants: "Sequence[Variant]"
) -> list[Array]:
    """Return log p per token of each text, (n,), for each variant."""
    from circuit.model.forward.teacher_forcing import variant_predictions

    if not texts:
        return [np.array([]) for _ in variants]
    found = variant_predictions(model, texts, variants)
    return [np.array([e.log_probs.mean(dtype=np.float64) for e in own]) for own in found]
