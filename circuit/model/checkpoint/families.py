"""Where each architecture's blocks keep their parts: one row per family.

``resid_pre`` and ``resid_post`` are what a block reads and returns, and need no row. For the other
sites a row names modules of the block, and only those that are not called as in Llama:

- ``attn`` and ``mlp`` run attention and the MLP; the maps are named below them. ``qkv`` is a fused
  map of queries, keys and values, whose output is one after the other or, with ``by_head``, for
  each key-value head its queries, its key and its value. ``gate_up`` is a fused map of gate and up.
- ``attn_out`` and ``mlp_out`` name the submodule whose output is *added to the residual stream*
  where that is not ``attn`` or ``mlp`` itself: Gemma 2 and OLMo 2 normalise what a sublayer returns
  before they add it, so theirs is the norm. ``scale`` is the block's own multiplier of both. Then
  ``resid_mid = resid_pre + attn_out`` and ``resid_post = resid_mid + mlp_out``.
- ``mid_input`` is what reads ``resid_mid``; None where attention and MLP always run in parallel.
- ``rope`` is for attention that does not call ``scaled_dot_product_attention``: the module below
  ``attn`` that takes the queries first and then the keys, and whose outputs are multiplied before
  ``mx.softmax`` turns them into the pattern.
- ``lacks`` says why a site does not exist. Experts of a mixture need no entry.

To add a family, write its ``model_type`` into the first row and run ``circuit sites -m MODEL`` and
``circuit doctor -m MODEL``: what is missing or does not add up belongs into a row of its own.

A family without a row has the sites that need none. Every row is checked on the loaded model before
it is used (``sites.check_family``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import mlx.nn as nn


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
    qkv: str | None = None
    by_head: bool = False
    o_proj: str = "o_proj"
    gate_proj: str = "gate_proj"
    up_proj: str = "up_proj"
    gate_up: str | None = None
    down_proj: str = "down_proj"
    rope: str | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)

    def path(self, part: str, block: nn.Module) -> str | None:
        """Return the path below ``block`` of a part that the table of sites names.

        That is a field of this row, or a map below ``attn`` or ``mlp`` such as ``attn.q_proj``.
        None: attention and MLP run in parallel, so nothing reads ``resid_mid``.
        """
        owner, _, name = part.partition(".")
        if name:
            return f"{getattr(self, owner)}.{self._fused().get(name) or getattr(self, name)}"
        if part == "mid_input" and getattr(block, "use_parallel_residual", False):
            return None
        own: str | None = getattr(self, part)
        return own or {"attn_out": self.attn, "mlp_out": self.mlp}.get(part)

    def _fused(self) -> dict[str, str | None]:
        return {
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), self.qkv),
            **dict.fromkeys(("gate_proj", "up_proj"), self.gate_up),
        }


def _with_post_norms(
    *model_types: str, mid_input: str = "pre_feedforward_layernorm", rope: str | None = None
) -> Family:
    """Return the row of a family that normalises what a sublayer returns before adding it."""
    return Family(
        model_types,
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        mid_input=mid_input,
        rope=rope,
    )


_NO_GATE = {"gate_proj": "its MLP has no gate"}
_LATENT = "it compresses keys and values to a latent vector that the heads share"
_SPLIT_ROPE = "only a part of its queries and keys is rotated, and multiplied separately"

FAMILIES = (
    Family(("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "stablelm", "helium")),
    Family(("qwen3_moe", "qwen2_moe", "internlm3", "ernie4_5", "seed_oss", "gpt_oss", "olmoe")),
    Family(("deepseek", "hunyuan_v1_dense", "mimo")),
    Family(("mixtral", "phimoe"), mlp="block_sparse_moe"),
    _with_post_norms("gemma2", rope="rope"),
    _with_post_norms("gemma3", "gemma3_text"),
    _with_post_norms("olmo2", "olmo3", mid_input="mlp"),
    Family(("glm",), gate_up="gate_up_proj"),
    Family(
        ("glm4",),
        attn_out="post_self_attn_layernorm",
        mlp_out="post_mlp_layernorm",
        gate_up="gate_up_proj",
    ),
    Family(("phi3",), qkv="qkv_proj", gate_up="gate_up_proj"),
    Family(("granite",), scale="residual_multiplier"),
    Family(("granitemoe",), mlp="block_sparse_moe", scale="residual_multiplier"),
    Family(
        ("internlm2",),
        attn="attention",
        mlp="feed_forward",
        mid_input="ffn_norm",
        qkv="wqkv",
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
            **dict.fromkeys(("q_rope", "k_rope"), _SPLIT_ROPE),
        },
    ),
    Family(
        ("gpt2",),
        attn="attn",
        mid_input="ln_2",
        qkv="c_attn",
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
        qkv="query_key_value",
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


@dataclass(frozen=True)
class Neutral:
    """The values at which a key that mlx-lm's code does not read changes nothing.

    With ``families`` the key counts for those only, also where their code names it.
    """

    values: tuple[object, ...]
    families: tuple[str, ...] = ()


_OFF = Neutral((None, False))
_ONE = Neutral((1, None))
NEUTRAL: Mapping[str, Neutral] = {
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "clip_qkv"), _OFF),
    **dict.fromkeys(("use_bidirectional_attention", "alibi", "qk_layernorm", "use_qk_norm"), _OFF),
    **dict.fromkeys(("scale_attn_by_inverse_layer_idx", "add_cross_attention"), _OFF),
    **dict.fromkeys(("logit_scale", "logits_scaling", "embedding_multiplier"), _ONE),
    **dict.fromkeys(("residual_multiplier", "scale_emb"), _ONE),
    "scale_attn_weights": Neutral((True,)),
    "rope_interleave": Neutral((True,)),
    "swiglu_alpha": Neutral((1.702,)),
    "swiglu_limit": Neutral((7.0,)),
    "norm_topk_prob": Neutral((False,), families=("qwen2_moe",)),
}
# Keys that concern training, tokens, other programs, or what loading and the model's shape show,
# and keys that are measured on the network or read in another place (see ``built``, ``files``).
_INERT_KEYS = """
    gguf
    _name_or_path _sliding_window_pattern activation_function architectures attention_dropout
    attn_implementation attn_pdrop auto_map bos_token_id cache_implementation classifier_dropout
    dtype embd_pdrop embedding_dropout eos_token_id gradient_checkpointing head_dim hidden_act
    hidden_activation hidden_dropout id2label initializer_range is_decoder is_encoder_decoder
    keys_to_ignore_at_inference label2id layer_types max_length max_position_embeddings
    max_window_layers model_type n_ctx n_positions num_labels original_max_position_embeddings
    output_attentions output_hidden_states output_router_logits pad_token_id partial_rotary_factor
    pretraining_tp problem_type quantization quantization_config reorder_and_upcast_attn
    resid_pdrop residual_dropout rope_local_base_freq rope_parameters rope_scaling rope_theta
    rotary_emb_base rotary_pct router_aux_loss_coef router_jitter_noise sliding_window
    sliding_window_pattern summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj task_specific_params tie_word_embeddings torch_dtype
    transformers_version unk_token_id use_cache use_sliding_window vocab_size
"""
INERT = frozenset(_INERT_KEYS.split())
