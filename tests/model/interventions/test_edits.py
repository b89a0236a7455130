"""An edit changes its site and what comes after it; gradients are those of finite differences."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import write_checkpoint
from errors import raises

from circuit.errors import UsageError
from circuit.model.checkpoint.loading import load_model
from circuit.model.gradients.gradients import site_gradients
from circuit.model.interventions.edits import Edit, edited
from circuit.model.sites.sites import hidden_states
from circuit.model.sites.table import SITES
from circuit.values.sites import EMBED, Site

IDS = mx.array([[3, 1, 4, 1, 5]])


def states(model, sites):
    return {s: np.array(h.astype(mx.float32)) for s, h in hidden_states(model, IDS, sites).items()}


@pytest.fixture(scope="module", params=["llama", "gemma2", "granite", "gpt2", "olmo2"])
def model(request, tmp_path_factory):
    family = request.param
    folder = write_checkpoint(tmp_path_factory.mktemp(family), family, **CONFIGS.get(family, {}))
    return load_model(str(folder))


def test_a_sublayer_that_writes_nothing_leaves_the_stream_as_it_was(model):
    sites = [Site("resid_pre", 1), Site("resid_post", 1)]
    with edited(model, [Edit(Site(name, 1), mx.zeros_like) for name in ("attn_out", "mlp_out")]):
        found = states(model, sites)
    np.testing.assert_allclose(found[sites[0]], found[sites[1]], atol=1e-6)


def test_an_edit_is_seen_where_it_is_made_and_before_it_nothing_changes(model):
    plain = states(model, [Site("resid_post", k) for k in range(3)])
    for name in ("attn_out", "mlp_out"):
        with edited(model, [Edit(Site(name, 1), lambda h: h + 0.5)]):
            moved = states(model, list(plain))
        assert np.array_equal(moved[Site("resid_post", 0)], plain[Site("resid_post", 0)])
        if name == "mlp_out":  # the last to write: exactly so much more in the stream
            step = moved[Site("resid_post", 1)] - plain[Site("resid_post", 1)]
            np.testing.assert_allclose(step, 0.5, atol=1e-5)


def test_a_head_and_a_neuron_are_columns(llama):
    """Taking head 2 out of z takes its head_out out of attn_out, and likewise for a neuron."""
    head, out, by_head = 2, Site("attn_out", 1), Site("head_out", 1)
    plain = states(llama, [out, by_head])
    keep = mx.array(np.repeat(np.arange(4) != head, 8).astype(np.float32))
    with edited(llama, [Edit(Site("z", 1), lambda z: z * keep)]):
        moved = states(llama, [out])[out]
    alone = plain[by_head].reshape(1, 5, 4, -1)[:, :, head]
    np.testing.assert_allclose(moved, plain[out] - alone, atol=1e-5)


def test_sites_that_are_only_read_and_layers_that_there_are_not(llama):
    for name in ("resid_mid", "q_proj", "attn_pattern"):
        with raises(UsageError, "site-not-editable", site=name):
            with edited(llama, [Edit(Site(name, 0), mx.zeros_like)]):
                pass
    with raises(UsageError, "layer-out-of-range", layer=3, n_layers=3):
        with edited(llama, [Edit(Site("mlp_out", 3), mx.zeros_like)]):
            pass


def difference(logits):
    return logits[0, -1, 7] - logits[0, -1, 9]


def test_gradients_are_finite_differences(model):
    names = [
        n for n, entry in SITES.items() if entry.editable and n not in ("z", "mlp_act", "embed")
    ]
    sites = [Site(name, 1) for name in names] + [EMBED, Site("z", 2), Site("mlp_act", 0)]
    found = site_gradients(model, IDS, sites, difference)
    rng = np.random.default_rng(0)
    for site in sites:
        gradient = np.array(found.gradients[site])
        step = rng.standard_normal(gradient.shape).astype(np.float32)
        size = 2e-2 * np.abs(np.array(found.values[site])).mean() / np.abs(step).mean()
        ends = []
        for sign in (1, -1):
            move = mx.array((sign * size * step).astype(np.float32))
            with edited(model, [Edit(site, partial(mx.add, move))]):
                ends.append(difference(model.network(IDS).astype(mx.float32)).item())
        slope = (ends[0] - ends[1]) / (2 * size)
        expected = float((gradient * step).sum())
        rounding = float(2e-6 * np.abs(ends).max() / size)
        assert slope == pytest.approx(expected, rel=0.02, abs=rounding), site
    assert found.value == pytest.approx(difference(model.network(IDS)).item(), abs=1e-4)


def test_the_network_is_left_as_it_was(llama):
    site_gradients(llama, IDS, [Site("resid_post", 0)], difference)
    assert not llama.network.training
    plain = np.array(llama.network(IDS))
    with edited(llama, [Edit(Site("mlp_out", 0), mx.zeros_like)]):
        pass_ = np.array(llama.network(IDS))
    assert not np.array_equal(pass_, plain)
    assert np.array_equal(np.array(llama.network(IDS)), plain)
