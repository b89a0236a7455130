"""p-values by counting: uniform under the null, and never smaller than the number of draws allows."""

import numpy as np
import pytest

from circuit.methods.uncertainty.p_values import control_p, family_control_p, permutation_p


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


@pytest.mark.parametrize("n", [10, 19, 99, 999])
@pytest.mark.parametrize("noise", ["normal", "t"])
def test_the_p_of_one_vector_among_its_equals_is_uniform(n, noise):
    rng = np.random.default_rng(n)
    repeats = 20_000 if n < 999 else 8_000
    draws = (
        rng.normal(size=(repeats, n + 1))
        if noise == "normal"
        else rng.standard_t(2, (repeats, n + 1))
    )
    ps = np.array([control_p(row[0], row[1:]) for row in draws])
    for reached in (1, 2, 5):
        level = max(reached, round(0.05 * reached * (n + 1))) / (n + 1)
        assert (
            0.8 * level
            <= np.mean(ps <= level + 1e-12)
            <= 1.05 * level + 3 * np.sqrt(level / repeats)
        )


@pytest.mark.parametrize("n", [19, 39])
def test_any_of_several_effects_is_below_the_level_as_often_as_one(n):
    """Effects of one vector at doses of one sign are correlated, and their sizes differ by orders of magnitude."""
    rng, sizes = np.random.default_rng(n), np.array([1, 0.01, 100, 1, 1, 5])
    shared = rng.normal(size=(4000, n + 1, 1))
    effects = (shared + 0.5 * rng.standard_t(3, size=(4000, n + 1, 6))) * sizes
    ps = np.array([family_control_p(each[0], each[1:]) for each in effects])
    assert np.mean(ps.min(axis=1) <= 0.05) == pytest.approx(0.05, abs=0.011)
    assert np.mean(ps[:, 0] <= 0.05) < 0.05


def test_the_family_p_is_the_plain_one_for_one_effect_and_no_smaller_for_more():
    rng = np.random.default_rng(1)
    for _ in range(50):
        controls = rng.normal(size=(19, 4))
        observed = rng.normal(size=4) * 3
        assert family_control_p(observed[:1], controls[:, :1]) == [
            control_p(observed[0], controls[:, 0])
        ]
        alone = [control_p(*each) for each in zip(observed, controls.T, strict=True)]
        together = family_control_p(observed, controls)
        assert all(p >= q for p, q in zip(together, alone, strict=True))


def test_an_effect_that_nothing_has_is_no_effect_and_none_of_no_controls():
    assert family_control_p([0.0, 5.0], np.zeros((19, 2))) == [1.0, 0.05]
    assert family_control_p([1.0, 2.0], np.zeros((0, 2))) == [None, None]
