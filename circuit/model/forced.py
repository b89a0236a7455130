"""What the model says of given text: log-probabilities of its tokens, and how far an intervention moves them.

A text is a row of token ids of which the first ``start`` are the prompt. Position t (t ≥ start) is predicted from what precedes it:

    log p_t = log p(x_t | x_<t)                        ``token_log_probs``
    KL_t    = Σ_v p_s(v) (log p_s(v) − log p_b(v))      ``divergence``: s with the intervention, b without it, on the same text

Rows are right-padded where that leaves them alone (``circuit.model.padding``), and batches are cut so that the logits of one
hold at most ``HEAD_NUMBERS`` numbers: with a large vocabulary they, not the blocks, take the memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.batches import BATCH_TOKENS, Rows, plan_batches
from circuit.model.lists import Ids, stacked
from circuit.model.loading import LoadedModel
from circuit.model.padding import pads_are_harmless
from circuit.model.scopes import reading

HEAD_NUMBERS = 2**25
Array = npt.NDArray[np.float32]
Intervention = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False)
class Text:
    """Token ids (T,) of a prompt and what follows it; the first ``start`` of them are the prompt."""

    ids: Ids
    start: int


@dataclass(frozen=True, eq=False)
class Divergence:
    """For each token after the prompt: KL_t in nats, and whether both models find the same token likeliest."""

    kl: Array
    agree: npt.NDArray[np.bool_]


def token_log_probs(model: LoadedModel, texts: Sequence[Text]) -> list[Array]:
    """Return log p_t of every token after the prompt, for each text."""
    found: dict[int, Array] = {}
    for rows, ids in _batches(model, texts):
        wide = _log_softmax(_logits(model, texts, rows, ids))[:, :-1]
        chosen = mx.take_along_axis(wide, ids[:, 1:, None], axis=-1)[..., 0]
        found.update(_after_prompts(texts, rows, np.array(chosen)))
    return [found[row] for row in range(len(texts))]


def divergence(
    model: LoadedModel, texts: Sequence[Text], intervention: Intervention
) -> list[Divergence]:
    """Compare the model within ``intervention()`` with the model as it is, on every text."""
    found: dict[int, Divergence] = {}
    for rows, ids in _batches(model, texts):
        base = _log_softmax(_logits(model, texts, rows, ids))[:, :-1]
        mx.eval(base)
        with intervention():
            moved = _log_softmax(_logits(model, texts, rows, ids))[:, :-1]
        kl = mx.sum(mx.exp(moved) * (moved - base), axis=-1)
        same = mx.argmax(moved, axis=-1) == mx.argmax(base, axis=-1)
        mx.eval(kl, same)
        agree = _after_prompts(texts, rows, np.array(same))
        for row, values in _after_prompts(texts, rows, np.array(kl)).items():
            found[row] = Divergence(values, agree[row])
    return [found[row] for row in range(len(texts))]


def answer_log_probs(
    model: LoadedModel, prompts: Sequence[Ids], answers: Sequence[Sequence[Sequence[int]]]
) -> list[Array]:
    """Return log p(answer | prompt) of every answer, its tokens summed: for each prompt an array (n_answers,).

    ``answers[i]`` lists the answers to prompt i as token ids. Answers that begin alike share a pass, so
    that all answers of one token cost one pass a prompt.
    """
    texts, places = _shared_beginnings(prompts, answers)
    found = [np.full(len(each), np.nan, np.float32) for each in answers]
    for rows, ids in _batches(model, texts):
        wide = _log_softmax(_logits(model, texts, rows, ids))
        wanted = [(i, place) for i, row in enumerate(rows.tolist()) for place in places[row]]
        sums = [_summed(wide[i], texts[rows[i]].start, answer) for i, (_, _, answer) in wanted]
        for (_, (p, k, _)), value in zip(wanted, np.array(mx.stack(sums)), strict=True):
            found[p][k] = value
    return found


def _summed(log_probs: mx.array, start: int, answer: Sequence[int]) -> mx.array:
    """Return Σ log p of an answer's tokens from the log-probabilities (T, vocabulary) of its text."""
    steps = mx.arange(start - 1, start - 1 + len(answer))
    return mx.sum(log_probs[steps, mx.array(list(answer))])


def _shared_beginnings(
    prompts: Sequence[Ids], answers: Sequence[Sequence[Sequence[int]]]
) -> tuple[list[Text], list[list[tuple[int, int, list[int]]]]]:
    """Return the texts to run, and for each the prompts' numbers, the answers' numbers and tokens read there."""
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    texts: list[Text] = []
    places: list[list[tuple[int, int, list[int]]]] = []
    for p, (prompt, listed) in enumerate(zip(prompts, answers, strict=True)):
        for k, answer in enumerate(listed):
            beginning = tuple(answer[:-1])
            if (p, beginning) not in numbers:
                numbers[p, beginning] = len(texts)
                ids = np.concatenate([prompt, np.array(beginning, np.int32)]).astype(np.int32)
                texts.append(Text(ids, len(prompt)))
                places.append([])
            places[numbers[p, beginning]].append((p, k, list(answer)))
    return texts, places


def _batches(model: LoadedModel, texts: Sequence[Text]) -> Iterator[tuple[Rows, mx.array]]:
    lengths = np.array([len(text.ids) for text in texts])
    padded = bool(lengths.min() < lengths.max()) and pads_are_harmless(model)
    budget = max(1, min(BATCH_TOKENS, HEAD_NUMBERS // _vocabulary(model)))
    for rows in plan_batches(lengths, batch_tokens=budget, padded=padded):
        yield rows, mx.array(stacked([texts[row].ids for row in rows]))


def _vocabulary(model: LoadedModel) -> int:
    text = model.config.get("text_config", model.config)
    return int(text.get("vocab_size", BATCH_TOKENS))


def _logits(model: LoadedModel, texts: Sequence[Text], rows: Rows, ids: mx.array) -> mx.array:
    with reading(model, [texts[row].start for row in rows]):
        logits: mx.array = model.network(ids)
    return logits.astype(mx.float32)


def _log_softmax(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _after_prompts(
    texts: Sequence[Text], rows: Rows, values: npt.NDArray[np.generic]
) -> dict[int, Any]:
    """Cut (B, T − 1) values of the tokens 1 to T − 1 down to those after each prompt."""
    return {
        row: values[i, texts[row].start - 1 : len(texts[row].ids) - 1]
        for i, row in enumerate(rows.tolist())
    }
