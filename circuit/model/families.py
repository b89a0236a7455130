"""Where each architecture's blocks keep their parts: one row a family.

``resid_pre`` and ``resid_post`` are what a block reads and returns, and need no row. For the other
sites a row names the submodule of the block whose output is *added to the residual stream*, so that
``resid_mid = resid_pre + attn_out`` and ``resid_post = resid_mid + mlp_out``, and the one whose
input is ``resid_mid``. Gemma 2 and OLMo 2 normalise what a sublayer returns before adding it, so
theirs is the norm after it. A block that runs attention and MLP side by side has no ``resid_mid``.

A family without a row has the two sites that need none. Every row is checked on the loaded model
(``sites.check_row``) before it is believed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Attribute names of one block; ``scale`` is the block's own multiplier of both outputs."""

    model_types: tuple[str, ...]
    attn_out: str = "self_attn"
    mlp_out: str = "mlp"
    mid_input: str | None = "post_attention_layernorm"
    scale: str | None = None


_POST_NORMS = {"attn_out": "post_attention_layernorm", "mlp_out": "post_feedforward_layernorm"}

FAMILIES = (
    Family(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "smollm3", "nemotron", "olmo")),
    Family(("qwen3_moe", "qwen2_moe", "starcoder2", "internlm3", "ernie4_5", "seed_oss")),
    Family(("deepseek", "deepseek_v3", "glm", "helium", "hunyuan_v1_dense", "mimo", "olmoe")),
    Family(("stablelm",)),
    Family(("mixtral", "phimoe"), mlp_out="block_sparse_moe"),
    Family(
        ("gemma2", "gemma3", "gemma3_text"), **_POST_NORMS, mid_input="pre_feedforward_layernorm"
    ),
    Family(("olmo2", "olmo3"), **_POST_NORMS, mid_input="mlp"),
    Family(("glm4",), attn_out="post_self_attn_layernorm", mlp_out="post_mlp_layernorm"),
    Family(("granite",), scale="residual_multiplier"),
    Family(("granitemoe",), mlp_out="block_sparse_moe", scale="residual_multiplier"),
    Family(("internlm2",), attn_out="attention", mlp_out="feed_forward", mid_input="ffn_norm"),
    Family(
        ("recurrent_gemma",),
        attn_out="temporal_block",
        mlp_out="mlp_block",
        mid_input="channel_pre_norm",
    ),
    Family(("gpt2",), attn_out="attn", mid_input="ln_2"),
    Family(("phi", "cohere", "cohere2"), mid_input=None),
    Family(("gpt_neox",), attn_out="attention", mid_input=None),
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
