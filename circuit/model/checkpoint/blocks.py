"""Check that a network's blocks form one residual stream, as "the state after block k" assumes.

Each block must run exactly once in a forward pass, in the order of the list, and read and return
one array (n_prompts, T, d_model). Models that loop over their blocks (Nanbeige), reach into them
(IQuest Loop Coder), or carry several streams side by side (Gemma 3n, hyper-connections) run
elsewhere; here a layer's index would not name one state, so they are refused when loaded.
"""

import mlx.core as mx
import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.taps import Tap, tapped


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the blocks, first to last; raise ``ModelError`` when the network lists none."""
    blocks = list(getattr(network, "layers", None) or [])
    if not blocks:
        raise ModelError(
            "no-blocks",
            "the network has no list of blocks",
            hint="use a model whose blocks run once each, in order, on one residual stream",
        )
    return blocks


def residual_width(network: nn.Module) -> int:
    """Return d_model after checking that the blocks form one residual stream.

    The network runs on two tokens, lazily: shapes are known before anything is evaluated.
    """
    blocks = blocks_of(network)
    seen: list[tuple[int, tuple[int, ...]]] = []
    taps = [_shape_tap(block, layer, seen) for layer, block in enumerate(blocks)]
    try:
        with tapped(taps):
            network(mx.zeros((1, 2), dtype=mx.int32))
    except ModelError as silent:
        raise ModelError(
            silent.code,
            silent.message,
            hint="use a model whose blocks run once each, in order, on one residual stream",
            **silent.fields,
        ) from silent
    if [layer for layer, _ in seen] != [layer for layer in range(len(blocks)) for _ in range(2)]:
        raise ModelError(
            "blocks-out-of-order",
            "the blocks do not run once each, in order",
            hint="use a model whose blocks run once each, in order, on one residual stream",
        )
    shapes = {shape for _, shape in seen}
    width = seen[0][1][-1]
    if shapes != {(1, 2, width)}:
        found = ", ".join(map(str, sorted(shapes)))
        raise ModelError(
            "several-residual-streams",
            f"the blocks carry more than one residual stream (shapes {found})",
            hint="use a model whose blocks run once each, in order, on one residual stream",
        )
    return width


def _shape_tap(block: nn.Module, layer: int, seen: list[tuple[int, tuple[int, ...]]]) -> Tap:
    def look(hidden: mx.array) -> mx.array:
        seen.append((layer, tuple(hidden.shape)))
        return hidden

    return Tap(block, before=look, after=look, name=f"block {layer}")
