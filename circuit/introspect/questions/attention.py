"""Attention patterns, and what each head does with them.

Of every head and prompt the scores of ``circuit.methods.geometry.head_patterns``: how much it looks at the previous token, the first, itself, an earlier
copy of the token, and at what came after that copy. The scores of several prompts have a mean and an interval over prompts. Text
repeats itself by chance only, so induction and duplicate heads are looked for on sequences of ``LENGTH`` random tokens said twice:
there, nothing but the repetition can be known.

A pattern says where a head looks, not what it moves or whether anything reads it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError, UsageError
from circuit.introspect.inputs.choices import token_text
from circuit.methods.arrays import Array
from circuit.methods.geometry.head_patterns import SCORES, head_scores, uniform
from circuit.methods.uncertainty.means import mean_estimates
from circuit.stages.rows.prompting import encode
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sites import Site

LENGTH, REPEATS = 24, 8
ON_REPEATS = ("duplicate", "induction")


@dataclass(frozen=True)
class HeadScore:
    """One score of one head: its mean over sequences, and the interval of that where there are two or more."""

    layer: int
    head: int
    score: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Pattern:
    """The pattern (T, T) of one head for one prompt: rows are queries."""

    layer: int
    head: int
    weights: list[list[float]]


@dataclass(frozen=True)
class AttentionResult:
    """Scores of all heads; ``uniform`` is what a head that looks everywhere alike would have."""

    prompts: list[str]
    tokens: list[list[str]]
    n_repeated: int
    scores: list[HeadScore]
    uniform: dict[str, float]
    patterns: list[list[Pattern]]  # of each prompt, the chosen heads

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def attention(
    model: Any,
    prompts: Sequence[str],
    *,
    layers: Sequence[int],
    heads: Sequence[tuple[int, int]] = (),
    form: PromptFormat = RAW,
    seed: int = 0,
) -> AttentionResult:
    """Score every head of ``layers`` on the prompts and on repeated random tokens; keep the patterns of ``heads``.

    Raises ``ModelError`` for a model whose patterns cannot be read and ``UsageError`` for a head that there is not.
    """
    encoded = [prompt.ids for prompt in encode(model, prompts, form)]
    if all(len(ids) < 2 for ids in encoded):
        raise DataError("a prompt of one token has no pattern", hint="give a longer one")
    check_heads(model, heads)
    wanted = sorted({*layers, *(layer for layer, _ in heads)})
    own = [patterns(model, ids, wanted) for ids in encoded]
    repeated = repeated_tokens(model, seed)
    scores, even = _scores(encoded, own, layers, [s for s in SCORES if s not in ON_REPEATS], seed)
    said_twice = [patterns(model, ids, layers) for ids in repeated]
    more = _scores(repeated, said_twice, layers, ON_REPEATS, seed)
    return AttentionResult(
        list(prompts),
        [[token_text(model, token) for token in ids] for ids in encoded],
        len(repeated),
        scores + more[0],
        {**even, **more[1]},
        [[Pattern(k, h, found[k][:, h].tolist()) for k, h in heads] for found in own],
    )


def patterns(model: Any, ids: Any, layers: Sequence[int]) -> dict[int, Array]:
    """Return the patterns (T, n_heads, T) of token ids (T,), for each layer."""
    from circuit.model.patching.patching import states

    found = states(model, ids, [Site("attn_pattern", layer) for layer in layers])
    return {site.layer: np.asarray(rows) for site, rows in found.items()}


def repeated_tokens(model: Any, seed: int, n: int = REPEATS, length: int = LENGTH) -> list[Array]:
    """Return sequences of random tokens said twice, after the tokenizer's own first token; none of them occurs elsewhere in it."""
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


def check_heads(model: Any, heads: Sequence[tuple[int, int]]) -> None:
    """Raise ``UsageError`` for a layer or a head that there is not."""
    from circuit.model.interventions.ablation import Component, check_components

    check_components(model, [Component("head", layer, head) for layer, head in heads])


def parse_heads(text: str | None) -> list[tuple[int, int]]:
    """Read ``3.0,3.2``: layer and head."""
    found = []
    for part in [] if text is None else text.split(","):
        layer, dot, head = part.strip().partition(".")
        if not (dot and layer.isdecimal() and head.isdecimal()):
            raise UsageError(f"`{part}` is not a head", hint="write layer.head, as 3.0")
        found.append((int(layer), int(head)))
    return found


def _scores(
    sequences: Sequence[Any],
    found: Sequence[dict[int, Array]],
    layers: Sequence[int],
    names: Sequence[str],
    seed: int,
) -> tuple[list[HeadScore], dict[str, float]]:
    """Return the scores of every head, and those of even attention, each a mean over sequences in which it is defined."""
    scores = []
    for layer in layers:
        each = [head_scores(p[layer], ids) for p, ids in zip(found, sequences, strict=True)]
        for name in names:
            values = np.stack([one[name] for one in each])
            values = values[np.isfinite(values).all(axis=1)]
            if not len(values):
                continue
            estimates = mean_estimates(values, range(len(values)), seed=seed)
            for head, value in enumerate(values.mean(axis=0)):  # a score is between 0 and 1
                bounds = None
                if estimates is not None:
                    low, high = np.clip([estimates[1][head], estimates[2][head]], 0.0, 1.0)
                    bounds = (float(low), float(high))
                scores.append(HeadScore(layer, head, name, float(value), bounds))
    even = [uniform(ids) for ids in sequences]
    known = {name: [e[name] for e in even if np.isfinite(e[name])] for name in names}
    return scores, {name: float(np.mean(v)) for name, v in known.items() if v}


def parse_where(layers: str, n_layers: int) -> list[int]:
    """Return the layers that ``layers`` names."""
    return parse_layers(layers, range(n_layers), n_layers)
