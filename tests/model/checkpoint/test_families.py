"""Every family that mlx-lm loads is measured as it is, or refused in one sentence."""

import pytest
from architectures import CONFIGS
from checkpoints import VOCABULARY, write_checkpoint
from errors import raises

from circuit.errors import ModelError
from circuit.model.checkpoint.families import FAMILIES
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import may_be_batched
from circuit.model.forward.selftest import self_test

GPT_BIGCODE = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 64,
    "n_positions": 256,
    "layer_norm_epsilon": 1e-5,
}
NOT_RUNNING_IN_MLX_LM = {"mistral", "gemma3", "olmo3"}  # another file's code


@pytest.mark.parametrize("family", CONFIGS)
def test_the_self_test_passes(family, tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, family, **CONFIGS[family])))
    assert [check for check in self_test(model) if not check.passed] == []


def test_every_row_is_tested():
    rows = {name for row in FAMILIES for name in row.model_types}
    assert rows - set(CONFIGS) <= NOT_RUNNING_IN_MLX_LM


def test_a_family_whose_batches_mlx_lm_cannot_run_passes_one_by_one(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, "gpt_bigcode", **GPT_BIGCODE)))
    assert not may_be_batched(model)
    assert [check for check in self_test(model) if not check.passed] == []


def test_blocks_that_run_more_than_once_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path, "nanbeige", num_loops=2)
    with raises(ModelError, "blocks-out-of-order"):
        load_model(str(folder))


def test_a_model_that_reaches_into_its_blocks_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path, "iquestloopcoder", loop_num=2, loop_window_size=8)
    with raises(ModelError, "module-not-run", module="block 0"):
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
    with raises(ModelError, "several-residual-streams"):
        load_model(str(folder))


def test_a_family_whose_code_leaves_the_program_is_an_error(tmp_path, capsys):
    folder = write_checkpoint(tmp_path)
    config = (folder / "config.json").read_text().replace('"llama"', '"olmo"')
    (folder / "config.json").write_text(config)
    with raises(ModelError, "package-missing"):
        load_model(str(folder))
    assert capsys.readouterr().out == ""
