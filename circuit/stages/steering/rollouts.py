"""What a steering does to text that has nothing to do with it: rollouts on neutral prompts, read by the model without it.

After each neutral prompt the steered model writes T tokens greedily; both models then read that text:

    KL_t = Σ_v p_s(v) (log p_s(v) − log p_b(v))    s steered, b not, at every token that was chosen

among them the token that ended a text before its T tokens were written. The 95th percentile over all tokens of all prompts is the
statistic of ``circuit.stages.steering.strength``: damage comes in bursts, which a mean hides. Nats.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.methods.steering.coherence import Repetition, mean_nll, repetition
from circuit.stages.steering.intervention import Intervention
from circuit.values.sampling import Sampling

Array = npt.NDArray[Any]
MEASURES = ("nll", *(field.name for field in fields(Repetition)))
TOGETHER = 64  # prompts that are answered in one batch


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Answers to every prompt, and the divergence at each of their tokens, over all prompts."""

    answers: list[list[int]]
    kl: Array  # (n_tokens,)
    agree: Array  # (n_tokens,) both models find the same token likeliest

    def statistic(self, name: str) -> float:
        """Return ``mean`` or a percentile (``p95``) of the divergence."""
        return float(self.kl.mean() if name == "mean" else np.percentile(self.kl, percentile(name)))

    def damage(self) -> dict[str, float]:
        """Return what was done to the next-token distributions: divergence in nats, and agreement on the likeliest token."""
        return {
            "kl_p95": self.statistic("p95"),
            "kl_mean": self.statistic("mean"),
            "top1": float(self.agree.mean()),
        }


@dataclass(frozen=True, eq=False)
class Neutral:
    """Encoded neutral prompts, the tokens to write after each, and whether they may share a batch."""

    prompts: Sequence[Any]
    n_tokens: int = 20
    ragged: bool = True


def percentile(statistic: str) -> float:
    """Return X of ``pX``, and 100 for ``mean``; raise ``UsageError`` for what is neither."""
    if statistic == "mean":
        return 100.0
    number = statistic.removeprefix("p")
    if statistic.startswith("p") and number.isdecimal() and 0 < int(number) <= 100:
        return float(number)
    message = f"`{statistic}` is not a statistic of the divergence"
    raise UsageError(message, hint="use mean, or a percentile such as p95")


def prepared(model: Any, prompts: Sequence[Any], n_tokens: int = 20) -> Neutral:
    """Measure, before anything is steered, whether the prompts may share a batch."""
    from circuit.model.forward.generate import may_be_ragged

    if not prompts:
        message = "there are no neutral prompts"
        raise DataError(message, hint="give at least one")
    if n_tokens < 1:
        message = f"{n_tokens} tokens cannot be written after a prompt"
        raise UsageError(message, hint="write 20, or another positive number")
    return Neutral(prompts, n_tokens, may_be_ragged(model))


def roll_out(
    model: Any, intervention: Intervention, coefficient: float, neutral: Neutral
) -> Rollouts:
    """Write after every neutral prompt at this coefficient, and compare the two models on what was written."""
    from circuit.model.forward.generate import generate
    from circuit.model.forward.teacher_forcing import Text, divergence

    with intervention.steered(model, coefficient):
        written = generate(
            model,
            neutral.prompts,
            Sampling(neutral.n_tokens),
            batch_size=TOGETHER,
            ragged=neutral.ragged,
            in_step=intervention.is_scoped,
        )
    end = model.tokenizer.eos_token_id or 0
    texts = []
    for prompt, answer in zip(neutral.prompts, written, strict=True):
        # The choice to end counts; which token stands there changes nothing before it.
        ids = [*answer.ids, end][: neutral.n_tokens]
        texts.append(Text(np.concatenate([prompt.ids, np.array(ids, np.int32)]), len(prompt.ids)))
    found = divergence(model, texts, lambda: intervention.steered(model, coefficient))
    return Rollouts(
        [answer.ids for answer in written],
        np.concatenate([each.kl for each in found]),
        np.concatenate([each.agree for each in found]),
    )


def coherence(model: Any, rollouts: Rollouts, neutral: Neutral) -> dict[str, float | None]:
    """Return the means of ``MEASURES`` over the texts that have a token; None where no text has one.

    ``nll`` is each text's mean NLL under the unsteered model, in nats per token.
    """
    from circuit.model.forward.teacher_forcing import Text, token_log_probs

    pairs = [(p, ids) for p, ids in zip(neutral.prompts, rollouts.answers, strict=True) if ids]
    if not pairs:
        return dict.fromkeys(MEASURES)
    texts = [Text(np.concatenate([p.ids, np.array(ids, np.int32)]), len(p.ids)) for p, ids in pairs]
    rows = [
        {"nll": mean_nll(log_p), **asdict(repetition(ids))}
        for log_p, (_, ids) in zip(token_log_probs(model, texts), pairs, strict=True)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in MEASURES}
