"""What introspection commands are told in the same words: which layers, which tokens, which prompts."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from circuit.errors import UsageError
from circuit.values.layers import parse_layers

STEP = 4


class LayerStrategy(StrEnum):
    """How layers are chosen: all, every Nth and the last, the first and the last, or those that are listed."""

    ALL = "all"
    EVENLY_SPACED = "evenly_spaced"
    FIRST_LAST = "first_last"
    CUSTOM = "custom"


def strategy_of(
    name: str | None, *, all_layers: bool, layers: str | None, step: int | None = None
) -> LayerStrategy:
    """Return the strategy that options name; ``--all-layers``, ``--layers`` and ``--layer-step`` are strategies, too."""
    spaced = None if step is None else LayerStrategy.EVENLY_SPACED.value
    asked = {name, "all" if all_layers else None, "custom" if layers is not None else None, spaced}
    asked -= {None}
    if len(asked) > 1:
        message = "layers are chosen twice"
        hint = "use one of --all-layers, --layers, --layer-step and --layer-strategy"
        raise UsageError(message, hint=hint)
    chosen = next(iter(asked), LayerStrategy.EVENLY_SPACED)
    if chosen not in list(LayerStrategy):
        message = f"there is no layer strategy `{chosen}`"
        raise UsageError(message, hint=f"use one of: {', '.join(LayerStrategy)}")
    if chosen == LayerStrategy.CUSTOM:
        check_custom(layers)
    return LayerStrategy(str(chosen))


def check_custom(layers: Sequence[int] | str | None) -> None:
    """Raise ``UsageError`` where the strategy ``custom`` is told no layers."""
    if not layers:
        message = "the layer strategy `custom` needs layers"
        raise UsageError(message, hint="name them with --layers 0,4,8")


def choose_layers(
    n_layers: int,
    strategy: LayerStrategy,
    *,
    step: int = STEP,
    custom: Sequence[int] | str | None = None,
) -> list[int]:
    """Return block indices, ascending; the last block is always among them, but for ``CUSTOM``."""
    if strategy is LayerStrategy.CUSTOM:
        check_custom(custom)
        assert custom is not None
        named = custom if isinstance(custom, str) else ",".join(map(str, custom))
        return sorted(set(parse_layers(named, range(n_layers), n_layers)))
    if step < 1:
        raise UsageError(f"a layer step is 1 or more, not {step}", hint="use --layer-step 4")
    every = {LayerStrategy.ALL: 1, LayerStrategy.EVENLY_SPACED: step}.get(strategy, n_layers)
    return sorted({*range(0, n_layers, every), n_layers - 1})


def check_tracked(texts: Sequence[str]) -> None:
    """Raise ``UsageError`` for a text to follow that is empty, which needs no tokenizer to be seen."""
    if not all(texts):
        raise UsageError("a text to follow is empty", hint="name one with -t; a blank counts")


def check_share(keep: float) -> None:
    """Raise ``UsageError`` for a share of an effect to keep that there is not."""
    if not 0 < keep <= 1:
        raise UsageError(f"--keep {keep} is not a share", hint="give a number above 0, at most 1")


def pieces_of(model: Any, text: str) -> list[int]:
    """Return the tokens that ``text`` is; raise ``UsageError`` when there is none."""
    ids = [int(i) for i in model.tokenizer.encode(text, add_special_tokens=False)]
    if not ids:
        raise UsageError(f"`{text}` has no token", hint="name another text; a blank counts")
    return ids


def one_token(model: Any, text: str) -> int:
    """Return the token that ``text`` is; raise ``UsageError`` that names its pieces when it is several."""
    ids = pieces_of(model, text)
    if len(ids) > 1:
        pieces = ", ".join(repr(token_text(model, i)) for i in ids)
        message = f"`{text}` is not one token but {len(ids)}: {pieces}"
        raise UsageError(message, hint="name one of its pieces; a blank before a word counts")
    return ids[0]


def token_text(model: Any, token: int) -> str:
    """Return the text of one token by itself."""
    return str(model.tokenizer.decode([int(token)]))
