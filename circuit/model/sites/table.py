"""The table of sites: one entry per site, which says what it holds and how it is read.

``part`` names the module that is tapped: ``""`` is the block itself; ``attn`` is a field of the
family's row (``circuit.model.checkpoint.families``); ``attn.o_proj`` is a map below it. A site with
a part needs a row. ``side`` is what is read of the module: its input, its output, or the arguments
of its attention. ``finish`` is done to the gathered rows: scaling, a slice of a fused map, or
``o_proj`` head by head,

    head_out[h] = o_proj(z with every head but h at zero) - o_proj(0),

which needs the map only as the model runs it, so it holds for quantised weights and adapters.

To add a site, add one entry. Identities that check it belong into ``family_check``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import mlx.core as mx
import mlx.nn as nn

from circuit.model.checkpoint.families import Family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import past_taps
from circuit.model.sites.attention import (
    AttentionCall,
    Gather,
    Heads,
    read_keys,
    read_pattern,
    read_queries,
)
from circuit.model.sites.heads import heads_at

Side = Literal["input", "output", "attention"]
Finish = Callable[[mx.array], mx.array]
# From model, the family's row, layer and tapped module: what is done to the rows, or None.
Finisher = Callable[[LoadedModel, Family, int, nn.Module], Finish | None]


@dataclass(frozen=True)
class SiteEntry:
    """What a site holds for a token, and how it is read; see the module.

    ``heads``: rows are flat, with an equal part for each of so many heads. ``per_key``: a row has a
    number per head for every key, so its length grows with the sequence. ``editable``: a change
    there changes all that the model computes after it. ``lens`` is TransformerLens's name below its
    block.
    """

    name: str
    holds: str
    part: str = ""
    side: Side = "output"
    finish: Finisher | None = None
    read: Callable[[AttentionCall, Gather], mx.array] | None = None
    heads: Literal["n_heads", "n_kv_heads"] | None = None
    per_key: bool = False
    editable: bool = False
    lens: str | None = None

    @property
    def needs_row(self) -> bool:
        """Say whether the family's row is needed to find it."""
        return self.part != ""

    @property
    def is_inside(self) -> bool:
        """Say whether it is inside attention or the MLP, of which a split model has a part only."""
        return "." in self.part or self.side == "attention"


def _scaled(model: LoadedModel, row: Family, layer: int, _: nn.Module) -> Finish | None:
    """Multiply by the block's own factor for what it adds to the residual stream."""
    if row.scale is None:
        return None
    factor = float(getattr(model.blocks[layer], row.scale))
    return lambda rows: rows * factor


def _cut_qkv(
    which: int, model: LoadedModel, row: Family, layer: int, _: nn.Module
) -> Finish | None:
    """Cut queries (0), keys (1) or values (2) out of a fused map."""
    if row.qkv is None:
        return None
    return partial(_grouped if row.by_head else _columns, heads_at(model, row, layer), which)


def _columns(heads: Heads, which: int, rows: mx.array) -> mx.array:
    """Return q, k or v of a fused map that gives one after the other."""
    head_dim = rows.shape[-1] // (heads.n_heads + 2 * heads.n_kv_heads)
    ends = [heads.n_heads * head_dim, (heads.n_heads + heads.n_kv_heads) * head_dim]
    return mx.split(rows, ends, axis=-1)[which]


def _grouped(heads: Heads, which: int, rows: mx.array) -> mx.array:
    """Return q, k or v of a fused map with the queries, key and value of each key-value head."""
    group = heads.n_heads // heads.n_kv_heads
    grouped = mx.unflatten(rows, -1, (heads.n_kv_heads, group + 2, -1))
    return mx.split(grouped, [group, group + 1], axis=-2)[which].flatten(-3)


def _cut_gate(which: int, _: LoadedModel, row: Family, *__: object) -> Finish | None:
    """Cut gate (0) or up (1) out of a fused map."""
    return (lambda rows: mx.split(rows, 2, axis=-1)[which]) if row.gate_up is not None else None


def _by_head(model: LoadedModel, row: Family, layer: int, o_proj: nn.Module) -> Finish:
    """Return what each head alone adds, without the map's bias: (B, K, n_heads * d_model)."""
    n_heads, run = heads_at(model, row, layer).n_heads, past_taps(o_proj)

    def finish(rows: mx.array) -> mx.array:
        only = mx.eye(n_heads, dtype=rows.dtype)[:, :, None]
        alone = (mx.unflatten(rows, -1, (1, n_heads, -1)) * only).flatten(-2)
        nothing = mx.zeros((1, 1, 1, rows.shape[-1]), dtype=rows.dtype)
        by_head: mx.array = run(alone) - run(nothing)
        return by_head.flatten(-2)

    return finish


_ENTRIES = (
    SiteEntry("embed", "what block 0 reads", side="input", editable=True, lens="hook_embed"),
    SiteEntry(
        "resid_pre", "what a block reads", side="input", editable=True, lens="hook_resid_pre"
    ),
    SiteEntry(
        "attn_out",
        "what attention adds to the residual stream",
        "attn_out",
        finish=_scaled,
        editable=True,
        lens="hook_attn_out",
    ),
    SiteEntry(
        "resid_mid",
        "the residual stream between attention and MLP",
        "mid_input",
        "input",
        lens="hook_resid_mid",
    ),
    SiteEntry(
        "mlp_out",
        "what the MLP adds to the residual stream",
        "mlp_out",
        finish=_scaled,
        editable=True,
        lens="hook_mlp_out",
    ),
    SiteEntry("resid_post", "what a block returns", editable=True, lens="hook_resid_post"),
    SiteEntry(
        "q_proj",
        "queries, before any norm and rotation",
        "attn.q_proj",
        finish=partial(_cut_qkv, 0),
        heads="n_heads",
        lens="attn.hook_q",
    ),
    SiteEntry(
        "k_proj",
        "keys, before any norm and rotation",
        "attn.k_proj",
        finish=partial(_cut_qkv, 1),
        heads="n_kv_heads",
        lens="attn.hook_k",
    ),
    SiteEntry(
        "v_proj",
        "values",
        "attn.v_proj",
        finish=partial(_cut_qkv, 2),
        heads="n_kv_heads",
        lens="attn.hook_v",
    ),
    SiteEntry("o_proj", "what the heads add together, before any norm", "attn.o_proj"),
    SiteEntry(
        "gate_proj",
        "what the activation function of a gated MLP reads",
        "mlp.gate_proj",
        finish=partial(_cut_gate, 0),
        lens="mlp.hook_pre",
    ),
    SiteEntry(
        "up_proj",
        "what the gate multiplies, or, without a gate, what the activation function reads",
        "mlp.up_proj",
        finish=partial(_cut_gate, 1),
        lens="mlp.hook_pre_linear",
    ),
    SiteEntry("down_proj", "what the MLP returns, before any norm", "mlp.down_proj"),
    SiteEntry(
        "z",
        "each head's mix of values, which `o_proj` reads",
        "attn.o_proj",
        "input",
        heads="n_heads",
        editable=True,
        lens="attn.hook_z",
    ),
    SiteEntry(
        "head_out",
        "what each head alone adds through `o_proj`",
        "attn.o_proj",
        "input",
        finish=_by_head,
        heads="n_heads",
        lens="attn.hook_result",
    ),
    SiteEntry(
        "mlp_act",
        "the activations of the neurons, which `down_proj` reads",
        "mlp.down_proj",
        "input",
        editable=True,
        lens="mlp.hook_post",
    ),
    SiteEntry(
        "q_rope",
        "queries as they are multiplied with keys",
        "attn",
        "attention",
        read=read_queries,
        heads="n_heads",
        lens="attn.hook_rot_q",
    ),
    SiteEntry(
        "k_rope",
        "keys as they are multiplied with queries",
        "attn",
        "attention",
        read=read_keys,
        heads="n_kv_heads",
        lens="attn.hook_rot_k",
    ),
    SiteEntry(
        "attn_pattern",
        "the weight of each head on every key",
        "attn",
        "attention",
        read=read_pattern,
        per_key=True,
        lens="attn.hook_pattern",
    ),
)
# What the two modules return; only to check a family's row, not to be collected.
_RETURNED = (
    SiteEntry("attn", "what the attention module returns", "attn"),
    SiteEntry("mlp", "what the MLP module returns", "mlp"),
)

SITES: dict[str, SiteEntry] = {entry.name: entry for entry in _ENTRIES}
MEASURED: dict[str, SiteEntry] = SITES | {entry.name: entry for entry in _RETURNED}
