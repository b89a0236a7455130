"""Choices that several questions share: layers, tokens, and the fraction of an effect to keep."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from circuit.errors import UsageError
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

STEP = 4
NUMBER = re.compile(r"(-?[0-9]+)\.([0-9]+)")  # of a head or a neuron in a layer


class LayerStrategy(StrEnum):
    """How layers are chosen: all, every Nth and the last, the first and the last, or as listed."""

    ALL = "all"
    EVENLY_SPACED = "evenly_spaced"
    FIRST_LAST = "first_last"
    CUSTOM = "custom"


def strategy_of(
    name: str | None, *, all_layers: bool, layers: str | None, step: int | None = None
) -> LayerStrategy:
    """Return the strategy that the options for layers name: at most one of them may be given."""
    named = {
        name,
        LayerStrategy.ALL.value if all_layers else None,
        None if layers is None else LayerStrategy.CUSTOM.value,
        None if step is None else LayerStrategy.EVENLY_SPACED.value,
    } - {None}
    if len(named) > 1:
        hint = "use one of --all-layers, --layers, --layer-step and --layer-strategy"
        raise UsageError("layers-chosen-twice", "layers are chosen twice", hint=hint)
    chosen = next(iter(named), None) or LayerStrategy.EVENLY_SPACED
    if chosen not in list(LayerStrategy):
        message = f"unknown layer strategy `{chosen}`"
        hint = f"use one of: {', '.join(LayerStrategy)}"
        raise UsageError("unknown-layer-strategy", message, hint=hint, strategy=chosen)
    if chosen == LayerStrategy.CUSTOM:
        check_custom(layers)
    return LayerStrategy(chosen)


def check_custom(layers: Sequence[int] | str | None) -> None:
    """Raise ``UsageError`` where the strategy ``custom`` has no layers."""
    if not layers:
        message = "the layer strategy `custom` needs layers"
        raise UsageError("no-custom-layers", message, hint="name them with --layers 0,4,8")


def choose_layers(
    n_layers: int,
    strategy: LayerStrategy,
    *,
    step: int = STEP,
    custom: Sequence[int] | str | None = None,
) -> list[int]:
    """Return block indices, ascending; they include the last block, except with ``CUSTOM``."""
    if strategy is LayerStrategy.CUSTOM:
        check_custom(custom)
        assert custom is not None
        named = custom if isinstance(custom, str) else ",".join(map(str, custom))
        return parse_layers(named, range(n_layers), n_layers)
    if step < 1:
        message = f"the layer step must be at least 1, got {step}"
        raise UsageError("out-of-range", message, hint="use --layer-step 4", value=step)
    every = {LayerStrategy.ALL: 1, LayerStrategy.EVENLY_SPACED: step}.get(strategy, n_layers)
    return sorted({*range(0, n_layers, every), n_layers - 1})


def check_tracked(texts: Sequence[str]) -> None:
    """Raise ``UsageError`` for an empty text among those to track; this needs no tokenizer."""
    if not all(texts):
        hint = "name a text with --track; a space before a word counts"
        raise UsageError("empty-tracked-text", "a tracked text is empty", hint=hint)


def check_kept_fraction(keep: float) -> None:
    """Raise ``UsageError`` for a fraction of an effect to keep that is not in (0, 1]."""
    if not 0 < keep <= 1:
        message = f"`--keep` must be above 0 and at most 1, got {keep}"
        raise UsageError("out-of-range", message, hint="use --keep 0.9", value=keep)


def parse_numbers(kind: str, text: str | None) -> list[tuple[int, int]]:
    """Read ``3.0,-1.2``: layers, which may count from the end, and numbers of heads or neurons."""
    found = []
    for part in [] if text is None else text.split(","):
        numbers = NUMBER.fullmatch(part.strip())
        if numbers is None:
            message = f"`{text}` does not name {kind}s as layer.number"
            hint = f"write layer.{kind}, as 3.0, with one comma between two"
            raise UsageError(f"not-a-{kind}", message, hint=hint, part=part.strip())
        found.append((int(numbers[1]), int(numbers[2])))
    return found


def from_first(layer: int, n_layers: int) -> int:
    """Return a layer that may count from the end as one that counts from the first."""
    return layer + n_layers if -n_layers <= layer < 0 else layer


def check_heads(model: "LoadedModel", heads: Sequence[tuple[int, int]]) -> None:
    """Raise ``UsageError`` for a layer or a head that is out of range."""
    from circuit.model.interventions.ablation import Component, check_components

    check_components(model, [Component("head", layer, head) for layer, head in heads])


def token_ids(model: "LoadedModel", text: str) -> list[int]:
    """Return the tokens of ``text``; raises ``UsageError`` where it has none."""
    ids = [int(i) for i in model.tokenizer.encode(text, add_special_tokens=False)]
    if not ids:
        hint = "name another text; a space before a word counts"
        raise UsageError("no-token", f"`{text}` has no token", hint=hint, text=text)
    return ids


def single_token(model: "LoadedModel", text: str) -> int:
    """Return the token of ``text``; raises ``UsageError`` where it is several tokens."""
    ids = token_ids(model, text)
    if len(ids) > 1:
        pieces = ", ".join(repr(token_text(model, i)) for i in ids)
        message = f"`{text}` is {len(ids)} tokens: {pieces}"
        hint = "name one of these tokens; a space before a word counts"
        raise UsageError("several-tokens", message, hint=hint, text=text, n_tokens=len(ids))
    return ids[0]


def token_text(model: "LoadedModel", token: int) -> str:
    """Return the text of one token by itself."""
    return str(model.tokenizer.decode([int(token)]))
