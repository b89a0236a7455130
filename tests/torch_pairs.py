"""The same random checkpoint in transformers and here, for every family of the parity tests."""

import json

import torch
import transformers
from checkpoints import VOCABULARY, write_tokenizer

from circuit.model.checkpoint.loading import load_model

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}
FAMILIES = {
    "llama": ROPE,
    "mistral": {**ROPE, "head_dim": 16, "sliding_window": None},
    "qwen2": ROPE,
    "qwen3": {**ROPE, "head_dim": 16},
    "gemma2": {**GEMMA, **ROPE, "sliding_window": 256},
    "gemma3_text": {**GEMMA, "sliding_window_pattern": 2},
    "phi3": {**ROPE, "rope_parameters": {**ROPE["rope_parameters"], "partial_rotary_factor": 1.0}},
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256},
    "olmo2": ROPE,
    "mixtral": {**ROPE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **ROPE,
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
    },
    "granite": {**ROPE, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    "cohere": {**ROPE, "logit_scale": 0.25},
    "phi": {**ROPE, "num_key_value_heads": 4},
    "smollm3": ROPE,
    "glm4": {**ROPE, "head_dim": 16, "partial_rotary_factor": 0.5},
    "stablelm": {**ROPE, "num_key_value_heads": 4},
}
MIXTURE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES |= {
    "cohere2": {**ROPE, "head_dim": 16, "logit_scale": 0.25, "sliding_window": 16},
    # mlx-lm's GPT-NeoX has the approximate GELU, whatever the checkpoint says.
    "gpt_neox": {
        "num_key_value_heads": None,
        "intermediate_size": 256,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "granitemoe": {**ROPE, **MIXTURE, "residual_multiplier": 0.5},
    "helium": {**ROPE, "head_dim": 16},
    "nemotron": ROPE,
    "olmoe": {**ROPE, **MIXTURE},
    "qwen2_moe": {
        **ROPE,
        **MIXTURE,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 48,
    },
}


def make_pair(family, folder):
    torch.manual_seed(0)
    shape = SHAPE if family != "gpt2" else {k: v for k, v in SHAPE.items() if "hidden" not in k}
    config = transformers.AutoConfig.for_model(family, **{**shape, **FAMILIES[family]})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08 if "embed" not in name and "wte" not in name else 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    # The hub's gpt2 holds the bare network; mlx-lm reads that layout and no other.
    (model.transformer if family == "gpt2" else model).save_pretrained(folder)
    if family == "gpt_neox":  # as the hub has it; transformers 5 saves these under other names
        file = folder / "config.json"
        old = {"rotary_emb_base": 10000, "rotary_pct": 0.25}
        file.write_text(json.dumps({**json.loads(file.read_text()), **old}))
    write_tokenizer(folder)
    return model, load_model(str(folder))
