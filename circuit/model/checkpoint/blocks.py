"""Are a network's blocks one residual stream? What "the state after block k" presupposes.

Each block must run exactly once in a forward pass, in the order of the list, and read and return
one array (n_prompts, T, d_model). Models that loop over their blocks (Nanbeige), reach into them
(IQuest Loop Coder), or carry several streams side by side (Gemma 3n, hyper-connections) run
elsewhere; here a layer's number would not name one place, so they are refused when loaded.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.taps import Tap, tapped

_HINT = "circuit reads models whose blocks run once each, in order, on one residual stream"


def blocks_of(network: Any) -> list[nn.Module]:
    """Return the blocks, first to last; raise ``ModelError`` when the network lists none."""
    blocks = list(getattr(network, "layers", None) or [])
    if not blocks:
        raise ModelError("the network has no list of blocks", hint=_HINT)
    return blocks


def residual_width(network: Any) -> int:
    """Return d_model after checking that the blocks form one residual stream.

    The network runs on two tokens, lazily: shapes are known before anything is evaluated.
    """
    blocks = blocks_of(network)
    seen: list[tuple[int, tuple[int, ...]]] = []
    taps = [_witness(block, layer, seen) for layer, block in enumerate(blocks)]
    try:
        with tapped(taps):
            network(mx.zeros((1, 2), dtype=mx.int32))
    except ModelError as silent:
        raise ModelError(silent.message, hint=_HINT) from silent
    if [layer for layer, _ in seen] != [layer for layer in range(len(blocks)) for _ in range(2)]:
        raise ModelError("the blocks do not run once each, in order", hint=_HINT)
    shapes = {shape for _, shape in seen}
    width = seen[0][1][-1]
    if shapes != {(1, 2, width)}:
        found = ", ".join(map(str, sorted(shapes)))
        message = f"the blocks pass on more than one residual stream (shapes {found})"
        raise ModelError(message, hint=_HINT)
    return width


def _witness(block: nn.Module, layer: int, seen: list[tuple[int, tuple[int, ...]]]) -> Tap:
    def look(hidden: mx.array) -> mx.array:
        seen.append((layer, tuple(hidden.shape)))
        return hidden

    return Tap(block, before=look, after=look, name=f"block {layer}")
