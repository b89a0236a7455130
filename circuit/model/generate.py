"""Text from the model: mlx-lm's own batch generator, with its key-value cache.

Taps that are installed around a call act in it, so steering needs no code here. A cache never
outlives a call: keys and values computed under one intervention must not serve another.

mlx-lm pads prompts of unequal length. Some of its families let the pads into their state (Mamba 1
and Jamba, in 0.32.2) and then answer otherwise than the prompt would alone, without a word. So that
is measured (``ragged_error``), and where it happens only prompts of equal length run together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from circuit.errors import DataError, ModelError
from circuit.model.loading import LoadedModel
from circuit.model.padding import IDS, padding_bound
from circuit.model.tokens import Encoded


@dataclass(frozen=True)
class Generated:
    """What the model wrote after one prompt, without the token that ended it."""

    text: str
    ids: list[int]


def generate(
    model: LoadedModel,
    prompts: Sequence[Encoded],
    *,
    max_tokens: int = 50,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
    ragged: bool | None = None,
) -> list[Generated]:
    """Generate after every prompt; ``temperature`` 0 is greedy and needs no seed.

    ``ragged`` says whether prompts of unequal length may share a batch; None measures it, which a
    caller that steers does beforehand, on the model as it is.

    Raises ``DataError`` when a prompt and its answer would leave the model's context, and
    ``ModelError`` when the model's output is not a number.
    """
    if not prompts:
        raise DataError("there are no prompts to answer", hint="give at least one prompt")
    check_room(model, prompts, max_tokens)
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    if ragged is None:
        ragged = len(set(lengths)) == 1 or may_be_ragged(model)
    every = np.arange(len(prompts))
    groups = [every] if ragged else [np.flatnonzero(lengths == n) for n in np.unique(lengths)]
    mx.random.seed(seed)
    answers: dict[int, Generated] = {}
    for rows in groups:
        batch = [prompts[row].ids.tolist() for row in rows.tolist()]
        response = _respond(model, batch, max_tokens, temperature, batch_size=batch_size)
        made = map(Generated, response.texts, map(list, response.token_ids))
        answers.update(zip(rows.tolist(), made, strict=True))
    return [answers[row] for row in range(len(prompts))]


def may_be_ragged(model: LoadedModel) -> bool:
    """Say whether prompts of unequal length generate together as they do alone."""
    return ragged_error(model) < padding_bound(model)


def ragged_error(model: LoadedModel) -> float:
    """Return the relative error of log-probabilities that sharing a ragged batch causes.

    Raises ``ModelError`` for the few families whose mlx-lm code cannot generate in batches.
    """
    try:
        together = _respond(model, IDS, 2, 0.0, return_logprobs=True)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        message = f"mlx-lm cannot generate in batches with family `{model.family}`: {error}"
        hint = "collect and probes work with this model; steer does not"
        raise ModelError(message, hint=hint) from error
    alone = [_respond(model, [ids], 2, 0.0, return_logprobs=True) for ids in IDS]
    if together.token_ids != [one.token_ids[0] for one in alone]:
        return float("inf")
    a = np.concatenate(together.logprobs)
    b = np.concatenate([one.logprobs[0] for one in alone])
    return float(np.abs(a - b).max(initial=0) / np.abs(b).max(initial=1e-30))


def _respond(
    model: LoadedModel,
    ids: Sequence[list[int]],
    max_tokens: int,
    temperature: float,
    *,
    batch_size: int = 32,
    return_logprobs: bool = False,
) -> Any:
    from mlx_lm.generate import batch_generate
    from mlx_lm.sample_utils import make_sampler

    flags: list[mx.array] = []
    response = batch_generate(
        model.network,
        model.tokenizer,
        ids,
        max_tokens=max_tokens,
        return_token_ids=True,
        return_logprobs=return_logprobs,
        sampler=_watched(make_sampler(temp=temperature), flags),
        completion_batch_size=batch_size,
        prefill_batch_size=batch_size,
    )
    if any(flag.item() for flag in flags):
        message = f"`{model.id}` in {model.dtype} gives logits that are not numbers"
        raise ModelError(message, hint="use --dtype float32, or a smaller coefficient")
    return response


def _watched(
    sampler: Callable[[mx.array], mx.array], flags: list[mx.array]
) -> Callable[[mx.array], mx.array]:
    """Note whether log-probabilities were NaN: the largest of them would still be some token."""

    def sample(log_probabilities: mx.array) -> mx.array:
        flag = mx.any(mx.isnan(log_probabilities))
        # At once: a flag that waits keeps a whole step's arrays alive.
        mx.async_eval(flag)  # type: ignore[no-untyped-call]
        flags.append(flag)
        return sampler(log_probabilities)

    return sample


def check_room(model: LoadedModel, prompts: Sequence[Encoded], max_tokens: int) -> None:
    """Raise ``DataError`` when a prompt and its answer would leave the model's context, naming it."""
    lengths = [len(prompt.ids) for prompt in prompts]
    longest, limit = max(lengths), model.context_length
    if limit is not None and longest + max_tokens > limit:
        message = (
            f"prompt {lengths.index(longest)} has {longest} tokens, which with an answer of "
            f"{max_tokens} exceed the {limit} tokens that `{model.id}` reads"
        )
        raise DataError(message, hint="ask for a shorter answer, or shorten the prompt")
