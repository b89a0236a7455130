"""Teacher forcing: log-probabilities of given tokens, and the divergence by variants of a model.

A text is a row of token ids of which the first ``start`` are the prompt. Position t (t ≥ start) is
predicted from what precedes it:

    log p_t = log p(x_t | x_<t)                      ``token_log_probs``
    KL_t    = Σ_v p_s(v) (log p_s(v) − log p_b(v))   ``divergences``: s a variant, b the model

Norm and head read the last token of the prompt and what follows it, the tokens before that only
pass the blocks. Rows are right-padded where that leaves them alone
(``circuit.model.forward.padding``), and batches are cut so that the logits of one hold at most
``HEAD_NUMBERS`` numbers: with a large vocabulary they, not the blocks, take the memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.forward.batches import BATCH_TOKENS, Rows, plan_batches
from circuit.model.forward.branches import Variant, branched, keeping_states, unchanged
from circuit.model.forward.padding import pads_are_harmless
from circuit.model.forward.scopes import prompt_lengths
from circuit.model.forward.tail import log_softmax
from circuit.model.machine.runtime import streams
from circuit.model.prompts.lists import Ids, stacked

HEAD_NUMBERS = 2**25
Array = npt.NDArray[np.float32]
Answers = Sequence[Sequence[Sequence[int]]]  # token ids of the answers to each prompt
S = TypeVar("S")
T = TypeVar("T")


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


@dataclass(frozen=True, eq=False)
class _Below:
    """What variants share on the texts ``rows``: states (B, T, d_model) by depth.

    ``base`` has the logits (B, A, vocabulary) of the unmodified model, where they are wanted.
    """

    rows: Rows
    states: Mapping[int, mx.array]
    base: mx.array | None = None


@dataclass(frozen=True, eq=False)
class _Unit:
    """Variants of one depth, by number, that run in one batch; each has all rows of ``below``."""

    below: _Below
    variants: Sequence[int]

    def places(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield both indices of the logits of a variant's row, the variant's number and the row."""
        for k, variant in enumerate(self.variants):
            for i, row in enumerate(self.below.rows.tolist()):
                yield k, i, variant, row


# Float32 logits (n, B, A, vocabulary) of the n variants of a unit to what is wanted of them.
Compute = Callable[[_Unit, mx.array], tuple[mx.array, ...]]


def token_log_probs(model: LoadedModel, texts: Sequence[Text]) -> list[Array]:
    """Return log p_t of every token after the prompt, for each text."""
    return [each.log_probs for each in predictions(model, texts)]


def predictions(model: LoadedModel, texts: Sequence[Text]) -> list[Predictions]:
    """Return log-probability and top-1 prediction for every token after the prompts."""
    (found,) = variant_predictions(model, texts, [unchanged(model)])
    return found


def variant_predictions(
    model: LoadedModel, texts: Sequence[Text], variants: Sequence[Variant]
) -> list[list[Predictions]]:
    """Return the predictions of each variant for each text."""

    def read(unit: _Unit, logits: mx.array) -> tuple[mx.array, ...]:
        wide = log_softmax(logits)
        rows = unit.below.rows
        after = mx.array(stacked([texts[row].ids[texts[row].start :] for row in rows]))
        chosen = _chosen(wide[:, :, :-1], after)
        broken = mx.any(mx.isnan(wide), axis=-1)
        return chosen, mx.where(broken, -1, mx.argmax(wide, axis=-1).astype(mx.int32))

    found: list[dict[int, Predictions]] = [{} for _ in variants]
    for unit, (log_probs, top1) in _computed(model, texts, variants, read):
        for k, i, variant, row in unit.places():
            n = texts[row].n_after
            found[variant][row] = Predictions(log_probs[k, i, :n], top1[k, i, : n + 1])
    return [_in_order(each) for each in found]


def divergences(
    model: LoadedModel, texts: Sequence[Text], variants: Sequence[Variant]
) -> list[list[Divergence]]:
    """Compare each variant with the unmodified model, on every text."""

    def compare(unit: _Unit, logits: mx.array) -> tuple[mx.array, ...]:
        assert unit.below.base is not None
        base, moved = (log_softmax(each[..., :-1, :]) for each in (unit.below.base, logits))
        kl = mx.sum(mx.exp(moved) * (moved - base), axis=-1)
        return kl, mx.argmax(moved, axis=-1) == mx.argmax(base, axis=-1)

    found: list[dict[int, Divergence]] = [{} for _ in variants]
    for unit, (kl, same) in _computed(model, texts, variants, compare, with_base=True):
        for k, i, variant, row in unit.places():
            n = texts[row].n_after
            found[variant][row] = Divergence(kl[k, i, :n], same[k, i, :n])
    return [_in_order(each) for each in found]


def answer_log_probs(
    model: LoadedModel, prompts: Sequence[Ids], answers: Answers, variants: Sequence[Variant]
) -> list[list[Array]]:
    """Return log p(answer | prompt), summed over tokens: for each variant and prompt (n_answers,).

    ``answers[i]`` lists the answers to prompt i as token ids. Answers with the same beginning share
    a pass, so that all answers of one token take one pass per prompt.
    """
    texts, places = _shared_beginnings(prompts, answers)

    def add_up(unit: _Unit, logits: mx.array) -> tuple[mx.array, ...]:
        wide = log_softmax(logits)
        sums = [_summed(wide[:, i], each) for i, (_, _, each) in listed(unit)]
        return (mx.stack(sums, axis=1),)

    def listed(unit: _Unit) -> list[tuple[int, tuple[int, int, list[int]]]]:
        rows = enumerate(unit.below.rows.tolist())
        return [(i, place) for i, row in rows for place in places[row]]

    found = [[np.full(len(each), np.nan, np.float32) for each in answers] for _ in variants]
    for unit, (sums,) in _computed(model, texts, variants, add_up):
        for variant, values in zip(unit.variants, sums, strict=True):
            for (_, (p, k, _)), value in zip(listed(unit), values, strict=True):
                found[variant][p][k] = value
    return found


def _in_order(found: dict[int, T]) -> list[T]:
    return [found[row] for row in range(len(found))]


def _chosen(log_probs: mx.array, tokens: mx.array) -> mx.array:
    """Return those of ``tokens`` (B, A) from (n, B, A, vocabulary): (n, B, A)."""
    places = mx.broadcast_to(tokens[None, ..., None], (*log_probs.shape[:-1], 1))
    return mx.take_along_axis(log_probs, places, axis=-1)[..., 0]


def _summed(log_probs: mx.array, answer: Sequence[int]) -> mx.array:
    """Return Σ log p of an answer's tokens, (n,), from log-probabilities (n, A, vocabulary)."""
    return mx.sum(log_probs[:, mx.arange(len(answer)), mx.array(list(answer))], axis=-1)


def _shared_beginnings(
    prompts: Sequence[Ids], answers: Answers
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
    model: LoadedModel,
    texts: Sequence[Text],
    variants: Sequence[Variant],
    compute: Compute,
    *,
    with_base: bool = False,
) -> Iterator[tuple[_Unit, list[np.ndarray]]]:
    """Yield units and what is computed of their logits; they have each text of each variant once.

    On a CPU batches run in parallel.
    """

    def share(rows: Rows) -> tuple[_Below, tuple[mx.array, ...]]:
        with keeping_states(model, (variant.depth for variant in variants)) as states:
            base = _logits(model, texts, _Below(rows, {}), [unchanged(model)])[0]
        wanted = (base,) if with_base else ()
        return _Below(rows, states, *wanted), (*states.values(), *wanted)

    def run(unit: _Unit) -> tuple[_Unit, tuple[mx.array, ...]]:
        own = [variants[number] for number in unit.variants]
        return unit, compute(unit, _logits(model, texts, unit.below, own))

    batches = _batches(model, texts, len(variants))
    for first in range(0, len(batches), model.n_streams):
        together = batches[first : first + model.n_streams]
        below = [_Below(rows, {}) for rows in together]
        if with_base or len(variants) > 1:  # one variant alone shares nothing
            below = [each for each, _ in _parallel(model, together, share)]
        units = [
            unit for each in below for unit in _units(model, texts, variants, each, len(below))
        ]
        for unit, arrays in _parallel(model, units, run):
            yield unit, [np.array(each) for each in arrays]


def _parallel(
    model: LoadedModel,
    items: Sequence[S],
    build: Callable[[S], tuple[T, tuple[mx.array, ...]]],
) -> Iterator[tuple[T, tuple[mx.array, ...]]]:
    """Yield what ``build`` makes of each item, with its arrays evaluated, several at a time."""
    with streams(model.d_model, model.n_streams) as available:
        for first in range(0, len(items), len(available)):
            made = []
            for item, stream in zip(items[first:], available, strict=False):
                with mx.stream(stream):
                    made.append(build(item))
            mx.eval([arrays for _, arrays in made])
            yield from made


def _batches(model: LoadedModel, texts: Sequence[Text], n_variants: int) -> list[Rows]:
    """Return the rows of each batch; few rows are spread over the streams unless variants are."""
    lengths = np.array([len(text.ids) for text in texts])
    padded = bool(lengths.min() < lengths.max()) and pads_are_harmless(model)
    most = _most_logits(model)
    batches = []
    for rows in plan_batches(
        lengths,
        batch_tokens=BATCH_TOKENS,
        padded=padded,
        parallel=model.n_streams if n_variants < model.n_streams else 1,
    ):
        size = max(1, most // (1 + max(texts[row].n_after for row in rows)))
        batches += [rows[first : first + size] for first in range(0, len(rows), size)]
    return batches


def _units(
    model: LoadedModel,
    texts: Sequence[Text],
    variants: Sequence[Variant],
    below: _Below,
    n_together: int,
) -> Iterator[_Unit]:
    """Yield the variants that run together on one of ``n_together`` batches.

    A unit is as large as the budget of tokens, and of logits, allows.
    """
    rows = below.rows
    tokens = len(rows) * max(len(texts[row].ids) for row in rows)
    logits = len(rows) * (1 + max(texts[row].n_after for row in rows))
    spread = -(-len(variants) * n_together // model.n_streams)
    size = max(1, min(BATCH_TOKENS // tokens, _most_logits(model) // logits, spread))
    for depth in sorted({variant.depth for variant in variants}):
        same = [number for number, each in enumerate(variants) if each.depth == depth]
        for first in range(0, len(same), size):
            yield _Unit(below, same[first : first + size])


def _most_logits(model: LoadedModel) -> int:
    """Return the number of tokens of a batch whose logits may be in memory."""
    text = model.config.get("text_config", model.config)
    vocabulary = int(text.get("vocab_size", BATCH_TOKENS))
    return HEAD_NUMBERS // (vocabulary * model.n_streams)


def _logits(
    model: LoadedModel, texts: Sequence[Text], below: _Below, variants: Sequence[Variant]
) -> mx.array:
    """Return logits (n, B, A, vocabulary) at the last token of each prompt and A − 1 after it.

    A text of fewer tokens repeats its last one. The n variants have one depth.
    """
    starts = np.array([texts[row].start for row in below.rows])
    ends = np.array([len(texts[row].ids) for row in below.rows])
    at = starts[:, None] - 1 + np.arange(1 + (ends - starts).max())
    places = np.minimum(at, ends[:, None] - 1)[..., None]
    n = len(variants)
    everywhere = mx.array(np.tile(places, (n, 1, 1)))

    def read(hidden: mx.array) -> mx.array:
        return mx.take_along_axis(hidden, everywhere, axis=1)

    # Entered last, so that it reads after a variant's taps at the last block.
    last = Tap(model.blocks[-1], after=read, name="the last block")
    ids = stacked([texts[row].ids for row in below.rows])
    state = below.states.get(variants[0].depth)
    with (
        branched(model, variants, state),
        prompt_lengths(model, np.tile(starts, n).tolist()),
        tapped([last]),
    ):
        logits: mx.array = model.network(mx.array(np.tile(ids, (n, 1))))
    return logits.astype(mx.float32).reshape(n, *places.shape[:2], -1)
