"""Ablation: which components a behaviour needs.

Every prompt is answered by the model as it is (the baseline) and with components taken out (``circuit.model.interventions.ablation``). Prompts that
fail already in the baseline say nothing about a component: they are left out of both measures, and counted. Side by side stand

    pass rate    share of prompts whose answer meets the criterion, with Wilson's interval
    Δ log p      log p(baseline's answer | prompt) with the ablation − without, a token's mean, in nats: the mean over prompts with a bootstrap
                 interval over their groups. It sees a component that matters a little, which a pass rate does not

A component without which the behaviour fails is needed *by the model as it computes now*: others may have taken over its part
(self-repair), and a mean that is off the distribution may break what the component never did. Random components of the same kind
stand for that where a set is found (``circuit introspect circuit``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError
from circuit.introspect.inputs.cases import Case
from circuit.methods.uncertainty.means import mean_estimate
from circuit.methods.uncertainty.scores import wilson
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track, untracked
from circuit.stages.steering.neutral import neutral_prompts
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

BATCH = 128  # answers are short, so many fit
ENOUGH = 10  # prompts from which means are taken; with fewer, the neutral ones are


@dataclass(frozen=True)
class Trial:
    """What one ablation does: the answers, which of them pass, and what it costs.

    ``passes`` and ``delta``, Δ log p of each prompt, hold None where the baseline failed, and ``rate`` is None where it failed everywhere.
    A delta is None, too, where the baseline's answer had no token. ``effect`` is the mean of delta with its interval over the prompts that
    count: None where there is none of them, one of them has no delta, or there is one group only.
    """

    name: str
    components: list[str]
    outputs: list[str]
    passes: list[bool | None]
    rate: float | None
    interval: tuple[float, float] | None
    delta: list[float | None]
    effect: list[float] | None


@dataclass(frozen=True)
class Study:
    """The baseline and every ablation, in the order in which they were given."""

    prompts: list[str]
    criteria: list[str]
    baseline: list[str]
    baseline_passes: list[bool]
    n_excluded: int
    trials: list[Trial]
    method: str
    reference: str

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def ablate(
    model: Any,
    cases: Sequence[Case],
    ablations: Sequence[tuple[str, Sequence[Any]]],
    *,
    form: PromptFormat,
    method: str = "mean",
    max_tokens: int = 60,
    seed: int = 0,
    track: Track = untracked,
) -> Study:
    """Run every ablation, a name and components, on every case; all prompts of one run as a batch.

    Raises ``UsageError`` for components that there are not and ``DataError`` without a prompt.
    """
    from circuit.model.forward.generate import may_be_ragged
    from circuit.model.interventions.ablation import ablated, check_components

    if not cases:
        raise DataError("there are no prompts to ablate on", hint="give them with -p or --prompts")
    every = list(dict.fromkeys(c for _, components in ablations for c in components))
    check_components(model, every)
    encoded = encode(model, [case.prompt for case in cases], form)
    run = _Run(model, encoded, max_tokens, may_be_ragged(model))
    references, reference = _references(model, encoded, every, form, method)
    baseline = run.answers(encoded)
    passed = [c.is_met(a.text) for c, a in zip(cases, baseline, strict=True)]
    plain = [each.log_probs for each in run.read(baseline)]
    trials = []
    for name, components in track(ablations, "Ablating", len(ablations)):
        with ablated(model, components, method, references, seed=seed):
            answers, log_probs = run.answers_again(baseline)
        deltas = [
            float(np.mean(a - b)) if before and len(b) else None
            for a, b, before in zip(log_probs, plain, passed, strict=True)
        ]
        trials.append(_trial(name, components, cases, answers, passed, deltas, seed))
    return Study(
        [case.prompt for case in cases],
        [case.criterion_name for case in cases],
        [answer.text for answer in baseline],
        passed,
        passed.count(False),
        trials,
        method,
        reference,
    )


@dataclass(frozen=True)
class _Run:
    """A model, encoded prompts, and how they are answered."""

    model: Any
    encoded: Sequence[Any]
    max_tokens: int
    ragged: bool

    def answers(self, encoded: Sequence[Any]) -> list[Any]:
        """Return the greedy answers to prompts."""
        from circuit.model.forward.generate import generate

        return generate(
            self.model,
            encoded,
            Sampling(self.max_tokens),
            ragged=self.ragged,
            batch_size=BATCH,
        )

    def answers_again(self, baseline: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the greedy answers to all prompts, and log p of every token of the baseline's.

        One pass over the baseline's answers gives the log-probabilities and says where each of its tokens is still the likeliest:
        that answer stands, since greedy generation would write it again. The others are generated anew.
        """
        read = self.read(baseline)
        answers = list(baseline)
        moved = [row for row, each in enumerate(read) if not self._stands(baseline[row], each)]
        if moved:
            for row, answer in zip(
                moved, self.answers([self.encoded[r] for r in moved]), strict=True
            ):
                answers[row] = answer
        return answers, [each.log_probs for each in read]

    def _stands(self, answer: Any, read: Any) -> bool:
        n = len(answer.ids)
        ends = n == self.max_tokens or int(read.top1[n]) in self.model.tokenizer.eos_token_ids
        return ends and read.top1[:n].tolist() == answer.ids

    def read(self, answers: Sequence[Any]) -> list[Any]:
        """Return what the model says of given answers, in one pass a text."""
        from circuit.model.forward.teacher_forcing import Text, predictions

        texts = [
            Text(np.concatenate([p.ids, np.array(a.ids, np.int32)]), len(p.ids))
            for p, a in zip(self.encoded, answers, strict=True)
        ]
        return predictions(self.model, texts)


def _references(
    model: Any, encoded: Sequence[Any], components: Sequence[Any], form: PromptFormat, method: str
) -> tuple[Any, str]:
    """Return what replaces a component, and in words where that comes from."""
    from circuit.model.interventions.ablation import reference_values

    if method == "zero":
        return None, "nothing"
    own = len(encoded) >= ENOUGH
    prompts = encoded if own else neutral_prompts(model, form)
    return reference_values(model, prompts, components), (
        "the prompts" if own else f"the neutral prompts, since under {ENOUGH} prompts are given"
    )


def _trial(
    name: str,
    components: Sequence[Any],
    cases: Sequence[Case],
    answers: Sequence[Any],
    passed: Sequence[bool],
    deltas: list[float | None],
    seed: int,
) -> Trial:
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
        name,
        [str(component) for component in components],
        [answer.text for answer in answers],
        passes,
        float(np.mean(counted)) if counted else None,
        wilson(sum(counted), len(counted)) if counted else None,
        deltas,
        None if effect is None else effect.as_list(),
    )
