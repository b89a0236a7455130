"""Single neurons: what they hold and write is the model's own, and choosing among thousands is scored without the rows it saw."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import unit_vector, write_checkpoint
from errors import raises
from mlx_lm.convert import convert
from words import WORDS

from circuit.artifacts.steering_files.files import Direction, write_npz
from circuit.errors import DataError, UsageError
from circuit.introspect.neurons.choice import NeuronChoice, parse_indices
from circuit.introspect.questions.neurons import (
    NeuronsRequest,
    neurons,
)
from circuit.methods.quality.single_feature import choose_feature, effect_sizes
from circuit.methods.uncertainty.scores import auroc
from circuit.model.checkpoint.loading import load_model
from circuit.model.interventions.neurons import write_vectors
from circuit.model.sites.sites import hidden_states
from circuit.stages.options import ModelOptions, PromptsOptions
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.stages.run import run
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

GIVEN = PromptInput(["Hello", "ab c"])
MARKS = PromptInput([f"{word}{mark}" for mark in "?!" for word in WORDS])


def weights(folder, layer):
    return np.array(
        mx.load(str(folder / "model.safetensors"))[f"model.layers.{layer}.mlp.down_proj.weight"]
    )


def test_what_neurons_write_is_the_maps_columns(llama, llama_folder):
    np.testing.assert_allclose(write_vectors(llama, 1), weights(llama_folder, 1).T, atol=1e-6)


def test_of_a_packed_map_too(llama_folder, tmp_path):
    convert(str(llama_folder), str(tmp_path / "q"), quantize=True, q_bits=8, q_group_size=32)
    packed = load_model(str(tmp_path / "q"), dtype="checkpoint")
    np.testing.assert_allclose(write_vectors(packed, 1), weights(llama_folder, 1).T, atol=0.02)


def test_a_bias_is_nobodys(tmp_path):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64}
    folder = write_checkpoint(tmp_path, "gpt2", layer_norm_epsilon=1e-5, **sizes)
    stored = mx.load(str(folder / "model.safetensors"))
    stored["model.h.1.mlp.c_proj.bias"] = mx.ones((32,))
    mx.save_safetensors(str(folder / "model.safetensors"), stored, metadata={"format": "mlx"})
    vectors = write_vectors(load_model(str(folder)), 1)
    np.testing.assert_allclose(
        vectors, np.array(stored["model.h.1.mlp.c_proj.weight"]).T, atol=1e-6
    )


def test_activations_are_those_of_the_site(llama):
    found = neurons(llama, GIVEN, NeuronChoice(indices=[5, 63]), layer=1, labels=["x", "y"])
    site = Site("mlp_act", 1)
    for i, prompt in enumerate(encode(llama, GIVEN.texts, RAW)):
        rows = np.array(hidden_states(llama, mx.array(prompt.ids[None]), [site])[site])[0]
        for each in found.neurons:
            np.testing.assert_allclose(each.activations[i], rows[:, each.index], atol=1e-5)
            value = each.by_label["xy"[i]]
            assert value == [pytest.approx(rows[-1, each.index], abs=1e-5), None, None]
    assert len(found.neurons[0].promoted) == 5


def test_neurons_along_a_direction(llama, llama_folder, tmp_path):
    v = unit_vector(32)
    write_npz(tmp_path / "v.npz", Direction("v", "resid_post", 2, v, 1.0))
    model = ModelOptions(model=str(llama_folder))
    prompts = PromptsOptions(prompts="Hello|ab c")
    asked = {"model": model, "prompts": prompts, "top_k": 4}
    found = run(NeuronsRequest(from_direction=tmp_path / "v.npz", **asked))
    dots = weights(llama_folder, 2).T @ v
    assert found.layer == 2
    assert [each.index for each in found.neurons] == list(np.argsort(-np.abs(dots))[:4])
    for each in found.neurons:
        assert each.along.dot == pytest.approx(dots[each.index], abs=1e-5)
    write_npz(tmp_path / "w.npz", Direction("w", "resid_post", 2, unit_vector(8), 1.0))
    with raises(DataError, "widths-differ", n=8):
        run(NeuronsRequest(from_direction=tmp_path / "w.npz", **asked))


def test_discovery_finds_what_tells_labels_apart(llama):
    labels = ["asks"] * 12 + ["shouts"] * 12
    found = neurons(llama, MARKS, NeuronChoice(discover=True, top_k=3), layer=0, labels=labels)
    value, low, high = found.discovery.auroc
    assert value > 0.9
    assert low < value < high
    assert found.claimed
    assert found.neurons[0].index == found.discovery.features[0]
    with raises(UsageError, "two-labels-expected", n=0):
        neurons(llama, MARKS, NeuronChoice(discover=True), layer=0)


def test_the_best_of_many_is_no_better_than_chance_on_noise():
    y = np.arange(30) % 2
    groups = [str(i) for i in range(30)]
    held_out, seen, p = [], [], []
    for seed in range(12):
        H = np.random.default_rng(seed).standard_normal((30, 400))
        found = choose_feature(H, y, groups, seed=seed, n_shuffles=99, n_boot=50)
        column = H[:, found.features[0]] * np.sign(found.effects[0])
        held_out.append(found.auroc[0])
        seen.append(auroc(column[y == 1], column[y == 0]))
        p.append(found.p)
    assert np.mean(seen) > 0.8
    assert 0.35 < np.mean(held_out) < 0.65
    assert np.mean(np.array(p) <= 0.05) < 0.3


def test_a_planted_feature_is_chosen():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    H = rng.standard_normal((40, 300))
    H[:, 17] -= 4 * y
    found = choose_feature(H, y, [str(i) for i in range(40)])
    assert found.features[0] == 17
    assert set(found.by_fold) == {17}
    assert found.effects[0] < -2
    assert found.p < 0.02
    two = np.stack([y, 1 - y])
    np.testing.assert_allclose(effect_sizes(H, two)[0], -effect_sizes(H, two)[1])


def test_wrong_requests(llama, llama_folder):
    assert parse_indices([]) is None
    assert parse_indices(["5,7", "5"]) == [5, 7]
    for text in ("x", "-1", "5,"):
        with raises(UsageError, "not-a-neuron"):
            parse_indices([text])
    with raises(UsageError, "one-of-options", n=0):
        NeuronChoice()
    with raises(UsageError, "one-of-options", n=2):
        NeuronChoice(indices=[1], discover=True)
    model, prompts = ModelOptions(model=str(llama_folder)), PromptsOptions(prompts="a")
    for layer, code in (("9", "layer-out-of-range"), ("0,1", "several-layers"), (None, "no-layer")):
        with raises(UsageError, code):
            run(NeuronsRequest(model=model, prompts=prompts, layer=layer, neurons=["1"]))
    with raises(UsageError, "component-out-of-range", index=64):
        neurons(llama, GIVEN, NeuronChoice(indices=[64]), layer=0)
