"""Where a site is read in a loaded model: a module, a side of it, and what is done to the rows.

Names and places come from the family's row (``families``). A place whose module does not exist is an
error that says why, in a sentence about the model and not about the table. What a module gives is
gathered first; only the gathered rows are then scaled, sliced out of a fused map, or sent through
``o_proj`` head by head:

    head_out[h] = o_proj(z with every head but h at zero) - o_proj(0),

which needs the map only as the model runs it, so it holds for quantised weights and adapters too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.families import Family, find_family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import past_taps
from circuit.model.sites.attention import Heads, measure_heads

STREAM = ("embed", "resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
ATTENTION_MAPS = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP_MAPS = ("gate_proj", "up_proj", "down_proj")
ATTENDED = ("q_rope", "k_rope", "attn_pattern")
HEADED = ("q_proj", "k_proj", "v_proj", "z", "head_out", "q_rope", "k_rope")
SITES = (*STREAM, *ATTENTION_MAPS, *MLP_MAPS, "z", "head_out", "mlp_act", *ATTENDED)
NEED_NO_ROW = ("embed", "resid_pre", "resid_post")
# What the two modules return, to measure a row by; no site that can be asked for.
RETURNED = ("attn", "mlp")

Finish = Callable[[mx.array], mx.array]
HINT = "circuit sites -m MODEL lists what a model offers"


@dataclass(frozen=True, eq=False)
class Place:
    """A module, its name below the block ("" for the block), and what ``finish`` does to its rows.

    ``input`` and ``output`` are its own; ``attention`` is what ``attention.attending`` reports.
    """

    module: nn.Module
    part: str
    side: Literal["input", "output", "attention"]
    finish: Finish | None = None


def place_of(model: LoadedModel, name: str, layer: int) -> Place:
    """Return where site ``name`` of block ``layer`` is read.

    Raises ``ModelError`` that says why when the model has no such place.
    """
    block = model.blocks[layer]
    if name in NEED_NO_ROW:
        return Place(block, "", "output" if name == "resid_post" else "input")
    row = row_of(model, name)
    if name in row.lacks:
        raise ModelError(f"family `{model.family}` has no `{name}`: {row.lacks[name]}", hint=HINT)
    if name in (*STREAM, *RETURNED):
        return _stream_place(model, row, name, layer)
    if name in ATTENDED:
        heads_at(model, row, layer)
        return Place(_find(model, row, layer, row.attn, name), row.attn, "attention")
    return _map_place(model, row, name, layer)


def row_of(model: LoadedModel, name: str) -> Family:
    """Return the family's row, which site ``name`` needs."""
    if (row := find_family(model.family)) is None:
        message = f"site `{name}` is not known for family `{model.family}`"
        hint = f"use one of: {', '.join(NEED_NO_ROW)}; or add a row to circuit/model/checkpoint/families.py"
        raise ModelError(message, hint=hint)
    return row


def _stream_place(model: LoadedModel, row: Family, name: str, layer: int) -> Place:
    if name == "resid_mid":
        if row.mid_input is None or getattr(model.blocks[layer], "use_parallel_residual", False):
            message = f"family `{model.family}` runs attention and MLP side by side: no `resid_mid`"
            raise ModelError(message, hint="use resid_pre or resid_post")
        return Place(_find(model, row, layer, row.mid_input, name), row.mid_input, "input")
    parts = {"attn_out": row.attn_out or row.attn, "mlp_out": row.mlp_out or row.mlp}
    part = parts.get(name) or getattr(row, name)
    module = _find(model, row, layer, part, name)
    if row.scale is None or name in RETURNED:
        return Place(module, part, "output")
    factor = float(getattr(model.blocks[layer], row.scale))
    return Place(module, part, "output", lambda rows: rows * factor)


_READ_BY = {"z": "o_proj", "head_out": "o_proj", "mlp_act": "down_proj"}


def _map_place(model: LoadedModel, row: Family, name: str, layer: int) -> Place:
    owner = row.mlp if name in (*MLP_MAPS, "mlp_act") else row.attn
    part = f"{owner}.{getattr(row, _READ_BY.get(name, name))}"
    module = _find(model, row, layer, part, name)
    finish: Finish | None = None
    if name == "head_out":
        finish = partial(_by_head, module, heads_at(model, row, layer).n_heads)
    elif name in ("q_proj", "k_proj", "v_proj") and row.qkv_is_fused:
        cut = _grouped_columns if row.by_head else _columns
        finish = partial(cut, heads_at(model, row, layer), "qkv".index(name[0]))
    elif name in ("gate_proj", "up_proj") and row.gate_is_fused:
        finish = partial(_half, ("gate_proj", "up_proj").index(name))
    return Place(module, part, "input" if name in _READ_BY else "output", finish)


def _columns(heads: Heads, which: int, rows: mx.array) -> mx.array:
    """Return q, k or v of a fused map that gives one after the other."""
    head_dim = rows.shape[-1] // (heads.n_heads + 2 * heads.n_kv_heads)
    ends = [heads.n_heads * head_dim, (heads.n_heads + heads.n_kv_heads) * head_dim]
    return mx.split(rows, ends, axis=-1)[which]


def _grouped_columns(heads: Heads, which: int, rows: mx.array) -> mx.array:
    """Return q, k or v of a fused map that gives, per key-value head, its queries, key and value."""
    group = heads.n_heads // heads.n_kv_heads
    grouped = mx.unflatten(rows, -1, (heads.n_kv_heads, group + 2, -1))
    return mx.split(grouped, [group, group + 1], axis=-2)[which].flatten(-3)


def _half(which: int, rows: mx.array) -> mx.array:
    return mx.split(rows, 2, axis=-1)[which]


def _by_head(o_proj: nn.Module, n_heads: int, rows: mx.array) -> mx.array:
    """Return (B, K, n_heads * d_model): what each head alone adds, without the map's bias."""
    run = past_taps(o_proj)
    only = mx.eye(n_heads, dtype=rows.dtype)[:, :, None]
    alone = (mx.unflatten(rows, -1, (1, n_heads, -1)) * only).flatten(-2)
    nothing = mx.zeros((1, 1, 1, rows.shape[-1]), dtype=rows.dtype)
    by_head: mx.array = run(alone) - run(nothing)
    return by_head.flatten(-2)


def heads_at(model: LoadedModel, row: Family, layer: int) -> Heads:
    """Return the heads of one block's attention, which is measured once a model."""
    known = _heads.get(model)
    if known is None or known[0] is not row:
        found = ((k, getattr(block, row.attn, None)) for k, block in enumerate(model.blocks))
        modules = {k: part for k, part in found if isinstance(part, nn.Module)}
        known = _heads[model] = (row, measure_heads(model.network, modules, row.rope))
    if layer not in known[1]:
        message = f"block {layer} of this `{model.family}` model runs no attention"
        raise ModelError(f"{message} that can be read", hint=HINT)
    return known[1][layer]


_heads: "WeakKeyDictionary[LoadedModel, tuple[Family, dict[int, Heads]]]" = WeakKeyDictionary()


def _find(model: LoadedModel, row: Family, layer: int, part: str, name: str) -> nn.Module:
    """Return the part of a block in which site ``name`` is read, or say why there is none."""
    module = model.blocks[layer]
    for step in part.split("."):
        below = getattr(module, step, None)
        if not isinstance(below, nn.Module):
            raise _missing(model, row, layer, part, name)
        module = below
    return module


def _missing(model: LoadedModel, row: Family, layer: int, part: str, name: str) -> ModelError:
    block, where = model.blocks[layer], f"block {layer} of this `{model.family}` model"
    if part.startswith(f"{row.mlp}.") and _has_experts(getattr(block, row.mlp)):
        message = f"{where} has no `{name}`: each token takes its own experts' maps"
        return ModelError(message, hint=HINT)
    if part.startswith(f"{row.attn}."):
        heads_at(model, row, layer)
    message = f"{where} has no part `{part}`"
    return ModelError(
        message, hint="its row in circuit/model/checkpoint/families.py does not fit it"
    )


def _has_experts(mlp: nn.Module) -> bool:
    kinds = {type(part).__module__ for part in mlp.modules()}
    return "mlx_lm.models.switch_layers" in kinds
