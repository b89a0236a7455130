"""How many heads each block's attention has, measured once per model."""

from weakref import WeakKeyDictionary

import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.families import Family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.attention import Heads, measure_heads

_measured: "WeakKeyDictionary[LoadedModel, tuple[Family, dict[int, Heads]]]" = WeakKeyDictionary()


def heads_at(model: LoadedModel, row: Family, layer: int) -> Heads:
    """Return the numbers of heads of one block; raise ``ModelError`` if it runs no attention."""
    known = _measured.get(model)
    if known is None or known[0] is not row:
        found = ((k, getattr(block, row.attn, None)) for k, block in enumerate(model.blocks))
        modules = {k: part for k, part in found if isinstance(part, nn.Module)}
        known = _measured[model] = (row, measure_heads(model.network, modules, row.rope))
    if layer not in known[1]:
        raise ModelError(
            "no-attention",
            f"block {layer} of this `{model.family}` model runs no attention that can be read",
            hint="`circuit sites -m MODEL` lists the sites of a model",
            layer=layer,
            family=model.family,
        )
    return known[1][layer]
