"""Every family that mlx-lm loads is measured as it is, or refused in one sentence."""

import pytest
from checkpoints import VOCABULARY, write_checkpoint

from circuit.errors import ModelError
from circuit.model.families import FAMILIES
from circuit.model.loading import load_model
from circuit.model.selftest import self_test

MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
GRANITE = {
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.25,
    "logits_scaling": 2.0,
    "attention_bias": False,
    "mlp_bias": False,
}
GEMMA = {
    "query_pre_attn_scalar": 8,
    "sliding_window": 8,
    "sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 3,
    "partial_rotary_factor": 0.5,
}
MAMBA = {
    "state_size": 8,
    "conv_kernel": 4,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_rank": 4,
    "expand": 2,
}
GPT_BIGCODE = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 64,
    "n_positions": 256,
    "layer_norm_epsilon": 1e-5,
}
MULTI_HEAD = {"num_key_value_heads": 4}
CONFIGS = {
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 8, "sliding_window_pattern": 2},
    "deepseek": MULTI_HEAD,
    "deepseek_v3": {
        **MULTI_HEAD,
        **MOE,
        "attention_bias": False,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 16,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "q_lora_rank": None,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "rope_scaling": None,
        "routed_scaling_factor": 1.0,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "v_head_dim": 8,
    },
    "ernie4_5": {"use_bias": False},
    "exaone": {"num_layers": 3, "layer_norm_epsilon": 1e-5},
    "gemma": {},
    "gemma2": {**GEMMA, "sliding_window": 256},
    "gemma3_text": GEMMA,
    "glm": {"attention_bias": False, "partial_rotary_factor": 0.5},
    "glm4": {"attention_bias": False, "partial_rotary_factor": 0.5},
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 256,
        "n_ctx": 256,
        "layer_norm_epsilon": 1e-5,
    },
    "gpt_neox": {
        "layer_norm_eps": 1e-5,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.5,
        "use_parallel_residual": True,
    },
    "gpt_oss": {
        **MOE,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "sliding_window": 8,
    },
    "granite": GRANITE,
    "granitemoe": {**GRANITE, **MOE},
    "helium": {"attention_bias": False, "mlp_bias": False},
    "hunyuan_v1_dense": {"attention_bias": False, "use_qk_norm": True},
    "internlm2": {"bias": False},
    "internlm3": {"bias": False, "qkv_bias": False},
    "llama": {},
    "mamba": MAMBA,
    "mimo": {"num_nextn_predict_layers": 0},
    "minicpm": {"dim_model_base": 16, "scale_depth": 1.4, "scale_emb": 12},
    "mixtral": MOE,
    "nemotron": {
        "hidden_act": "relu2",
        "norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "olmo2": {},
    "olmoe": MOE,
    "phi": {**MULTI_HEAD, "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5},
    "phi3": {},
    "phimoe": {**MOE, "rope_scaling": None},
    "qwen2": {},
    "qwen2_moe": MOE,
    "qwen3": {},
    "qwen3_moe": MOE,
    "qwen3_next": {**MOE, **LINEAR},
    "recurrent_gemma": {
        "attention_bias": False,
        "attention_window_size": 8,
        "block_types": ["recurrent", "recurrent", "attention"],
        "conv1d_width": 4,
        "embeddings_scale_by_sqrt_dim": True,
        "logits_soft_cap": 30.0,
    },
    "seed_oss": {"attention_bias": False},
    "smollm3": {},
    "stablelm": {
        **MULTI_HEAD,
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "qk_layernorm": False,
        "use_qkv_bias": False,
    },
    "starcoder2": {"norm_epsilon": 1e-5},
}
NOT_RUNNING_IN_MLX_LM = {"mistral", "gemma3", "olmo", "olmo3"}  # another file's code, or a package


@pytest.mark.parametrize("family", CONFIGS)
def test_the_self_test_passes(family, tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, family, **CONFIGS[family])))
    assert [check for check in self_test(model) if not check.passed] == []


def test_every_row_is_tested():
    rows = {name for row in FAMILIES for name in row.model_types}
    assert rows - set(CONFIGS) <= NOT_RUNNING_IN_MLX_LM


def test_a_family_that_mlx_lm_cannot_batch_says_so(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, "gpt_bigcode", **GPT_BIGCODE)))
    failed = [check for check in self_test(model) if not check.passed]
    assert len(failed) == 1
    assert "cannot generate in batches with family `gpt_bigcode`" in failed[0].detail


def test_blocks_that_run_more_than_once_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path, "nanbeige", num_loops=2)
    with pytest.raises(ModelError, match="do not run once each, in order"):
        load_model(str(folder))


def test_a_model_that_reaches_into_its_blocks_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path, "iquestloopcoder", loop_num=2, loop_window_size=8)
    with pytest.raises(ModelError, match="never ran `block 0`"):
        load_model(str(folder))


def test_several_residual_streams_are_refused(tmp_path):
    text = {
        "model_type": "gemma3n_text",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "intermediate_size": [64] * 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "vocab_size": VOCABULARY,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "sliding_window": 8,
        "max_position_embeddings": 256,
        "rope_theta": 1e4,
        "rope_local_base_freq": 1e4,
        "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0] * 3,
        "altup_num_inputs": 2,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 8,
        "rope_scaling": None,
    }
    folder = write_checkpoint(tmp_path, "gemma3n", text_config=text)
    with pytest.raises(ModelError, match="more than one residual stream"):
        load_model(str(folder))


def test_a_family_whose_code_leaves_the_program_is_an_error(tmp_path, capsys):
    folder = write_checkpoint(tmp_path)
    config = (folder / "config.json").read_text().replace('"llama"', '"olmo"')
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match="lacks a package"):
        load_model(str(folder))
    assert capsys.readouterr().out == ""
