import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from mlx.utils import tree_flatten

from circuit.model.checkpoint.loading import load_model
from circuit.model.checkpoint.random_weights import randomise
from circuit.values.sites import Site


def parameters(model):
    return {
        name: np.array(array.astype(mx.float32))
        for name, array in tree_flatten(model.network.parameters())
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("plain"))


def test_matrices_are_drawn_again_with_their_mean_and_spread_and_vectors_stay(folder):
    before = parameters(load_model(str(folder)))
    after = parameters(randomise(load_model(str(folder))))
    assert before.keys() == after.keys()
    for name, array in before.items():
        if array.ndim < 2:
            np.testing.assert_array_equal(after[name], array)
            continue
        assert abs(np.corrcoef(array.ravel(), after[name].ravel())[0, 1]) < 0.15, name
        assert after[name].std() == pytest.approx(array.std(), rel=0.1)
        assert after[name].mean() == pytest.approx(array.mean(), abs=0.1 * float(array.std()))


def test_a_seed_is_a_model(folder):
    a, b, c = (parameters(randomise(load_model(str(folder)), seed=seed)) for seed in (0, 0, 1))
    assert all((a[name] == b[name]).all() for name in a)
    assert any((a[name] != c[name]).any() for name in a)


def test_its_identity_is_not_the_checkpoints(folder):
    trained = load_model(str(folder))
    plain = trained.identity
    random, other = (randomise(load_model(str(folder)), seed=seed).identity for seed in (0, 1))
    assert random.id == f"{plain.id} (random weights, seed 0)"
    assert len({plain.weights_sha256, random.weights_sha256, other.weights_sha256}) == 3
    assert random.config_sha256 == plain.config_sha256


def test_its_states_are_finite_and_of_the_same_order_and_other_ones():
    from circuit.model.sites.sites import hidden_states

    tokens = mx.array([[5, 80, 200, 33, 7]])
    trained = load_model("tiny")
    at = [Site("resid_post", layer) for layer in range(trained.n_layers)]
    before = hidden_states(trained, tokens, at)
    before = {site: np.array(before[site]) for site in at}
    after = hidden_states(randomise(load_model("tiny")), tokens, at)
    for site in at:
        ours, theirs = np.array(after[site])[0, -1], before[site][0, -1]
        assert np.isfinite(ours).all()
        assert 0.05 < np.linalg.norm(ours) / np.linalg.norm(theirs) < 20
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert abs(cosine) < 0.5


def test_quantised_layers_are_drawn_in_full_precision(tmp_path):
    import mlx.nn as nn

    model = load_model(str(write_checkpoint(tmp_path)))
    nn.quantize(model.network, group_size=32, bits=4)
    random = randomise(model)
    assert not any("scales" in name for name in parameters(random))
    assert random.identity.quantization is None
