"""What a steering does to neutral text: rollouts of the steered model, read by both models.

After each neutral prompt the steered model writes T tokens greedily; both models then read that
text:

    KL_t = Σ_v p_s(v) (log p_s(v) − log p_b(v))    s steered, b not, at every token that was chosen

among them the token that ended a text before its T tokens were written. The 95th percentile over
all tokens of all prompts is the statistic of ``circuit.stages.steering.strength``: damage comes in
bursts, which a mean hides. Nats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.stages.steering.generate import texts_of

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering
    from circuit.model.prompts.tokens import EncodedPrompt

TOGETHER = 128  # answers that are written at once


@dataclass(frozen=True)
class Damage:
    """Divergence of the next-token distributions (nats), and agreement on the top-1 token."""

    kl_p95: float
    kl_mean: float
    top1: float


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Answers to every prompt, and the divergence at each of their tokens, over all prompts."""

    answers: list[list[int]]
    kl: Array  # (n_tokens,)
    agree: Array  # (n_tokens,) both models have the same top-1 token

    def statistic(self, name: str) -> float:
        """Return ``mean`` or a percentile (``p95``) of the divergence."""
        return float(self.kl.mean() if name == "mean" else np.percentile(self.kl, percentile(name)))

    def damage(self) -> Damage:
        """Summarise the divergence over all tokens."""
        return Damage(
            kl_p95=self.statistic("p95"),
            kl_mean=self.statistic("mean"),
            top1=float(self.agree.mean()),
        )


@dataclass(frozen=True, eq=False)
class Neutral:
    """Encoded neutral prompts, how many tokens follow each, and whether they may share a batch."""

    prompts: "Sequence[EncodedPrompt]"
    n_tokens: int = 20
    ragged: bool = True


def percentile(statistic: str) -> float:
    """Return X of ``pX``, and 100 for ``mean``; raise ``UsageError`` for another statistic."""
    if statistic == "mean":
        return 100.0
    number = statistic.removeprefix("p")
    if statistic.startswith("p") and number.isdecimal() and 0 < int(number) <= 100:
        return float(number)
    message = f"unknown statistic `{statistic}`"
    hint = "use mean, or a percentile such as p95"
    raise UsageError("unknown-statistic", message, hint=hint, statistic=statistic)


def prepared(
    model: "LoadedModel", prompts: "Sequence[EncodedPrompt]", n_tokens: int = 20
) -> Neutral:
    """Measure, before anything is steered, whether the prompts may share a batch."""
    from circuit.model.forward.generate import may_be_ragged

    if not prompts:
        message = "no neutral prompts are given"
        raise DataError("no-prompts", message, hint="give at least one")
    if n_tokens < 1:
        message = f"the number of tokens must be at least 1, got {n_tokens}"
        raise UsageError("out-of-range", message, hint="give for example 20", n_tokens=n_tokens)
    return Neutral(prompts, n_tokens, may_be_ragged(model))


def roll_out(model: "LoadedModel", steerings: "Sequence[Steering]", neutral: Neutral) -> Rollouts:
    """Write after every neutral prompt while ``steerings`` act; compare both models on the text."""
    (found,) = roll_outs(model, [steerings], neutral)
    return found


def roll_outs(
    model: "LoadedModel", several: "Sequence[Sequence[Steering]]", neutral: Neutral
) -> list[Rollouts]:
    """Roll out under each of several lists of steerings, which are answered together."""
    from circuit.model.forward.generate import generate_each
    from circuit.model.forward.teacher_forcing import divergences
    from circuit.model.interventions.steering import steered_variant

    variants = [steered_variant(model, steerings) for steerings in several]
    written = generate_each(
        model,
        neutral.prompts,
        variants,
        max_tokens=neutral.n_tokens,
        batch_size=TOGETHER,
        ragged=neutral.ragged,
    )
    end = model.tokenizer.eos_token_id or 0
    found = []
    for variant, answers in zip(variants, written, strict=True):
        # The choice to end counts; which token stands there changes nothing before it.
        ended = [[*ids, end][: neutral.n_tokens] for ids in answers]
        texts = list(texts_of(neutral.prompts, ended).values())
        (each,) = divergences(model, texts, [variant])
        kl, agree = [one.kl for one in each], [one.agree for one in each]
        found.append(Rollouts(answers, np.concatenate(kl), np.concatenate(agree)))
    return found
