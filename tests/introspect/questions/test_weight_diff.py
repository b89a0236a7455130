"""What changed between checkpoints: planted changes are found where they are, in every way of storing weights."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from mlx_lm.convert import convert

from circuit.errors import DataError, ModelError
from circuit.introspect.questions.weight_diff import WeightDiffRequest, place_of, present
from circuit.methods.geometry.matrix_change import spectrum, sums
from circuit.model.checkpoint.weights import open_weights
from circuit.present.terminal import terminal
from circuit.stages.run import run

NAME = "model.layers.1.mlp.down_proj.weight"


def changed(folder, change, **options):
    """Write the checkpoint again with its weights passed through ``change``."""
    write_checkpoint(folder, **options)
    weights = mx.load(str(folder / "model.safetensors"))
    change(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def weight_diff(base, finetuned, **options):
    """Compare two checkpoints as the command does."""
    request = WeightDiffRequest(base=str(base), finetuned=str(finetuned), **options)
    return run(request)


@pytest.fixture(scope="module")
def low_rank(tmp_path_factory):
    """One matrix with a change of rank 3, and nothing else."""
    rng = np.random.default_rng(0)
    step = 0.05 * rng.standard_normal((32, 3)) @ rng.standard_normal((3, 64))

    def change(weights):
        weights[NAME] = weights[NAME] + mx.array(step.astype(np.float32))

    return changed(tmp_path_factory.mktemp("low"), change), step


def test_a_checkpoint_is_equal_to_itself(llama_folder):
    found = weight_diff(llama_folder, llama_folder)
    assert found.n_equal == len(found.tensors) == len(open_weights(str(llama_folder)).tensors)
    assert (found.whole.relative, found.whole.cosine) == (0, pytest.approx(1))
    assert not found.only_base + found.only_finetuned + found.reshaped


def test_a_planted_change_is_where_it_is(llama_folder, low_rank):
    folder, step = low_rank
    found = weight_diff(llama_folder, folder, spectrum=4)
    base = np.array(mx.load(str(llama_folder / "model.safetensors"))[NAME])
    (tensor,) = [each for each in found.tensors if each.largest]
    assert (tensor.name, tensor.kind, tensor.layer) == (NAME, "mlp", 1)
    relative = np.linalg.norm(step) / np.linalg.norm(base)
    assert tensor.relative == pytest.approx(relative, rel=1e-4)
    tuned = base + step
    cosine = (base * tuned).sum() / np.linalg.norm(base) / np.linalg.norm(tuned)
    assert tensor.cosine == pytest.approx(cosine, abs=1e-5)
    values = np.linalg.svd(step, compute_uv=False)
    np.testing.assert_allclose(tensor.spectrum.values[:3], values[:3], rtol=1e-4)
    assert tensor.spectrum.values[3] < 1e-4 * values[0]
    assert tensor.spectrum.stable_rank == pytest.approx(
        (values**2).sum() / values[0] ** 2, rel=1e-3
    )
    assert 1 < tensor.spectrum.effective_rank < 3.1
    at = {(c.kind, c.layer): c.relative for c in found.components}
    assert {place for place, relative in at.items() if relative} == {("mlp", None), ("mlp", 1)}
    none = weight_diff(llama_folder, folder, spectrum=0)
    assert (none.n_without_spectrum, none.tensors[0].spectrum) == (1, None)


def test_components_add_up(llama_folder, tmp_path):
    other = write_checkpoint(tmp_path, seed=3)
    found = weight_diff(llama_folder, other)
    a, b = (mx.load(str(f / "model.safetensors")) for f in (llama_folder, other))
    flat = [np.concatenate([np.array(w[n]).ravel() for n in a]).astype(float) for w in (a, b)]
    relative = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert found.whole.relative == pytest.approx(relative, rel=1e-5)
    kinds = [c for c in found.components if c.layer is None]
    assert {c.kind for c in kinds} == {"embedding", "attention", "mlp", "norm", "head"}
    assert sum(c.n_numbers for c in kinds) == found.whole.n_numbers == flat[0].size


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_weights_differ_by_their_rounding(llama_folder, tmp_path, dtype):
    narrow = write_checkpoint(tmp_path, dtype=dtype)
    found = weight_diff(llama_folder, narrow)
    by_name = {each.name: each for each in found.tensors}
    assert by_name[NAME].stored == ("float32", dtype)
    size = {"bfloat16": 2**-9, "float16": 2**-12}[dtype]
    assert size / 4 < by_name[NAME].relative < 2 * size


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_are_unpacked(llama_folder, tmp_path, bits):
    packed = tmp_path / "packed"
    convert(str(llama_folder), str(packed), quantize=True, q_bits=bits, q_group_size=32)
    found = weight_diff(llama_folder, packed)
    assert not found.only_base + found.only_finetuned + found.reshaped
    (tensor,) = [each for each in found.tensors if each.name == NAME]
    assert tensor.stored[1] == f"{bits}-bit"
    assert tensor.shape == (32, 64)
    weights = mx.load(str(packed / "model.safetensors"))
    stem = NAME.removesuffix("weight")
    wide = mx.dequantize(
        weights[NAME], weights[f"{stem}scales"], weights[f"{stem}biases"], 32, bits
    )
    base = np.array(mx.load(str(llama_folder / "model.safetensors"))[NAME])
    expected = np.linalg.norm(np.array(wide.astype(mx.float32)) - base) / np.linalg.norm(base)
    assert tensor.relative == pytest.approx(expected, rel=1e-4)
    assert 0 < tensor.relative < {4: 0.2, 8: 0.01}[bits]


def test_shards_are_one_checkpoint(llama_folder, tmp_path):
    weights = mx.load(str(llama_folder / "model.safetensors"))
    names = sorted(weights)
    (tmp_path / "config.json").write_text((llama_folder / "config.json").read_text())
    files = {}
    for k, part in enumerate((names[:7], names[7:]), 1):
        file = f"model-0000{k}-of-00002.safetensors"
        mx.save_safetensors(str(tmp_path / file), {name: weights[name] for name in part})
        files |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": files}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = weight_diff(llama_folder, tmp_path)
    assert found.n_equal == len(names)


def test_what_only_one_has_is_listed(llama_folder, tmp_path):
    def change(weights):
        del weights["lm_head.weight"]
        weights["model.extra"] = mx.zeros((3,))
        weights["model.norm.weight"] = mx.ones((16,))

    other = changed(tmp_path / "other", change)
    found = weight_diff(llama_folder, other)
    assert found.only_base == ["lm_head.weight"]
    assert found.only_finetuned == ["model.extra"]
    assert found.reshaped == [("model.norm.weight", (32,), (16,))]
    gpt2 = write_checkpoint(
        tmp_path / "gpt2",
        "gpt2",
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        n_ctx=64,
        layer_norm_epsilon=1e-5,
    )
    with raises(DataError, "no-shared-tensor"):
        weight_diff(llama_folder, gpt2)


def test_equal_names_of_other_shapes_are_said_with_their_shapes(llama_folder, tmp_path):
    other = write_checkpoint(tmp_path, hidden_size=16, intermediate_size=48, head_dim=4)
    with pytest.raises(DataError, match=r"lm_head\.weight` is \d+ x 32 in the first and \d+ x 16"):
        weight_diff(llama_folder, other)


def test_another_depth_is_said_and_its_tensors_are_sorted(llama_folder, tmp_path):
    deep = write_checkpoint(tmp_path, seed=3, num_hidden_layers=12)
    found = weight_diff(llama_folder, deep)
    assert found.n_layers == (3, 12)
    layers = [place_of(name)[1] for name in found.only_finetuned]
    assert layers == sorted(layers)
    assert set(layers) == set(range(3, 12))
    text = terminal(present(found, top=3))
    assert "Blocks: 3 and 12" in text
    assert "***: a relative change over 0.1" in text
    assert "stable rank" in text
    assert "Blocks" not in terminal(present(weight_diff(llama_folder, llama_folder)))


def test_files_that_cannot_be_read(llama_folder, tmp_path):
    (tmp_path / "config.json").write_text((llama_folder / "config.json").read_text())
    with raises(ModelError, "weights-missing"):
        weight_diff(llama_folder, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with raises(ModelError, "read-failed"):
        weight_diff(llama_folder, tmp_path)


def test_tensors_belong_to_components():
    names = {
        "model.layers.3.self_attn.q_proj.weight": ("attention", 3),
        "model.layers.3.post_attention_layernorm.weight": ("norm", 3),
        "model.layers.0.mlp.experts.1.up_proj.weight": ("mlp", 0),
        "model.layers.0.self_attn.q_norm.weight": ("norm", 0),
        "model.embed_tokens.weight": ("embedding", None),
        "h.2.attn.c_attn.bias": ("attention", 2),
        "model.norm.weight": ("norm", None),
        "lm_head.weight": ("head", None),
    }
    assert {name: place_of(name) for name in names} == names


def test_nothing_is_divided_by_zero():
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    assert (sums([(zero, zero)]).relative, sums([(zero, zero)]).cosine) == (0, None)
    assert sums([(zero, one)]).relative is None
    assert sums([(one, -one)]).cosine == -1
    assert spectrum(np.zeros((3, 3)), 2) is None


def test_both_checkpoints_have_the_fingerprints_of_loaded_models(llama_folder, llama, tmp_path):
    """What names a checkpoint in the file of a comparison names it in this one."""
    other = write_checkpoint(tmp_path, seed=3)
    first, second = weight_diff(llama_folder, other, spectrum=0).checkpoints
    keys = ("config_sha256", "weights_sha256", "revision")
    assert [first[key] for key in keys] == [getattr(llama.identity, key) for key in keys]
    assert first["config_sha256"] == second["config_sha256"]
    assert first["weights_sha256"] != second["weights_sha256"]
