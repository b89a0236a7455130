"""Teacher forcing: log-probabilities of given tokens, and the divergence by an intervention.

A text is a row of token ids of which the first ``start`` are the prompt. Position t (t ≥ start) is
predicted from what precedes it:

    log p_t = log p(x_t | x_<t)                      ``token_log_probs``
    KL_t    = Σ_v p_s(v) (log p_s(v) − log p_b(v))   ``divergence``: s with, b without intervention

Norm and head read the last token of the prompt and what follows it, the tokens before that only
pass the blocks. Rows are right-padded where that leaves them alone
(``circuit.model.forward.padding``), and batches are cut so that the logits of one hold at most
``HEAD_NUMBERS`` numbers: with a large vocabulary they, not the blocks, take the memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.forward.batches import BATCH_TOKENS, Rows, plan_batches
from circuit.model.forward.padding import pads_are_harmless
from circuit.model.forward.scopes import prompt_lengths
from circuit.model.forward.tail import log_softmax
from circuit.model.machine.runtime import streams
from circuit.model.prompts.lists import Ids, stacked

HEAD_NUMBERS = 2**25
Array = npt.NDArray[np.float32]
Intervention = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False)
class Text:
    """Token ids (T,) of a prompt and its continuation; the first ``start`` are the prompt."""

    ids: Ids
    start: int

    @property
    def n_after(self) -> int:
        """The number of tokens after the prompt."""
        return len(self.ids) - self.start


@dataclass(frozen=True, eq=False)
class Predictions:
    """For the n tokens after a prompt: log p_t (n,), and top-1 tokens, also for the next, (n + 1,).

    The top-1 token is −1 where a logit is not a number.
    """

    log_probs: Array
    top1: Ids


@dataclass(frozen=True, eq=False)
class Divergence:
    """For each token after the prompt: KL_t in nats, and whether the top-1 tokens agree."""

    kl: Array
    agree: npt.NDArray[np.bool_]


def token_log_probs(model: LoadedModel, texts: Sequence[Text]) -> list[Array]:
    """Return log p_t of every token after the prompt, for each text."""
    return [each.log_probs for each in predictions(model, texts)]


def predictions(model: LoadedModel, texts: Sequence[Text]) -> list[Predictions]:
    """Return log-probability and top-1 prediction for every token after the prompts."""

    def read(rows: Rows) -> tuple[mx.array, ...]:
        wide = log_softmax(_logits(model, texts, rows))
        after = mx.array(stacked([texts[row].ids[texts[row].start :] for row in rows]))
        chosen = mx.take_along_axis(wide[:, :-1], after[..., None], axis=-1)[..., 0]
        broken = mx.any(mx.isnan(wide), axis=-1)
        return chosen, mx.where(broken, -1, mx.argmax(wide, axis=-1).astype(mx.int32))

    found: dict[int, Predictions] = {}
    for rows, (log_probs, top1) in _computed(model, texts, read):
        for i, row in enumerate(rows.tolist()):
            n = texts[row].n_after
            found[row] = Predictions(log_probs[i, :n], top1[i, : n + 1])
    return [found[row] for row in range(len(texts))]


def divergence(
    model: LoadedModel, texts: Sequence[Text], intervention: Intervention
) -> list[Divergence]:
    """Compare the model within ``intervention()`` with the unmodified model, on every text."""

    def compare(rows: Rows) -> tuple[mx.array, ...]:
        base = log_softmax(_logits(model, texts, rows)[:, :-1])
        with intervention():
            moved = log_softmax(_logits(model, texts, rows)[:, :-1])
        kl = mx.sum(mx.exp(moved) * (moved - base), axis=-1)
        return kl, mx.argmax(moved, axis=-1) == mx.argmax(base, axis=-1)

    found: dict[int, Divergence] = {}
    for rows, (kl, same) in _computed(model, texts, compare):
        for i, row in enumerate(rows.tolist()):
            n = texts[row].n_after
            found[row] = Divergence(kl[i, :n], same[i, :n])
    return [found[row] for row in range(len(texts))]


def answer_log_probs(
    model: LoadedModel, prompts: Sequence[Ids], answers: Sequence[Sequence[Sequence[int]]]
) -> list[Array]:
    """Return log p(answer | prompt), summed over tokens: for each prompt an array (n_answers,).

    ``answers[i]`` lists the answers to prompt i as token ids. Answers with the same beginning share
    a pass, so that all answers of one token take one pass per prompt.
    """
    texts, places = _shared_beginnings(prompts, answers)

    def add_up(rows: Rows) -> tuple[mx.array, ...]:
        wide = log_softmax(_logits(model, texts, rows))
        return (mx.stack([_summed(wide[i], each) for i, (_, _, each) in listed(rows)]),)

    def listed(rows: Rows) -> list[tuple[int, tuple[int, int, list[int]]]]:
        return [(i, place) for i, row in enumerate(rows.tolist()) for place in places[row]]

    found = [np.full(len(each), np.nan, np.float32) for each in answers]
    for rows, (sums,) in _computed(model, texts, add_up):
        for (_, (p, k, _)), value in zip(listed(rows), sums, strict=True):
            found[p][k] = value
    return found


def _summed(log_probs: mx.array, answer: Sequence[int]) -> mx.array:
    """Return Σ log p of an answer's tokens from the log-probabilities (A, vocabulary)."""
    return mx.sum(log_probs[mx.arange(len(answer)), mx.array(list(answer))])


def _shared_beginnings(
    prompts: Sequence[Ids], answers: Sequence[Sequence[Sequence[int]]]
) -> tuple[list[Text], list[list[tuple[int, int, list[int]]]]]:
    """Return the texts to run, and for each the prompt, answer and tokens that are read from it."""
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


def _computed(
    model: LoadedModel, texts: Sequence[Text], compute: Callable[[Rows], tuple[mx.array, ...]]
) -> Iterator[tuple[Rows, list[np.ndarray]]]:
    """Yield the rows and results of each batch; on a CPU batches run in parallel."""
    batches = _batches(model, texts)
    with streams(model.d_model, model.n_streams) as available:
        for first in range(0, len(batches), len(available)):
            together = batches[first : first + len(available)]
            made = []
            for rows, stream in zip(together, available, strict=False):
                with mx.stream(stream):
                    made.append(compute(rows))
            mx.eval(made)
            for rows, arrays in zip(together, made, strict=True):
                yield rows, [np.array(each) for each in arrays]


def _batches(model: LoadedModel, texts: Sequence[Text]) -> list[Rows]:
    lengths = np.array([len(text.ids) for text in texts])
    padded = bool(lengths.min() < lengths.max()) and pads_are_harmless(model)
    # The number of tokens whose logits are in memory at once.
    most = HEAD_NUMBERS // (_vocabulary(model) * model.n_streams)
    batches = []
    for rows in plan_batches(
        lengths, batch_tokens=BATCH_TOKENS, padded=padded, parallel=model.n_streams
    ):
        size = max(1, most // (1 + max(texts[row].n_after for row in rows)))
        batches += [rows[first : first + size] for first in range(0, len(rows), size)]
    return batches


def _vocabulary(model: LoadedModel) -> int:
    text = model.config.get("text_config", model.config)
    return int(text.get("vocab_size", BATCH_TOKENS))


def _logits(model: LoadedModel, texts: Sequence[Text], rows: Rows) -> mx.array:
    """Return logits (B, A, vocabulary) at the last token of each prompt and the A − 1 after it.

    A text of fewer tokens repeats its last one.
    """
    starts = np.array([texts[row].start for row in rows])
    ends = np.array([len(texts[row].ids) for row in rows])
    at = starts[:, None] - 1 + np.arange(1 + (ends - starts).max())
    places = mx.array(np.minimum(at, ends[:, None] - 1))[..., None]

    def read(hidden: mx.array) -> mx.array:
        return mx.take_along_axis(hidden, places, axis=1)

    # Entered last, so that it reads after an intervention at the last block.
    last = Tap(model.blocks[-1], after=read, name="the last block")
    with prompt_lengths(model, starts.tolist()), tapped([last]):
        logits: mx.array = model.network(mx.array(stacked([texts[row].ids for row in rows])))
    return logits.astype(mx.float32)
