"""What a configuration asks for is what runs, is refused by its key, or is listed with its size."""

import json
import math

import mlx.core as mx
import mlx_lm.utils
import numpy as np
import pytest
from checkpoints import SHAPE, write_checkpoint
from errors import raises

from circuit.errors import DataError, ModelError
from circuit.model.checkpoint.built import differences, unread_settings
from circuit.model.checkpoint.loading import load_model
from circuit.model.checkpoint.rotary import Rotation, measured, requested
from circuit.model.prompts.tokens import encode_prompts
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

IDS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
SLIDING, FULL = "sliding_attention", "full_attention"
SHORT, LONG = [1.0, 1.1, 1.3, 1.7], [1.0, 9.0, 30.0, 60.0]


def changed(folder, **settings):
    """Rewrite config.json; a value of ... removes its key."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    return str(folder)


def rewritten(folder, change):
    """Rewrite the tensors of the one weight file."""
    path = str(folder / "model.safetensors")
    weights = dict(mx.load(path))
    change(weights)
    mx.eval(weights)
    mx.save_safetensors(path, weights, metadata={"format": "mlx"})
    return folder


def states(model):
    site = Site("resid_post", model.n_layers - 1)
    return np.array(hidden_states(model, IDS, [site])[site])


def angles(factors, base=10000.0, dims=8):
    return base ** (-np.arange(0, dims, 2) / dims) / np.asarray(factors)


# --- rotary embeddings -------------------------------------------------------------------------


def test_longrope_rotates_by_its_short_factors_and_reads_the_original_context(tmp_path):
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": SHORT}
    rope |= {"long_factor": LONG, "original_max_position_embeddings": 32}
    folder = write_checkpoint(tmp_path, "phi3", num_key_value_heads=4)
    model = load_model(changed(folder, rope_parameters=rope, rope_theta=...))
    found = measured(model.blocks[2].self_attn.rope, 8)
    np.testing.assert_allclose(found.frequencies, angles(SHORT), rtol=1e-5)
    assert found.scale == pytest.approx(math.sqrt(1 + math.log(256 / 32) / math.log(32)), rel=1e-6)
    assert model.context_length == 32
    with raises(DataError, "prompt-too-long", limit=32):
        encode_prompts(model, ["a" * 40])


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {
            "rope_type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": 128,
            "beta_fast": 16,
            "beta_slow": 2,
            "mscale": 1.0,
            "mscale_all_dim": 0.5,
        },
    ],
)
def test_every_kind_of_rotary_scaling_is_built_as_requested(tmp_path, rope):
    folder = write_checkpoint(tmp_path, "qwen3")
    model = load_model(changed(folder, rope_parameters={**rope, "rope_theta": 500.0}))
    wanted = requested(model.config, 0, 8)
    assert measured(model.blocks[0].self_attn.rope, 8).error(wanted) < 1e-5
    plain = Rotation(angles(1.0, base=500.0))
    assert wanted.error(plain) > 1e-3 or rope["rope_type"] == "dynamic"


@pytest.mark.parametrize(
    "keys", [{"attention_factor": 1.5}, {"truncate": False}, {"mscale": 0.6}, {"factor": 3.0}]
)
def test_a_key_of_yarn_that_is_not_applied_is_refused(tmp_path, keys):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    rope = {**yarn, "rope_theta": 10000.0, **keys}
    folder = write_checkpoint(tmp_path, "llama", head_dim=16)
    if "factor" in keys:
        load_model(changed(folder, rope_parameters=rope))
        return
    with raises(ModelError, "setting-not-applied", setting="rope_parameters"):
        load_model(changed(folder, rope_parameters=rope))


def test_scaling_that_a_family_does_not_read_is_refused_or_applied(tmp_path):
    folder = write_checkpoint(tmp_path / "gemma", "gemma")
    rope = {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}
    model = load_model(changed(folder, rope_parameters=rope))
    np.testing.assert_allclose(
        measured(model.blocks[1].self_attn.rope, 8).frequencies, angles(2.0), rtol=1e-5
    )
    rope |= {"rope_type": "yarn", "original_max_position_embeddings": 64}
    with raises(ModelError, "setting-not-applied", setting="rope_parameters"):
        load_model(changed(folder, rope_parameters=rope))


def test_a_part_of_each_head_is_rotated_where_mlx_lm_rotates_all(tmp_path):
    folder = write_checkpoint(tmp_path, "glm", attention_bias=False, partial_rotary_factor=0.5)
    found = measured(load_model(str(folder)).blocks[0].self_attn.rope, 8)
    np.testing.assert_allclose(found.frequencies, angles(1.0, dims=4), rtol=1e-5)


# --- activation, soft caps, scales ---------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "phi3", "glm4", "olmo2"])
def test_another_activation_than_the_built_one_is_refused(tmp_path, family):
    extra = {"attention_bias": False, "partial_rotary_factor": 0.5} if family == "glm4" else {}
    folder = write_checkpoint(tmp_path, family, hidden_act="silu", **extra)
    assert load_model(str(folder)).differences == ()
    with raises(ModelError, "setting-not-applied", setting="hidden_act"):
        load_model(changed(folder, hidden_act="relu"))


def test_an_approximate_gelu_is_listed_with_its_size(tmp_path):
    folder = write_checkpoint(tmp_path, "starcoder2", norm_epsilon=1e-5, hidden_act="gelu_new")
    (one,) = load_model(str(folder)).differences
    x = np.linspace(-6, 6, 97)
    exact = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    tanh = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert one.setting == "hidden_act"
    assert one.size == pytest.approx(np.abs(exact - tanh).max(), rel=1e-2)


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("llama", {"final_logit_softcapping": 20.0}),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}),
        ("qwen3", {"clip_qkv": 8.0}),
        ("mistral", {"residual_multiplier": 0.22}),
    ],
)
def test_a_setting_that_no_code_reads_is_refused_by_its_key(tmp_path, family, setting):
    shape = {"sliding_window": 8, "sliding_window_pattern": 3} if "gemma" in family else {}
    folder = write_checkpoint(tmp_path, "llama" if family == "mistral" else family, **shape)
    changed(folder, model_type=family, **dict.fromkeys(setting))
    load_model(str(folder))
    with raises(ModelError, "setting-not-applied", setting=next(iter(setting))):
        load_model(changed(folder, **setting))


def test_gemma_scales_its_embeddings_exactly_in_float32(tmp_path):
    shape = {"sliding_window": 8, "sliding_window_pattern": 3, "hidden_size": 640}
    folder = str(write_checkpoint(tmp_path, "gemma3_text", **shape))
    assert load_model(folder).differences == ()
    assert load_model(folder, dtype="bfloat16").differences == ()


def test_a_scale_that_is_not_the_configured_one_is_listed_with_its_size(tmp_path):
    """mlx-lm's Gemma 3 without the exact scale: 25.25 for the root of 640."""
    folder = write_checkpoint(
        tmp_path, "gemma3_text", sliding_window=8, sliding_window_pattern=3, hidden_size=640
    )
    network, config = mlx_lm.utils.load_model(folder)
    (one,) = differences(network, config)
    assert one.setting == "embedding scale"
    assert one.size == pytest.approx(1 - 25.25 / math.sqrt(640), rel=1e-3)


@pytest.mark.parametrize(
    ("key", "base"), [({}, 10_000.0), ({"rope_local_base_freq": 500.0}, 500.0)]
)
def test_layers_with_a_window_have_their_own_base(tmp_path, key, base):
    shape = {"sliding_window": 8, "sliding_window_pattern": 3, "rope_theta": 1e6, **key}
    model = load_model(str(write_checkpoint(tmp_path, "gemma3_text", **shape)))
    bases = [block.self_attn.rope.base for block in model.blocks[:3]]
    assert bases == [base, base, 1e6]
    assert model.differences == ()


def test_keys_that_nothing_reads_are_listed(tmp_path):
    model = load_model(changed(write_checkpoint(tmp_path), shiny_new_gate=3, id2label={"0": "x"}))
    assert unread_settings(model.network, model.config) == ["shiny_new_gate"]


# --- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gemma3_text", "cohere2"])
def test_the_pattern_of_windows_comes_from_the_types_of_the_layers(tmp_path, family):
    extra = {"logit_scale": 0.25} if family == "cohere2" else {}
    types = [SLIDING, FULL, SLIDING, FULL]
    folder = write_checkpoint(
        tmp_path, family, num_hidden_layers=4, sliding_window=4, sliding_window_pattern=4, **extra
    )
    default = states(load_model(changed(folder)))
    config = json.loads((folder / "config.json").read_text())
    by_types = load_model(changed(folder, layer_types=types, sliding_window_pattern=...))
    by_pattern = load_model(changed(folder, layer_types=..., sliding_window_pattern=2))
    assert np.array_equal(states(by_types), states(by_pattern))
    assert not np.allclose(states(by_types), default, rtol=1e-3)
    assert config["sliding_window_pattern"] == 4


@pytest.mark.parametrize(
    ("family", "types"),
    [
        ("gemma3_text", [SLIDING, FULL, FULL]),
        ("cohere2", [SLIDING] * 3),
        ("gpt_oss", [FULL] * 3),
        ("exaone4", [SLIDING] * 3),
    ],
)
def test_a_pattern_that_the_code_cannot_run_is_refused(tmp_path, family, types):
    (tmp_path / "config.json").write_text(
        json.dumps({**SHAPE, "model_type": family, "layer_types": types, "sliding_window": 4})
    )
    with raises(ModelError, "layer-pattern", setting="layer_types"):
        load_model(str(tmp_path))


# --- heads, end tokens, files ---------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "smollm3", "phi3"])
def test_a_head_in_the_files_is_used_where_the_key_is_absent(tmp_path, family):
    folder = write_checkpoint(tmp_path, family)
    untied = np.array(load_model(str(folder)).network(IDS))
    assert np.array_equal(
        np.array(load_model(changed(folder, tie_word_embeddings=...)).network(IDS)), untied
    )
    # transformers 5 uses the head, too, where the configuration ties it to other embeddings
    model = load_model(changed(folder, tie_word_embeddings=True))
    assert np.array_equal(np.array(model.network(IDS)), untied)


def test_a_copy_of_tied_embeddings_is_no_head_of_its_own(tmp_path):
    folder = write_checkpoint(tmp_path, tie_word_embeddings=True)
    rewritten(folder, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"]}))
    model = load_model(str(folder))
    assert model.config["tie_word_embeddings"] is True
    assert model.dropped == {}


def test_tensors_that_mlx_lm_leaves_out_are_counted_by_kind(tmp_path):
    folder = write_checkpoint(tmp_path, "mimo", num_nextn_predict_layers=0)

    def add(weights):
        weights.update({f"model.mtp_layers.{k}.proj.weight": mx.ones((2, 2)) for k in range(3)})
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = mx.ones(4)

    assert load_model(str(rewritten(folder, add))).dropped == {"model.mtp_layers.N.proj.weight": 3}


def test_generation_ends_at_the_tokens_of_both_files(tmp_path):
    folder = write_checkpoint(tmp_path)
    changed(folder, eos_token_id=70)
    assert load_model(str(folder)).tokenizer.eos_token_ids >= {70}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [80, 90]}))
    ends = load_model(str(folder)).tokenizer.eos_token_ids
    assert ends >= {80, 90}
    assert 70 not in ends  # as transformers and mlx-lm: what generation says counts
    (folder / "generation_config.json").write_text("{")
    with raises(ModelError, "not-json"):
        load_model(str(folder))


def sharded(folder, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
    weights = dict(mx.load(str(folder / "model.safetensors")))
    parts = [sorted(weights)[::2], sorted(weights)[1::2]]
    for name, part in zip(names, parts, strict=True):
        mx.save_safetensors(str(folder / name), {n: weights[n] for n in part})
    (folder / "model.safetensors").unlink()
    places = {n: name for name, part in zip(names, parts, strict=True) for n in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return names


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_shard_is_named(tmp_path, index):
    first, second = sharded(write_checkpoint(tmp_path))
    load_model(str(tmp_path))
    (tmp_path / second).unlink()
    if not index:
        (tmp_path / "model.safetensors.index.json").unlink()
    with raises(ModelError, "weights-missing", missing=[second]) as caught:
        load_model(str(tmp_path))
    assert first not in caught.value.message


def test_a_file_that_the_index_does_not_name_is_refused(tmp_path):
    sharded(write_checkpoint(tmp_path))
    mx.save_safetensors(
        str(tmp_path / "model-old.safetensors"), {"model.norm.weight": mx.zeros(32)}
    )
    with raises(ModelError, "weights-unnamed", surplus=["model-old.safetensors"]):
        load_model(str(tmp_path))


def test_all_lines_of_a_reason_are_kept(tmp_path):
    folder = write_checkpoint(tmp_path)
    names = [f"model.layers.{k}.self_attn.q_proj.weight" for k in range(3)]
    rewritten(folder, lambda weights: [weights.pop(name) for name in names])
    with raises(ModelError, "load-failed") as caught:
        load_model(str(folder))
    assert all(name in caught.value.message for name in names)
    assert "\n" not in caught.value.message
