import numpy as np

from circuit.methods.linear.unit_vectors import random_unit_vectors


def test_vectors_have_unit_norm_and_no_preferred_direction():
    drawn = random_unit_vectors(np.random.default_rng(0), (4000, 8))
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    # E v vᵀ = I / d
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), np.eye(8) / 8, atol=0.01)


def test_seeds_and_shapes_recorded_in_results_keep_their_vectors():
    # Results name seeds: the same seed must give the same controls in every version.
    first = random_unit_vectors(np.random.default_rng(7), (2, 3))
    expected = [0.003033931367099285, 0.7367970943450928, -0.6761071085929871]
    assert first[0].tolist() == expected
    stacked = random_unit_vectors(np.random.default_rng(7), (1, 2, 3))
    assert np.array_equal(stacked[0], first)
