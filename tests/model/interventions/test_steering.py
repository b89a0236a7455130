"""Steering does what its formula says, at every position, and nothing at coefficient 0."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import unit_vector, write_checkpoint
from errors import raises

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import generate
from circuit.model.interventions.steering import Steering, steered
from circuit.model.prompts.tokens import encode_prompts
from circuit.model.sites.sites import hidden_states
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

IDS = mx.array([[3, 1, 4, 1, 5]])


def states(model, layer, ids=IDS):
    site = Site("resid_post", layer)
    return np.array(hidden_states(model, ids, [site])[site])


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_each_token_moves_by_its_own_norm(identity_llama, layer):
    model, v = identity_llama, unit_vector(identity_llama.d_model)
    plain = states(model, layer)
    with steered(model, [Steering(Site("resid_post", layer), v, 1.5)]):
        moved = states(model, layer)
    expected = plain + 1.5 * np.linalg.norm(plain, axis=-1, keepdims=True) * v
    np.testing.assert_allclose(moved, expected, rtol=1e-6, atol=1e-7)


def test_coefficient_zero_is_bit_identical(llama):
    plain = np.array(llama.network(IDS))
    with steered(llama, [Steering(Site("resid_post", 1), unit_vector(llama.d_model), 0.0)]):
        assert np.array_equal(np.array(llama.network(IDS)), plain)


def test_two_steerings_at_one_layer_compose(identity_llama):
    model = identity_llama
    a, b = unit_vector(model.d_model, 1), unit_vector(model.d_model, 2)
    with steered(
        model, [Steering(Site("resid_post", 0), a, 1.0), Steering(Site("resid_post", 0), b, -0.5)]
    ):
        moved = states(model, 0)
    first = states(model, 0)
    first = first + np.linalg.norm(first, axis=-1, keepdims=True) * a
    second = first - 0.5 * np.linalg.norm(first, axis=-1, keepdims=True) * b
    np.testing.assert_allclose(moved, second, rtol=1e-5, atol=1e-6)


def test_the_residual_keeps_its_dtype(tmp_path):
    folder = write_checkpoint(tmp_path, dtype="bfloat16")
    model = load_model(str(folder), dtype="checkpoint")
    with steered(model, [Steering(Site("resid_post", 0), unit_vector(model.d_model), 2.0)]):
        site = Site("resid_post", 2)
        assert hidden_states(model, IDS, [site])[site].dtype == mx.bfloat16


def test_steered_generation_in_a_batch_equals_one_by_one(llama):
    prompts = encode_prompts(llama, ["Hello", "A longer prompt than that", "x"])
    with steered(llama, [Steering(Site("resid_post", 1), unit_vector(llama.d_model), 3.0)]):
        together = [g.ids for g in generate(llama, prompts, Sampling(8))]
        alone = [generate(llama, [p], Sampling(8))[0].ids for p in prompts]
    assert together == alone
    assert together != [g.ids for g in generate(llama, prompts, Sampling(8))]


def test_generation_with_the_cache_equals_full_forward_passes(llama):
    prompt = encode_prompts(llama, ["Hello there"])[0]
    with steered(llama, [Steering(Site("resid_post", 0), unit_vector(llama.d_model), 2.0)]):
        ids = prompt.ids.tolist()
        for _ in range(6):
            ids.append(int(mx.argmax(llama.network(mx.array([ids]))[0, -1])))
        assert generate(llama, [prompt], Sampling(6))[0].ids == ids[len(prompt.ids) :]


def test_sampling_depends_on_the_seed_alone(llama):
    prompts = encode_prompts(llama, ["Hello"] * 3)

    def sample(seed):
        return [g.ids for g in generate(llama, prompts, Sampling(8, temperature=1.0, seed=seed))]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_directions_that_do_not_fit_are_refused(llama):
    with raises(UsageError, "layer-out-of-range", layer=3, n_layers=3):
        with steered(llama, [Steering(Site("resid_post", 3), unit_vector(llama.d_model), 1.0)]):
            pass
    with raises(ModelError, "widths-differ", n_entries=5):
        with steered(llama, [Steering(Site("resid_post", 0), np.ones(5, np.float32), 1.0)]):
            pass


def test_a_direction_of_what_a_block_reads_is_added_there(identity_llama):
    model, v = identity_llama, unit_vector(identity_llama.d_model)
    plain = states(model, 0)
    with steered(model, [Steering(Site("resid_pre", 1), v, 1.0)]):
        before, after = states(model, 0), states(model, 1)
    assert np.array_equal(before, plain)
    expected = plain + np.linalg.norm(plain, axis=-1, keepdims=True) * v
    np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-7)
    with steered(model, [Steering(Site("embed", 0), v, 1.0)]):
        np.testing.assert_allclose(states(model, 0), expected, rtol=1e-6, atol=1e-7)
    with raises(UsageError, "site-not-residual", site="mlp_out"):
        with steered(model, [Steering(Site("mlp_out", 0), v, 1.0)]):
            pass
