"""p-values by counting: uniform under the null, and never smaller than the number of draws allows."""

import numpy as np
import pytest

from circuit.methods.uncertainty.p_values import control_p, permutation_p


@pytest.mark.parametrize("p", [control_p, permutation_p])
def test_no_draws_give_no_p(p):
    assert p(1.0, []) is None


def test_a_permutation_test_is_one_sided():
    assert permutation_p(0.6, [0.5, 0.55, 0.7]) == 2 / 4
    assert permutation_p(0.4, [0.5, 0.55, 0.7]) == 1


def test_controls_count_whatever_their_sign_and_that_of_the_effect():
    controls = [-0.3, 0.1, 0.2]
    assert control_p(0.25, controls) == control_p(-0.25, controls) == 2 / 4
    assert control_p(-0.4, controls) == 1 / 4


def test_equal_effects_are_ties_whatever_their_rounding():
    assert 0.3 - 0.1 < 0.2
    assert control_p(0.2, [0.3 - 0.1]) == 1
    assert permutation_p(0.2, [0.3 - 0.1]) == 1


def test_the_p_of_one_vector_among_its_equals_is_uniform():
    draws = np.random.default_rng(0).normal(size=(4000, 20))
    ps = np.array([control_p(row[0], row[1:]) for row in draws])
    for level in (0.05, 0.25, 0.5):
        assert np.mean(ps <= level + 1e-12) == pytest.approx(level, abs=0.02)
