"""Where each architecture's blocks keep their parts: one row a family.

``resid_pre`` and ``resid_post`` are what a block reads and returns, and need no row. For the other
sites a row names modules of the block, and only those that are not called as in Llama:

- ``attn`` and ``mlp`` run attention and the MLP; the maps are named below them. ``q_proj``,
  ``k_proj`` and ``v_proj`` of one name are one fused map, whose output is q, k, v one after the other
  or, with ``by_head``, for each key-value head its queries, its key and its value. ``gate_proj`` and
  ``up_proj`` of one name are fused too, gate first.
- ``attn_out`` and ``mlp_out`` name the submodule whose output is *added to the residual stream*
  where that is not ``attn`` or ``mlp`` itself: Gemma 2 and OLMo 2 normalise what a sublayer returns
  before they add it, so theirs is the norm. ``scale`` is the block's own multiplier of both. Then
  ``resid_mid = resid_pre + attn_out`` and ``resid_post = resid_mid + mlp_out``.
- ``mid_input`` is what reads ``resid_mid``; None where attention and MLP always run side by
  side.
- ``rope`` is for attention that calls no ``scaled_dot_product_attention``: the module below ``attn``
  that is given the queries first and then the keys, and whose outputs are multiplied before
  ``mx.softmax`` turns them into the pattern.
- ``lacks`` says why a site does not exist. Experts of a mixture need no entry.

To add a family, write its ``model_type`` into the first row and run ``circuit sites -m MODEL`` and
``circuit doctor -m MODEL``: what is missing or does not add up is what its own row has to say.

A family without a row has the sites that need none. Every row is measured on the loaded model
(``sites.check_row``) before it is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """Names of a block's parts; the defaults are Llama's."""

    model_types: tuple[str, ...]
    attn: str = "self_attn"
    mlp: str = "mlp"
    attn_out: str | None = None
    mlp_out: str | None = None
    mid_input: str | None = "post_attention_layernorm"
    scale: str | None = None
    q_proj: str = "q_proj"
    k_proj: str = "k_proj"
    v_proj: str = "v_proj"
    o_proj: str = "o_proj"
    gate_proj: str = "gate_proj"
    up_proj: str = "up_proj"
    down_proj: str = "down_proj"
    by_head: bool = False
    rope: str | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def qkv_is_fused(self) -> bool:
        """Say whether one map computes queries, keys and values."""
        return self.q_proj == self.k_proj == self.v_proj

    @property
    def gate_is_fused(self) -> bool:
        """Say whether one map computes gate and up."""
        return self.gate_proj == self.up_proj


def _fused(qkv: str) -> dict[str, Any]:
    return {"q_proj": qkv, "k_proj": qkv, "v_proj": qkv}


_POST_NORMS: dict[str, Any] = {
    "attn_out": "post_attention_layernorm",
    "mlp_out": "post_feedforward_layernorm",
}
_GATE_UP: dict[str, Any] = {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}
_NO_GATE = {"gate_proj": "its MLP has no gate"}
_LATENT = "it compresses keys and values to a latent vector that the heads share"
_POSITION_APART = "positions are in a part of its queries and keys that is multiplied apart"

FAMILIES = (
    Family(("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "stablelm", "helium")),
    Family(("qwen3_moe", "qwen2_moe", "internlm3", "ernie4_5", "seed_oss", "gpt_oss", "olmoe")),
    Family(("deepseek", "hunyuan_v1_dense", "mimo")),
    Family(("mixtral", "phimoe"), mlp="block_sparse_moe"),
    Family(("gemma2",), **_POST_NORMS, mid_input="pre_feedforward_layernorm", rope="rope"),
    Family(("gemma3", "gemma3_text"), **_POST_NORMS, mid_input="pre_feedforward_layernorm"),
    Family(("olmo2", "olmo3"), **_POST_NORMS, mid_input="mlp"),
    Family(("glm",), **_GATE_UP),
    Family(
        ("glm4",), attn_out="post_self_attn_layernorm", mlp_out="post_mlp_layernorm", **_GATE_UP
    ),
    Family(("phi3",), **_fused("qkv_proj"), **_GATE_UP),
    Family(("granite",), scale="residual_multiplier"),
    Family(("granitemoe",), mlp="block_sparse_moe", scale="residual_multiplier"),
    Family(
        ("internlm2",),
        attn="attention",
        mlp="feed_forward",
        mid_input="ffn_norm",
        **_fused("wqkv"),
        by_head=True,
        o_proj="wo",
        gate_proj="w1",
        up_proj="w3",
        down_proj="w2",
    ),
    Family(("recurrent_gemma",), "temporal_block", "mlp_block", mid_input="channel_pre_norm"),
    Family(
        ("deepseek_v3",),
        lacks={
            **dict.fromkeys(("k_proj", "v_proj"), _LATENT),
            **dict.fromkeys(("q_rope", "k_rope"), _POSITION_APART),
        },
    ),
    Family(
        ("gpt2",),
        attn="attn",
        mid_input="ln_2",
        **_fused("c_attn"),
        o_proj="c_proj",
        up_proj="c_fc",
        down_proj="c_proj",
        lacks={**_NO_GATE, "hook_embed": "its `embed` has the position embeddings in it"},
    ),
    Family(("starcoder2",), up_proj="c_fc", down_proj="c_proj", lacks=_NO_GATE),
    Family(("nemotron",), lacks=_NO_GATE),
    Family(("cohere", "cohere2"), mid_input=None),
    Family(
        ("phi",), mid_input=None, o_proj="dense", up_proj="fc1", down_proj="fc2", lacks=_NO_GATE
    ),
    Family(
        ("gpt_neox",),
        attn="attention",
        **_fused("query_key_value"),
        by_head=True,
        o_proj="dense",
        up_proj="dense_h_to_4h",
        down_proj="dense_4h_to_h",
        lacks=_NO_GATE,
    ),
)


# Families whose checkpoints have a ``sliding_window`` that their mlx-lm code does not apply.
IGNORE_WINDOW = (
    "gemma2",
    "mistral",
    "mistral3",
    "mixtral",
    "phi3",
    "phimoe",
    "pixtral",
    "qwen2",
    "qwen2_5_vl",
    "qwen2_moe",
    "qwen2_vl",
    "qwen3",
    "qwen3_moe",
    "starcoder2",
)


def find_family(model_type: str) -> Family | None:
    """Return the row of ``model_type`` (as in the checkpoint's config), or None."""
    return next((row for row in FAMILIES if model_type in row.model_types), None)
