"""Checkpoints are loaded as they are, or refused in one sentence."""

import json
import os
import shutil
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.files import normalised
from circuit.model.checkpoint.loading import load_model
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

IDS = mx.array([[3, 1, 4, 1, 5]])


def test_identity_names_the_checkpoint(llama):
    identity = llama.identity
    assert (identity.family, identity.n_layers, identity.d_model) == ("llama", 3, 32)
    assert identity.dtype == "float32"
    assert len(identity.weights_sha256) == len(identity.config_sha256) == 64
    assert llama.tokenizer_identity.bos == "tokenizer"


def test_other_weights_have_another_fingerprint(tmp_path, llama):
    other = load_model(str(write_checkpoint(tmp_path, seed=1)))
    assert other.identity.weights_sha256 != llama.identity.weights_sha256
    assert other.identity.config_sha256 == llama.identity.config_sha256


def test_half_precision_is_held_in_float32_on_a_cpu(tmp_path):
    folder = write_checkpoint(tmp_path, dtype="bfloat16")
    assert load_model(str(folder), dtype="float32").dtype == "float32"
    assert load_model(str(folder), dtype="checkpoint").dtype == "bfloat16"
    assert load_model(str(folder), dtype="float16").dtype == "float16"
    with raises(UsageError, "unknown-dtype", dtype="int8"):
        load_model(str(folder), dtype="int8")


def test_a_quantised_checkpoint_equals_its_dequantised_weights(tmp_path):
    from mlx_lm import convert

    folder = write_checkpoint(tmp_path / "full", hidden_size=64, head_dim=16, intermediate_size=128)
    convert(str(folder), str(tmp_path / "q"), quantize=True, q_group_size=32, q_bits=4)
    model = load_model(str(tmp_path / "q"))
    kept = load_model(str(tmp_path / "q"), dtype="checkpoint")
    assert model.identity.quantization["bits"] == 4
    site = Site("resid_post", 2)
    ours = np.array(hidden_states(model, IDS, [site])[site])
    theirs = np.array(hidden_states(kept, IDS, [site])[site])
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert type(model.blocks[0].self_attn.q_proj).__name__ == "Linear"
    assert type(kept.blocks[0].self_attn.q_proj).__name__ == "QuantizedLinear"


def test_gemma_3_scales_its_embeddings_by_the_root_of_its_width(tmp_path):
    """mlx-lm rounds the root to bfloat16, in float32, too; half precision is left as it is."""
    shape = {"hidden_size": 640, "query_pre_attn_scalar": 8, "sliding_window": 8}
    folder = write_checkpoint(tmp_path, "gemma3_text", num_hidden_layers=6, **shape)
    for dtype in (mx.float32, mx.bfloat16):
        model = load_model(str(folder), dtype=str(dtype).removeprefix("mlx.core."))
        read = hidden_states(model, IDS, [Site("resid_pre", 0)])[Site("resid_pre", 0)]
        wanted = model.network.model.embed_tokens(IDS) * mx.array(640**0.5, dtype)
        assert read.dtype == dtype
        assert mx.allclose(read.astype(mx.float32), wanted.astype(mx.float32), rtol=1e-6, atol=0)


def test_rope_settings_are_found_where_transformers_5_puts_them():
    config = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 7.0}}
    out = normalised(config)
    assert out["rope_theta"] == 7.0
    assert out["rope_scaling"]["type"] == "linear"
    nested = {
        "rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        }
    }
    out = normalised({"text_config": nested})["text_config"]
    assert (out["rope_theta"], out["rope_local_base_freq"]) == (1e6, 1e4)
    assert normalised({"rope_theta": 3.0, **config})["rope_theta"] == 7.0  # as in transformers


def test_what_cannot_be_loaded_is_said_in_one_sentence(tmp_path, llama_folder):
    def broken(name, **changes):
        folder = tmp_path / name
        shutil.copytree(llama_folder, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    cases = {
        str(tmp_path / "nowhere"): "model-not-found",
        "nobody/nothing": "hub-unreachable",
        "no such name": "model-not-found",
        str(tmp_path): "config-missing",
        str(broken("type", model_type="nonsense")): "load-failed",
        str(broken("shape", hidden_size=48)): "load-failed",
        str(broken("code", model_file="evil.py")): "load-failed",  # remote code does not run
    }
    for model_id, code in cases.items():
        with raises(ModelError, code) as caught:
            load_model(model_id)
        assert caught.value.hint
        assert "\n" not in caught.value.message


def test_an_adapter_folder_without_an_adapter(tmp_path, llama_folder):
    with raises(ModelError, "adapter-missing"):
        load_model(str(llama_folder), adapter=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the other systems have their own BLAS")
def test_a_named_blas_that_does_not_exist_is_refused():
    environment = {**os.environ, "CIRCUIT_BLAS": "/no/such/library.so"}
    code = "import circuit.model"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "CIRCUIT_BLAS" in done.stderr
    assert done.returncode == 1


def final_states(model):
    site = Site("resid_post", model.n_layers - 1)
    return np.array(hidden_states(model, IDS, [site])[site].astype(mx.float32))


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize(
    ("mode", "bits", "group"), [("affine", 3, 32), ("mxfp4", 4, 32), ("nvfp4", 4, 16)]
)
def test_every_way_of_quantising_equals_its_dequantised_weights(
    tmp_path, family, mode, bits, group
):
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load, quantize_model, save_config

    folder = write_checkpoint(
        tmp_path,
        family,
        hidden_size=64,
        head_dim=16,
        intermediate_size=64,
        num_experts=4,
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        norm_topk_prob=True,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        sliding_window=16,
        dtype="bfloat16",
    )
    network, _, config = load(str(folder), return_config=True)
    network, config = quantize_model(network, config, group, bits, mode=mode)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    save_config(config, folder / "config.json")
    held, kept = load_model(str(folder)), load_model(str(folder), dtype="checkpoint")
    assert held.dtype == "float32"
    names = {type(module).__name__ for _, module in held.network.named_modules()}
    assert not [name for name in names if name.startswith("Quantized")]
    kept.network.set_dtype(mx.float32)  # scales only: the packed weights stay
    ours, theirs = final_states(held), final_states(kept)
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("quantised", [False, True])
def test_an_adapter_changes_the_model_by_its_own_low_rank_product(tmp_path, quantised):
    from mlx.utils import tree_flatten
    from mlx_lm import convert
    from mlx_lm.tuner.utils import linear_to_lora_layers

    folder = write_checkpoint(tmp_path / "full", hidden_size=64, head_dim=16, intermediate_size=128)
    if quantised:
        convert(str(folder), str(tmp_path / "q"), quantize=True, q_group_size=32, q_bits=4)
        folder = tmp_path / "q"
    lora = {"rank": 4, "scale": 2.0, "dropout": 0.0}
    plain, tuned = load_model(str(folder)), load_model(str(folder))
    linear_to_lora_layers(tuned.network, 2, lora)
    adapted = tuned.blocks[2].self_attn.q_proj
    adapted.lora_b = mx.random.normal(adapted.lora_b.shape, key=mx.random.key(0)) * 0.1
    weights = {k: v for k, v in tree_flatten(tuned.network.parameters()) if "lora_" in k}
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    mx.save_safetensors(str(adapter / "adapters.safetensors"), weights)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": lora}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    model = load_model(str(folder), adapter=adapter)
    product = 2.0 * (adapted.lora_a @ adapted.lora_b).T
    plain.blocks[2].self_attn.q_proj.weight += product
    assert np.abs(final_states(model) - final_states(plain)).max() < 1e-5
    assert np.abs(final_states(model) - final_states(load_model(str(folder)))).max() > 1e-4
    assert model.identity.adapter == "adapter"
    assert model.identity.weights_sha256 != plain.identity.weights_sha256
    (adapter / "adapters.safetensors").unlink()
    with raises(ModelError, "adapter-missing"):
        load_model(str(folder), adapter=adapter)
    (adapter / "adapter_config.json").write_text("{")
    with raises(ModelError, "not-json"):
        load_model(str(folder), adapter=adapter)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 256),
        ({"model_type": "phimoe", "sliding_window": 8}, 8),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": False}, 256),
        ({"model_type": "gemma3_text", "sliding_window": 8}, 256),
        ({"model_type": "mistral3", "text_config": {"sliding_window": 8}}, 8),
        ({"model_type": "mamba", "max_position_embeddings": None}, None),
    ],
)
def test_a_window_that_mlx_lm_does_not_apply_is_the_limit(llama_folder, changes, limit):
    model = load_model(str(llama_folder))
    model.config.update(changes)
    assert model.context_length == limit
