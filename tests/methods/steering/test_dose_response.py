"""Dose and response: exact on lines, blind to nothing that a mean hides, uniform under the null."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.methods.steering.dose_response import (
    linear_range,
    r_squared,
    response,
    score,
    shape,
    slopes,
)

DOSES = np.array([-1.5, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5])


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_slopes_of_lines_are_exact(lines):
    a, b = np.array(lines).T
    m = a[:, None] + b[:, None] * DOSES
    np.testing.assert_allclose(slopes(DOSES, m), b, atol=1e-9)


def test_the_shape_of_a_line_and_of_a_flat_curve():
    line = shape(DOSES, 3 + 2 * DOSES)
    assert line.r2 == pytest.approx(1)
    assert line.spearman == pytest.approx(1)
    assert line.monotone_frac == 1
    assert line.symmetry == pytest.approx(1)
    assert line.bidirectional
    assert line.linear_range == 1.5
    flat = shape(DOSES, np.full(9, 2.0))
    assert flat.r2 == 0
    assert flat.spearman is None
    assert flat.symmetry is None
    assert not flat.bidirectional


def test_an_effect_of_one_sign_is_not_symmetric():
    hinge = shape(DOSES, np.maximum(DOSES, 0))
    assert hinge.symmetry == 0
    assert not hinge.bidirectional
    assert hinge.slope_positive == pytest.approx(1)


def test_the_linear_range_ends_where_the_curve_saturates():
    assert linear_range(DOSES, np.clip(DOSES, -0.5, 0.5)) == 0.5
    assert linear_range(DOSES, np.tanh(0.1 * DOSES)) == 1.5


def test_the_mean_slope_is_the_slope_of_the_mean_and_hides_the_anti_steerable():
    rng = np.random.default_rng(0)
    b = np.repeat([2.0, -1.0], [30, 10])
    m = rng.normal(size=(40, 1)) + b[:, None] * DOSES
    found = response(DOSES, m, np.arange(40))
    assert found.mean(found.slopes).value == pytest.approx(slopes(DOSES, m.mean(axis=0)[None])[0])
    anti = found.mean((found.slopes < 0).astype(float), (0.0, 1.0))
    assert anti.value == 0.25
    assert 0.1 < anti.low < 0.25 < anti.high < 0.42


def test_the_interval_counts_groups_and_not_prompts():
    rng = np.random.default_rng(1)
    b = np.repeat(rng.normal(size=8), 50)
    m = b[:, None] * DOSES
    by_group = response(DOSES, m, np.repeat(np.arange(8), 50))
    by_prompt = response(DOSES, m, np.arange(400))
    wide, narrow = by_group.mean(by_group.slopes), by_prompt.mean(by_prompt.slopes)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_one_group_has_an_infinite_interval():
    m = np.ones((5, 1)) * DOSES
    found = response(DOSES, m, np.zeros(5, int))
    estimate = found.mean(found.slopes)
    assert estimate.value == pytest.approx(1)
    assert (estimate.low, estimate.high) == (-np.inf, np.inf)


def test_the_interval_of_the_mean_slope_covers():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(200):
        b = 0.5 + rng.normal(size=20)
        found = response(DOSES, b[:, None] * DOSES, np.arange(20), n_boot=200)
        estimate = found.mean(found.slopes)
        hits += estimate.low <= 0.5 <= estimate.high
    assert hits >= 180


def test_the_score_keeps_its_sign_and_needs_thirty_prompts():
    assert score(-2.0, 0.5, 0.5, 30) == pytest.approx(-0.25)
    assert score(2.0, 1.0, 1.0, 29) is None


def test_curves_of_noise_have_little_r_squared():
    noise = np.random.default_rng(4).normal(size=9)
    assert 0 <= r_squared(DOSES, noise) < 0.9
