"""Adapters do what their formulas say, or are refused by name."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import ModelError
from circuit.model.checkpoint.loading import load_model

IDS = mx.array([[3, 1, 4, 1, 5, 9]])
NAMES = [f"model.layers.{k}.{name}" for k in (1, 2) for name in ("self_attn.v_proj", "mlp.up_proj")]
SHAPES = {"self_attn.v_proj": (32, 16), "mlp.up_proj": (32, 64)}  # in, out
RANK = 4


def pairs(seed=0):
    """Return A (in, r) and B (r, out) by module."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    shapes = {name: SHAPES[name.split(".", 3)[3]] for name in NAMES}
    return {name: (draw(n, RANK), draw(RANK, out)) for name, (n, out) in shapes.items()}


def merged_logits(folder, scales):
    """Return the logits of the checkpoint whose maps are W + scale (A B)ᵀ, computed by hand."""
    path = str(folder / "model.safetensors")
    weights = dict(mx.load(path))
    for name, (a, b) in pairs().items():
        key = f"{name}.weight"
        weights[key] = weights[key] + mx.array(scales[name] * (a @ b).T)
    mx.eval(weights)
    other = folder.with_name("merged")
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    mx.save_safetensors(str(other / "model.safetensors"), weights, metadata={"format": "mlx"})
    return np.array(load_model(str(other)).network(IDS))


def write(folder, tensors, config, file):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / file), {k: mx.array(v) for k, v in tensors.items()})
    return folder


def write_peft(folder, *, keep=lambda _: True, extra=(), **settings):
    tensors = {}
    for name, (a, b) in pairs().items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"base_model.model.{name}.lora_B.weight"] = np.ascontiguousarray(b.T)
    tensors = {k: v for k, v in tensors.items() if keep(k)} | dict(extra)
    base = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": ["v_proj"]}
    return write(folder, tensors, {**base, **settings}, "adapter_model.safetensors")


def write_mlx(folder, *, change=lambda tensors: tensors, parameters=(), **settings):
    tensors = {}
    for name, (a, b) in pairs().items():
        tensors |= {f"{name}.lora_a": a, f"{name}.lora_b": b}
    keys = ["self_attn.v_proj", "mlp.up_proj"]
    chosen = {"rank": RANK, "scale": 1.5, "dropout": 0.0, "keys": keys, **dict(parameters)}
    config = {"num_layers": 2, "lora_parameters": {k: v for k, v in chosen.items() if v is not ...}}
    return write(folder, change(tensors), {**config, **settings}, "adapters.safetensors")


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 6 / RANK),
        ({"use_rslora": True}, 6 / RANK**0.5),
        ({"lora_alpha": 16}, 16 / RANK),
        ({"alpha_pattern": {"v_proj": 2, r"layers\.2\.mlp\.up_proj": 8}}, None),
    ],
)
def test_a_peft_adapter_adds_alpha_over_r_times_b_a(tmp_path, settings, scale):
    base = write_checkpoint(tmp_path / "base")
    adapter = write_peft(tmp_path / "peft", **settings)
    found = np.array(load_model(str(base), adapter=adapter).network(IDS))
    own = {name: (2 if "v_proj" in name else 8 if ".2." in name else 6) / RANK for name in NAMES}
    wanted = merged_logits(base, own if scale is None else dict.fromkeys(NAMES, scale))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    plain = np.array(load_model(str(base)).network(IDS))
    assert np.abs(found - plain).max() > 0.1


def test_an_mlx_adapter_adds_its_scale_times_a_b(tmp_path):
    base = write_checkpoint(tmp_path / "base")
    adapter = write_mlx(tmp_path / "mlx")
    found = np.array(load_model(str(base), adapter=adapter).network(IDS))
    wanted = merged_logits(base, dict.fromkeys(NAMES, 1.5))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def zero(part):
    return lambda t: {k: v * (0 if k.endswith(part) else 1) for k, v in t.items()}


def without(part):
    return lambda t: {k: v for k, v in t.items() if not k.endswith(part)}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"change": without("lora_b")}, "adapter-incomplete"),
        ({"change": without("up_proj.lora_a")}, "adapter-incomplete"),
        ({"change": lambda _: {}}, "adapter-incomplete"),
        ({"change": zero("lora_b")}, "adapter-without-effect"),
        ({"change": zero("lora_a")}, "adapter-without-effect"),
        ({"parameters": {"scale": 0.0}}, "adapter-without-effect"),
        ({"parameters": {"scale": ..., "alpha": 8}}, "adapter-unsupported"),
        ({"parameters": {"rank": "4"}}, "adapter-unsupported"),
        ({"num_layers": None}, "adapter-unsupported"),
        ({"lora_parameters": [4]}, "adapter-unsupported"),
        ({"change": lambda t: {**t, "h.0.attn.c_attn.weight": t[NAMES[0] + ".lora_a"]}}, None),
        ({"fine_tune_type": "full", "change": lambda _: {}}, "adapter-without-effect"),
    ],
)
def test_an_mlx_adapter_that_changes_nothing_or_is_damaged_is_refused(tmp_path, arguments, code):
    base = write_checkpoint(tmp_path / "base")
    adapter = write_mlx(tmp_path / "mlx", **arguments)
    with raises(ModelError, code or "adapter-tensor-unknown"):
        load_model(str(base), adapter=adapter)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"keep": lambda name: "lora_A" in name}, "adapter-incomplete"),
        ({"keep": lambda _: False}, "adapter-without-effect"),
        ({"lora_alpha": 0}, "adapter-without-effect"),
        ({"lora_alpha": None}, "adapter-unsupported"),
        ({"use_dora": True}, "adapter-unsupported"),
        ({"peft_type": "LOHA"}, "adapter-unsupported"),
        (
            {"extra": {"base_model.model.model.norm.weight": np.ones(32, np.float32)}},
            "adapter-tensor-unknown",
        ),
        (
            {
                "extra": {
                    f"base_model.model.transformer.h.0.lora_{part}.weight": np.ones((4, 4), "f4")
                    for part in "AB"
                }
            },
            "adapter-tensor-unknown",
        ),
    ],
)
def test_a_peft_adapter_that_cannot_be_applied_is_refused_by_name(tmp_path, arguments, code):
    base = write_checkpoint(tmp_path / "base")
    with raises(ModelError, code):
        load_model(str(base), adapter=write_peft(tmp_path / "peft", **arguments))


def test_a_peft_adapter_acts_on_quantised_maps(tmp_path):
    from mlx_lm import convert

    base = write_checkpoint(tmp_path / "base")
    convert(str(base), str(tmp_path / "q"), quantize=True, q_group_size=32, q_bits=8)
    adapter = write_peft(tmp_path / "peft")
    model = load_model(str(tmp_path / "q"), adapter=adapter, dtype="checkpoint")
    found = np.array(model.network(IDS).astype(mx.float32))
    wanted = merged_logits(base, dict.fromkeys(NAMES, 6 / RANK))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
