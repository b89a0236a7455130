"""The faster attention is attention."""

import sys

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.model.checkpoint.loading import load_model
from circuit.model.machine import softmax as fast

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX's own is used")


@pytest.fixture(autouse=True, scope="module")
def _in_place():
    load_model("tiny")


def made(batch=2, heads=4, groups=2, length=5, cached=0, width=8, size=1.0, dtype=mx.float32):
    shapes = [(batch, heads, length, width)] + 2 * [(batch, groups, cached + length, width)]
    return [(size * mx.random.normal(shape)).astype(dtype) for shape in shapes]


def defined(queries, keys, values, scale, causal):
    """Return the definition, in float64, query by query."""
    q, k, v = (np.array(a).astype(np.float64) for a in (queries, keys, values))
    each, behind = q.shape[1] // k.shape[1], k.shape[2] - q.shape[2]
    out = np.empty((*q.shape[:3], v.shape[-1]))
    for batch, head, t in np.ndindex(q.shape[:3]):
        seen = slice(0, behind + t + 1 if causal else None)
        scores = scale * k[batch, head // each, seen] @ q[batch, head, t]
        weights = np.exp(scores - scores.max())
        out[batch, head, t] = weights / weights.sum() @ v[batch, head // each, seen]
    return out


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(2, 40),
    cached=st.integers(0, 30),
    groups=st.sampled_from([1, 2, 4]),
    mask=st.sampled_from(["causal", None]),
    size=st.floats(0.01, 6.0),
)
def test_it_equals_the_definition(length, cached, groups, mask, size):
    arrays = made(length=length, cached=cached, groups=groups, size=size)
    ours = fast.attend(*arrays, None, scale=0.3, mask=mask)
    expected = defined(*arrays, 0.3, mask is not None)
    # Scores of some hundreds are rounded before anything is made of them, here and everywhere.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * size * max(1.0, size**2))


def test_an_unseen_key_counts_nothing_however_large_it_is():
    queries, keys, values = made(length=6)
    keys[:, :, 4:], values[:, :, 4:] = 1e6, 1e30
    whole = fast.attend(queries, keys, values, None, scale=1.0, mask="causal")
    part = fast.attend(
        *(a[:, :, :4] for a in (queries, keys, values)), None, scale=1.0, mask="causal"
    )
    np.testing.assert_allclose(np.array(whole)[:, :, :4], np.array(part), rtol=1e-6)


def test_gradients_are_those_of_mlxs_own():
    arrays = made(length=7, cached=3)

    def total(attend):
        return lambda *a: (attend(*a) ** 2).sum()

    def stock(*a):
        return mx.fast.scaled_dot_product_attention(*a, scale=0.3, mask="causal")

    def ours(*a):
        return fast.attend(*a, None, scale=0.3, mask="causal")

    found, expected = (mx.grad(total(f), argnums=(0, 1, 2))(*arrays) for f in (ours, stock))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"mask": mx.ones((5, 5), dtype=mx.bool_)},
        {"mask": mx.zeros((5, 5))},
        {"sinks": mx.zeros((4,))},
        {"length": 1},
        {"dtype": mx.bfloat16, "mask": "causal"},
    ],
)
def test_other_calls_are_mlxs_own(change):
    options = {"mask": None, "sinks": None, **change}
    shape = {k: options.pop(k) for k in ("length", "dtype") if k in options}
    arrays = made(**shape)
    ours = fast.attend(*arrays, None, scale=0.3, **options)
    assert mx.array_equal(ours, mx.fast.scaled_dot_product_attention(*arrays, scale=0.3, **options))


def test_models_use_it():
    import mlx_lm.models.llama as module

    assert module.scaled_dot_product_attention is fast.attend
