"""Operators of steering equal their formulas; a new operator is one entry of the table."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import unit_vector
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.errors import UsageError
from circuit.model.interventions.operators import OPERATORS, Operator, Step, find_operator
from circuit.model.interventions.steering import Steering, steered
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

D = 7
SEEDS = st.integers(0, 2**32 - 1)
DOSES = st.floats(-1, 1).filter(lambda c: abs(c) > 1e-3)


def drawn(seed, n=5):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(D)
    return rng.standard_normal((n, D)).astype(np.float32), (v / np.linalg.norm(v)).astype(
        np.float32
    )


def applied(name, h, v, c, amount=None, plane=None):
    a = c if amount is None else amount
    plane = None if plane is None else mx.array(plane)
    return np.array(OPERATORS[name].move(mx.array(h), Step(mx.array(v), c, a, plane)))


@settings(max_examples=25, deadline=None)
@given(SEEDS, DOSES)
def test_along_v_and_across_it(seed, c):
    h, v = drawn(seed)
    across = h - (h @ v)[:, None] * v
    for name, along in {
        "add": h @ v + 2 * c,
        "affine": np.full(len(h), 2 * c),
        "clamp": np.maximum(h @ v, 2 * c) if c > 0 else np.minimum(h @ v, 2 * c),
        "ablate": (1 - c) * (h @ v),
    }.items():
        moved = applied(name, h, v, c, 2 * c)
        np.testing.assert_allclose(moved @ v, along, atol=1e-5)
        np.testing.assert_allclose(moved - (moved @ v)[:, None] * v, across, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(SEEDS, DOSES)
def test_norms_that_stay(seed, c):
    h, v = drawn(seed)
    plane = drawn(seed + 1)[1]
    length = np.linalg.norm(h, axis=1)
    for name, second in (("preserve", None), ("angular", None), ("angular", plane)):
        moved = applied(name, h, v, c, 3 * c, second)
        np.testing.assert_allclose(np.linalg.norm(moved, axis=1), length, rtol=1e-4)


def test_ablation_is_idempotent_and_twice_of_it_reflects():
    h, v = drawn(0)
    once = applied("ablate", h, v, 1.0)
    np.testing.assert_allclose(applied("ablate", once, v, 1.0), once, atol=1e-6)
    np.testing.assert_allclose(once @ v, 0, atol=1e-6)
    there = applied("ablate", h, v, 2.0)
    np.testing.assert_allclose(applied("ablate", there, v, 2.0), h, atol=1e-6)


@pytest.mark.parametrize("plane", [None, "given"])
@pytest.mark.parametrize("c", [1.0, -1.0])
def test_turning_all_the_way_ends_at_v(plane, c):
    h, v = drawn(3)
    second = None if plane is None else drawn(4)[1]
    moved = applied("angular", h, v, c, plane=second)
    if plane is None:  # the whole of h turns
        np.testing.assert_allclose(moved, c * np.linalg.norm(h, axis=1)[:, None] * v, atol=1e-4)
        return
    w = second - (second @ v) * v
    w /= np.linalg.norm(w)
    np.testing.assert_allclose(moved @ w, 0, atol=1e-5)
    np.testing.assert_allclose(c * (moved @ v), np.hypot(h @ v, h @ w), rtol=1e-4)
    rest = h - (h @ v)[:, None] * v - (h @ w)[:, None] * w
    np.testing.assert_allclose(
        moved - (moved @ v)[:, None] * v - (moved @ w)[:, None] * w, rest, atol=1e-5
    )


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.05, 0.95))
def test_an_angle_shrinks_by_its_share(seed, c):
    h, v = drawn(seed)
    before = np.arccos(np.clip(h @ v / np.linalg.norm(h, axis=1), -1, 1))
    moved = applied("angular", h, v, c)
    after = np.arccos(np.clip(moved @ v / np.linalg.norm(h, axis=1), -1, 1))
    np.testing.assert_allclose(after, (1 - c) * before, atol=2e-3)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_residual_of_zero_stays_a_number(name):
    v = drawn(0)[1]
    assert np.isfinite(applied(name, np.zeros((1, D), np.float32), v, 0.5, 0.0)).all()


def test_unknown_operators_and_coefficients_out_of_range_are_refused():
    with raises(UsageError, "unknown-operator", operator="turn"):
        find_operator("turn")
    with raises(UsageError, "coefficient-out-of-range", operator="angular", coefficient=-1.5):
        find_operator("angular", -1.5)


def test_a_new_operator_is_one_entry_with_its_own_bounds(llama, monkeypatch):
    def scale(h, step):
        return h * (1 + step.coefficient)

    monkeypatch.setitem(OPERATORS, "scale", Operator(scale, takes_fraction=True, largest=0.5))
    site, ids = Site("resid_post", 1), mx.array([[1, 2, 3]])
    plain = np.array(hidden_states(llama, ids, [site])[site])
    vector = unit_vector(llama.d_model)
    with steered(llama, [Steering(site, vector, 0.5, operator="scale")]):
        moved = np.array(hidden_states(llama, ids, [site])[site])
    np.testing.assert_allclose(moved, 1.5 * plain, rtol=1e-6)
    with raises(UsageError, "coefficient-out-of-range", operator="scale"):
        with steered(llama, [Steering(site, vector, 0.6, operator="scale")]):
            pass
