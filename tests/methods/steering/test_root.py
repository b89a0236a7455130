"""The strength solver: exact where a power law holds, bounded everywhere, and never silent about a miss."""

import math

import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.errors import DataError
from circuit.methods.steering.root import solve


@pytest.mark.parametrize("curvature", [0.1, 1, 30, 1000])
def test_a_quadratic_is_solved_by_the_first_step(curvature):
    found = solve(lambda c: 0.5 * curvature * c * c, 1.0)
    assert found.converged
    assert len(found.history) <= 3  # steps of more than a factor of 8 are cut
    assert found.c == pytest.approx(math.sqrt(2 / curvature), rel=0.03)


def test_within_a_factor_of_eight_two_evaluations_are_enough():
    assert len(solve(lambda c: 0.5 * 20 * c * c, 1.0).history) == 2


@given(
    st.floats(-6, 4),
    st.floats(0.3, 6),
    st.floats(0.02, 5),
    st.floats(0.5, 40),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_every_saturating_curve_is_solved_or_reported_below(log_scale, power, target, top):
    def f(c):
        x = (c / math.exp(log_scale)) ** power
        return top * x / (1 + x)

    bounds = (2**-10, 2**6)
    found = solve(f, target, bounds=bounds)
    assert len(found.history) <= 12
    if f(bounds[1]) < target * 0.95:
        assert found.status == "below"
    elif f(bounds[0]) > target * 1.05:
        assert found.status == "above"
    elif f(bounds[0]) < target < f(bounds[1]):
        assert found.converged
        assert abs(f(found.c) / target - 1) <= 0.05


@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6), st.floats(0.2, 3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_curve_that_is_not_monotone_is_solved_too(wiggles, target):
    """Smooth ups and downs on a quadratic: more than one root, and one of them is found."""

    def f(c):
        u = math.log(c)
        return (
            c
            * c
            * math.exp(sum(w / (i + 1) * math.sin((i + 1) * u) for i, w in enumerate(wiggles)))
        )

    found = solve(f, target)
    assert found.converged
    assert abs(f(found.c) / target - 1) <= 0.05


def test_a_jump_over_the_target_is_not_called_a_success():
    found = solve(lambda c: 0.1 * c * c if c < 1 else 30 * c, 1.0)
    assert found.status == "unresolved"
    assert len(found.history) <= 12
    assert 0.9 < found.c < 1  # on the side where too little is done
    assert found.value == pytest.approx(0.1, rel=0.2)


def test_zero_lies_below_and_is_bisected():
    found = solve(lambda c: max(0.0, c - 1), 1.0, start=0.5)
    assert found.converged
    assert found.c == pytest.approx(2, rel=0.05)
    assert solve(lambda c: 0.0 * c, 1.0).status == "below"


def test_a_target_below_the_smallest_value_is_above():
    found = solve(lambda c: 5 + c, 1.0)
    assert found.status == "above"
    assert found.c == pytest.approx(2**-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_values_that_are_not_finite_are_refused(bad):
    with raises(DataError, "invalid-value"):
        solve(lambda c: bad if c > 1 else c * 0.01, 1.0)


@pytest.mark.parametrize("target", [0, -1, math.nan, math.inf])
def test_a_target_is_positive(target):
    with raises(DataError, "invalid-bounds"):
        solve(lambda c: c, target)


def test_every_evaluation_is_in_the_history_once():
    seen = []

    def f(c):
        seen.append(c)
        return math.expm1(c) ** 3

    found = solve(f, 2.5)
    assert [c for c, _ in found.history] == seen
    assert len(set(seen)) == len(seen)
