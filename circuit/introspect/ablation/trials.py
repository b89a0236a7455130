"""What ablations do to answers: which still pass, and how likely the unablated answers remain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.introspect.ablation.components import Ablation
from circuit.introspect.inputs.cases import Case
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimate
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.steering.neutral import neutral_prompts
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.generate import Completion
    from circuit.model.forward.teacher_forcing import Predictions
    from circuit.model.interventions.ablation import Component, References
    from circuit.model.prompts.tokens import EncodedPrompt

BATCH = 128  # answers are short, so many fit
ENOUGH = 10  # prompts from which means are taken; with fewer, the neutral prompts are used


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one ablation does: the answers, which of them pass, and what it costs.

    ``passes`` and ``delta``, Δ log p of each prompt, hold None where the baseline failed; ``rate``
    is None where it failed for all prompts. A delta is also None where the baseline's answer had no
    token. ``effect`` is the mean delta of the prompts that count, with its interval: None where
    there are none of them, one has no delta, or there is only one group.
    """

    name: str
    components: list[str]
    outputs: list[str]
    passes: list[bool | None]
    rate: float | None
    interval: tuple[float, float] | None
    delta: list[float | None]
    effect: list[float] | None


@dataclass(frozen=True, eq=False)
class Answering:
    """A model, encoded prompts, and how they are answered."""

    model: "LoadedModel"
    encoded: "Sequence[EncodedPrompt]"
    max_tokens: int
    ragged: bool

    def answers(self, encoded: "Sequence[EncodedPrompt]") -> "list[Completion]":
        """Return the greedy answers to prompts."""
        from circuit.model.forward.generate import generate

        return generate(
            self.model, encoded, Sampling(self.max_tokens), ragged=self.ragged, batch_size=BATCH
        )

    def answers_again(
        self, baseline: "Sequence[Completion]"
    ) -> "tuple[list[Completion], list[Array]]":
        """Return the greedy answers, and log p of every token of the baseline's answers.

        One pass over the baseline's answers gives the log-probabilities and shows where each of its
        tokens is still the top-1 token: that answer stands, since greedy generation would write it
        again. The others are generated again.
        """
        read = self.read(baseline)
        answers = list(baseline)
        moved = [
            row for row, each in enumerate(read) if not self._is_unchanged(baseline[row], each)
        ]
        if moved:
            new = self.answers([self.encoded[row] for row in moved])
            for row, answer in zip(moved, new, strict=True):
                answers[row] = answer
        return answers, [each.log_probs for each in read]

    def _is_unchanged(self, answer: "Completion", read: "Predictions") -> bool:
        n = len(answer.ids)
        ends = n == self.max_tokens or int(read.top1[n]) in self.model.tokenizer.eos_token_ids
        return ends and read.top1[:n].tolist() == answer.ids

    def read(self, answers: "Sequence[Completion]") -> "list[Predictions]":
        """Return the model's predictions along given answers, in one pass for each text."""
        from circuit.model.forward.teacher_forcing import Text, predictions

        texts = [
            Text(np.concatenate([p.ids, np.array(a.ids, np.int32)]), len(p.ids))
            for p, a in zip(self.encoded, answers, strict=True)
        ]
        return predictions(self.model, texts)


def references_of(
    run: Answering, components: "Sequence[Component]", form: PromptFormat, method: str
) -> "tuple[References | None, str]":
    """Return the activations that replace components, and where they come from in words."""
    from circuit.model.interventions.ablation import reference_values

    if method == "zero":
        return None, "nothing"
    own = len(run.encoded) >= ENOUGH
    prompts = run.encoded if own else neutral_prompts(run.model, form)
    return reference_values(run.model, prompts, components), (
        "the prompts" if own else f"the neutral prompts, since under {ENOUGH} prompts are given"
    )


def trial_of(
    ablation: Ablation,
    cases: Sequence[Case],
    answers: "Sequence[Completion]",
    passed: Sequence[bool],
    *,
    deltas: list[float | None],
    seed: int,
) -> Trial:
    """Judge the answers of one ablation; prompts that fail without it do not count."""
    passes = [
        case.is_met(answer.text) if before else None
        for case, answer, before in zip(cases, answers, passed, strict=True)
    ]
    counted = [each for each in passes if each is not None]
    groups = [c.group or c.prompt for c, before in zip(cases, passed, strict=True) if before]
    known = [each for each in deltas if each is not None]
    whole = 0 < len(known) == len(groups)
    effect = mean_estimate(np.array(known), groups, seed=seed) if whole else None
    return Trial(
        name=ablation.name,
        components=[str(component) for component in ablation.components],
        outputs=[answer.text for answer in answers],
        passes=passes,
        rate=float(np.mean(counted)) if counted else None,
        interval=wilson(sum(counted), len(counted)) if counted else None,
        delta=deltas,
        effect=None if effect is None else effect.as_list(),
    )
