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

from circuit.errors import ModelError, UsageError
from circuit.model.loading import load_model, normalised
from circuit.model.sites import Site, hidden_states

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
    with pytest.raises(UsageError, match="unknown dtype `int8`"):
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
    assert normalised({"rope_theta": 3.0, **config})["rope_theta"] == 3.0


def test_what_cannot_be_loaded_is_said_in_one_sentence(tmp_path, llama_folder):
    def broken(name, **changes):
        folder = tmp_path / name
        shutil.copytree(llama_folder, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    cases = {
        str(tmp_path / "nowhere"): "is not a folder with a checkpoint",
        "nobody/nothing": "is not in the local cache",
        "no such name": "neither a folder nor an id",
        str(tmp_path): "has no `config.json`",
        str(broken("type", model_type="nonsense")): "Model type nonsense not supported",
        str(broken("shape", hidden_size=48)): "cannot be loaded",
    }
    cases[str(broken("code", model_file="evil.py"))] = "requires importing and running"
    for model_id, words in cases.items():
        with pytest.raises(ModelError, match=words) as caught:
            load_model(model_id)
        assert caught.value.hint
        assert "\n" not in caught.value.message


def test_an_adapter_folder_without_an_adapter(tmp_path, llama_folder):
    with pytest.raises(ModelError, match="holds no LoRA adapter"):
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
