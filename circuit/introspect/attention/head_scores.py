"""Scores of attention heads on sequences of tokens, and sequences that repeat themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.geometry.head_patterns import head_scores, uniform
from circuit.methods.uncertainty.means import mean_estimates
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.lists import Ids

LENGTH, REPEATS = 24, 8


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """One score of one head: its mean over sequences, with an interval for two or more."""

    layer: int
    head: int
    score: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The pattern (T, T) of one head for one prompt: rows are queries."""

    layer: int
    head: int
    weights: list[list[float]]


def patterns(model: "LoadedModel", ids: "Ids", layers: Sequence[int]) -> dict[int, Array]:
    """Return the patterns (T, n_heads, T) of token ids (T,), for each layer."""
    from circuit.model.patching.patching import states

    found = states(model, ids, [Site("attn_pattern", layer) for layer in layers])
    return {site.layer: np.asarray(rows) for site, rows in found.items()}


def repeated_tokens(
    model: "LoadedModel", seed: int, n: int = REPEATS, length: int = LENGTH
) -> list["Ids"]:
    """Return sequences of distinct random tokens that occur twice.

    The tokenizer's own first token comes before them.
    """
    rng = np.random.default_rng(seed)
    special = {*getattr(model.tokenizer, "all_special_ids", [])}
    known = np.array([i for i in range(len(model.tokenizer.get_vocab())) if i not in special])
    start = encode(model, ["a"], RAW)[0].ids[:1]
    first = start if int(start[0]) in special else start[:0]
    found = []
    for _ in range(n):
        once = rng.choice(known, size=min(length, len(known)), replace=False)
        found.append(np.concatenate([first, once, once]).astype(np.int32))
    return found


def scores_of(
    sequences: Sequence["Ids"],
    found: Sequence[Mapping[int, Array]],
    layers: Sequence[int],
    names: Sequence[str],
    seed: int,
) -> tuple[list[HeadScore], dict[str, float]]:
    """Return scores of every head, and of even attention: means over sequences that have them."""
    scores: list[HeadScore] = []
    for layer in layers:
        each = [head_scores(p[layer], ids) for p, ids in zip(found, sequences, strict=True)]
        for name in names:
            values = np.stack([one[name] for one in each])
            scores += _head_scores(layer, name, values[np.isfinite(values).all(axis=1)], seed)
    even = [uniform(ids) for ids in sequences]
    known = {name: [e[name] for e in even if np.isfinite(e[name])] for name in names}
    return scores, {name: float(np.mean(v)) for name, v in known.items() if v}


def _head_scores(layer: int, name: str, values: Array, seed: int) -> list[HeadScore]:
    """Return the mean of values (n_sequences, n_heads) for each head; none without a sequence."""
    if not len(values):
        return []
    found = mean_estimates(values, range(len(values)), seed=seed)
    bounds: list[tuple[float, float] | None] = [None] * values.shape[1]
    if found is not None:  # a score is between 0 and 1
        low, high = (np.clip(each, 0.0, 1.0).tolist() for each in found[1:])
        bounds = list(zip(low, high, strict=True))
    return [
        HeadScore(layer=layer, head=head, score=name, value=float(value), interval=bounds[head])
        for head, value in enumerate(values.mean(axis=0))
    ]
