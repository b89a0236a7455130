"""Generate text with mlx-lm's own batch generator and its key-value cache.

Taps that are installed around a call act in it, so steering needs no code here. A cache never
outlives a call: keys and values computed under one intervention must not serve another. Steering
with a scope needs to know where each prompt ends, so the prompts of a batch then start together
(``in_step``); otherwise a finished one makes room for the next.

mlx-lm pads prompts of unequal length. Some of its families let the pads into their state (Mamba 1
and Jamba, in 0.32.2) and then silently answer differently. So that is measured (``batch_error``),
and where it happens only prompts of equal length run together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np

from circuit.errors import DataError, ModelError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.branches import Shares, Variant, branched
from circuit.model.forward.padding import IDS, padding_bound
from circuit.model.forward.scopes import prompt_lengths
from circuit.model.machine.runtime import in_threads
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from mlx_lm.generate import BatchResponse

Sampler = Callable[[mx.array], mx.array]
# Three of each: with two, a mask of the wrong shape could fit by chance.
RAGGED = [*IDS, list(range(7, 15))]
EQUAL = [list(range(first, first + 6)) for first in (1, 5, 9)]
_FAILS = (ValueError, TypeError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class Completion:
    """The text and tokens after one prompt, without the token that ended it."""

    text: str
    ids: list[int]


GREEDY = Sampling()
TWO_TOKENS = Sampling(2)


def generate(
    model: LoadedModel,
    prompts: Sequence[EncodedPrompt],
    sampling: Sampling = GREEDY,
    *,
    batch_size: int = 32,
    ragged: bool | None = None,
    in_step: bool = False,
) -> list[Completion]:
    """Generate after every prompt.

    ``ragged`` says whether prompts of unequal length may share a batch; None measures it, which a
    caller that steers does beforehand, on the unsteered model. With ``in_step`` the prompts of a
    batch start together.

    Raises ``DataError`` when a prompt and its answer would leave the model's context, and
    ``ModelError`` when the model's output is not a number.
    """
    _check_prompts(model, prompts, sampling)
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    if ragged is None:
        ragged = len(set(lengths)) > 1 and may_be_ragged(model)
    batch_size = _possible(model, batch_size, ragged=ragged) if len(prompts) > 1 else batch_size
    mx.random.seed(sampling.seed)
    answers: dict[int, Completion] = {}
    for rows in _groups(lengths, batch_size, ragged=ragged, in_step=in_step):
        batch = [prompts[row].ids.tolist() for row in rows.tolist()]
        response = _respond(model, batch, sampling, batch_size, in_step=in_step)
        made = map(Completion, response.texts, map(list, response.token_ids))
        answers.update(zip(rows.tolist(), made, strict=True))
    return [answers[row] for row in range(len(prompts))]


def generate_each(
    model: LoadedModel,
    prompts: Sequence[EncodedPrompt],
    variants: Sequence[Variant],
    *,
    max_tokens: int,
    batch_size: int,
    ragged: bool,
) -> list[list[list[int]]]:
    """Return the tokens that each variant writes greedily after every prompt, without the end.

    Up to ``batch_size`` answers, of one variant or of several, are in memory at once: mlx-lm keeps
    room for 256 tokens of each. On a CPU they are written in a batch for each thread, in which taps
    that are installed around this call do not act. Raises the errors of ``generate``.
    """
    _check_prompts(model, prompts, Sampling(max_tokens))
    even = max(1, -(-len(prompts) * len(variants) // model.n_streams))
    size = _possible(model, min(max(1, batch_size // model.n_streams), even), ragged=ragged)
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    jobs = [
        (rows, range(first, min(first + max(1, size // len(rows)), len(variants))))
        for rows in _groups(lengths, size, ragged=ragged, in_step=True)
        for first in range(0, len(variants), max(1, size // len(rows)))
    ]

    def write(job: tuple[np.ndarray, range]) -> list[list[int]]:
        rows, numbers = job
        own = [prompts[row].ids.tolist() for row in rows.tolist()]
        with branched(model, [variants[number] for number in numbers]) as shares:
            return _in_step(model, own * len(numbers), shares, len(numbers), max_tokens)

    found: list[dict[int, list[int]]] = [{} for _ in variants]
    for (rows, numbers), written in zip(
        jobs, in_threads(model.d_model, model.n_streams, jobs, write), strict=True
    ):
        places = [(number, row) for number in numbers for row in rows.tolist()]
        for (number, row), tokens in zip(places, written, strict=True):
            found[number][row] = tokens
    return [[each[row] for row in range(len(prompts))] for each in found]


def _in_step(
    model: LoadedModel, ids: Sequence[list[int]], shares: Shares, n_variants: int, max_tokens: int
) -> list[list[int]]:
    """Write greedily after ``ids``, the same number for each variant, and keep count of shares."""
    from mlx_lm.generate import BatchGenerator

    flags: list[mx.array] = []
    lengths, end = [len(each) for each in ids], model.tokenizer.eos_token_ids
    generator = BatchGenerator(
        model.network,
        stop_tokens=[[token] for token in end],
        sampler=_sampler(GREEDY, flags),
        completion_batch_size=len(ids),
        prefill_batch_size=len(ids),
        prefill_step_size=max(lengths),
    )
    numbers = generator.insert(list(ids), [max_tokens] * len(ids))
    written: dict[int, list[int]] = {number: [] for number in numbers}
    variant = {number: at * n_variants // len(ids) for at, number in enumerate(numbers)}
    with prompt_lengths(model, lengths, cached=True):
        while responses := generator.next_generated():
            left = [variant[each.uid] for each in responses if each.finish_reason is None]
            shares.sizes = [left.count(number) for number in range(n_variants)]
            for each in responses:
                if each.finish_reason != "stop":
                    written[each.uid].append(each.token)
    generator.close()
    _check_numbers(model, flags)
    return [written[number] for number in numbers]


def _check_prompts(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], sampling: Sampling
) -> None:
    if not prompts:
        raise DataError(
            "no-prompts", "there are no prompts to answer", hint="give a prompt with -p"
        )
    check_room(model, prompts, sampling.max_tokens)


def _possible(model: LoadedModel, batch_size: int, *, ragged: bool) -> int:
    """Return 1 where not even prompts of equal length may share a batch."""
    return batch_size if ragged or may_be_batched(model) else 1


def _groups(
    lengths: np.ndarray, batch_size: int, *, ragged: bool, in_step: bool
) -> list[np.ndarray]:
    """Return the rows that are passed to mlx-lm together; it makes its own batches of them."""
    # A prompt of one token has no prefill, so it cannot run in step with others.
    kinds = (lengths == 1) & in_step if ragged else lengths
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    if not in_step:
        return groups
    # Of nearly equal length, so that little is padding.
    ordered = [rows[np.argsort(-lengths[rows], kind="stable")] for rows in groups]
    return [rows[i : i + batch_size] for rows in ordered for i in range(0, len(rows), batch_size)]


def stream(
    model: LoadedModel, prompt: EncodedPrompt, sampling: Sampling = GREEDY
) -> Iterator[Completion]:
    """Yield the answer to one prompt piece by piece; raises the errors of ``generate``.

    A piece has the text that is complete, and its token except the one that ends the answer.
    """
    from mlx_lm.generate import stream_generate

    check_room(model, [prompt], sampling.max_tokens)
    mx.random.seed(sampling.seed)
    flags: list[mx.array] = []
    length = len(prompt.ids)
    with prompt_lengths(model, [length], cached=True):
        for piece in stream_generate(
            model.network,
            model.tokenizer,
            prompt.ids.tolist(),
            max_tokens=sampling.max_tokens,
            sampler=_sampler(sampling, flags),
            logits_processors=_processors(sampling),
            prefill_step_size=length,
        ):
            _check_numbers(model, flags)
            yield Completion(piece.text, [] if piece.finish_reason == "stop" else [piece.token])


def may_be_ragged(model: LoadedModel) -> bool:
    """Say whether prompts of unequal length generate together as they do alone."""
    return _agree(model, RAGGED, _ragged)


def may_be_batched(model: LoadedModel) -> bool:
    """Say whether prompts of equal length do; in Gemma 2 (mlx-lm 0.32.2) they do not even run."""
    return _agree(model, EQUAL, _batched)


_ragged: WeakKeyDictionary[LoadedModel, bool] = WeakKeyDictionary()
_batched: WeakKeyDictionary[LoadedModel, bool] = WeakKeyDictionary()


def _agree(
    model: LoadedModel, ids: Sequence[list[int]], known: WeakKeyDictionary[LoadedModel, bool]
) -> bool:
    """Measure once for each model whether these prompts answer together as they do alone."""
    if model not in known:
        known[model] = batch_error(model, ids) < padding_bound(model)
    return known[model]


def batch_error(model: LoadedModel, ids: Sequence[list[int]]) -> float:
    """Return the relative error of log-probabilities in a shared batch, infinite if it fails.

    Raises ``ModelError`` for the few families with which mlx-lm's batch generator does not run at
    all.
    """
    try:
        alone = [_respond(model, [i], TWO_TOKENS, in_step=True, return_logprobs=True) for i in ids]
    except _FAILS as error:
        raise ModelError(
            "generation-failed",
            f"mlx-lm cannot generate in batches with family `{model.family}`: {error}",
            hint="collect and probes work with this model; steer does not",
            family=model.family,
        ) from error
    try:
        together = _respond(model, ids, TWO_TOKENS, in_step=True, return_logprobs=True)
    except _FAILS:
        return float("inf")
    if together.token_ids != [one.token_ids[0] for one in alone]:
        return float("inf")
    a = np.concatenate(together.logprobs)
    b = np.concatenate([one.logprobs[0] for one in alone])
    return float(np.abs(a - b).max(initial=0) / np.abs(b).max(initial=1e-30))


def _respond(
    model: LoadedModel,
    ids: Sequence[list[int]],
    sampling: Sampling,
    batch_size: int = 32,
    *,
    in_step: bool = False,
    return_logprobs: bool = False,
) -> "BatchResponse":
    from mlx_lm.generate import batch_generate

    flags: list[mx.array] = []
    lengths = [len(each) for each in ids]
    with prompt_lengths(model, lengths, cached=True) if in_step else nullcontext():
        response = batch_generate(
            model.network,
            model.tokenizer,
            ids,
            max_tokens=sampling.max_tokens,
            return_token_ids=True,
            return_logprobs=return_logprobs,
            sampler=_sampler(sampling, flags),
            logits_processors=_processors(sampling),
            completion_batch_size=batch_size,
            prefill_batch_size=batch_size,
            **({"prefill_step_size": max(lengths)} if in_step else {}),
        )
    _check_numbers(model, flags)
    return response


def _sampler(sampling: Sampling, flags: list[mx.array]) -> Sampler:
    """Return mlx-lm's sampler, which records in ``flags`` whether a log-probability is NaN."""
    from mlx_lm.sample_utils import make_sampler

    chosen = make_sampler(
        temp=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p
    )
    return _checked(chosen, flags)


def _processors(sampling: Sampling) -> list[Callable[..., mx.array]]:
    """Return the functions that change the logits before a token is chosen."""
    from mlx_lm.sample_utils import make_logits_processors

    made: list[Callable[..., mx.array]] = make_logits_processors(
        repetition_penalty=sampling.repetition_penalty
    )
    return made


def _check_numbers(model: LoadedModel, flags: list[mx.array]) -> None:
    if any(flag.item() for flag in flags):
        raise ModelError(
            "not-finite",
            f"`{model.id}` in {model.dtype} gives logits that are not numbers",
            hint="use --dtype float32, or a smaller coefficient",
            model=model.id,
            dtype=model.dtype,
        )
    flags.clear()


def _checked(sampler: Sampler, flags: list[mx.array]) -> Sampler:
    """Record whether log-probabilities are NaN: the sampler would still choose some token."""

    def sample(log_probabilities: mx.array) -> mx.array:
        flag = mx.any(mx.isnan(log_probabilities))
        # Immediately: a pending flag keeps a whole step's arrays alive.
        mx.async_eval(flag)  # type: ignore[no-untyped-call]
        flags.append(flag)
        return sampler(log_probabilities)

    return sample


def check_room(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], max_tokens: int, *, first: int = 0
) -> None:
    """Raise ``DataError`` when a prompt and its answer are longer than the model's context."""
    lengths = [len(prompt.ids) for prompt in prompts]
    longest, limit = max(lengths), model.context_length
    if limit is not None and longest + max_tokens > limit:
        number = first + lengths.index(longest)
        raise DataError(
            "prompt-too-long",
            f"prompt {number} has {longest} tokens, which with an answer of {max_tokens} exceed "
            f"the {limit} tokens that `{model.id}` reads",
            hint="use fewer --max-tokens, or shorten the prompt",
            prompt=number,
            n_tokens=longest,
            limit=limit,
        )
