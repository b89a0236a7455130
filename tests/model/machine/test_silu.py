"""The faster silu is silu."""

import sys

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.model.checkpoint.loading import load_model
from circuit.model.machine import silu as fast


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50))
def test_it_equals_the_definition(values):
    x = np.array(values, np.float32)
    expected = x.astype(np.float64) / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))
    ours = np.array(fast.silu(mx.array(x)))
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-30)
    small = np.abs(x) < 10
    np.testing.assert_allclose(ours[small], expected[small], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("x", [-1e30, -200.0, -87.0, 0.0, 3.0, 1e30])
def test_its_gradient_is_finite_and_right(x):
    found = mx.grad(lambda a: fast.silu(a).sum())(mx.array([x])).item()
    s = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    assert found == pytest.approx(s * (1 + x * (1 - s)), rel=1e-4, abs=1e-6)


def test_other_dtypes_are_mlxs_own(tmp_path):
    x = mx.random.normal((64,)).astype(mx.bfloat16)
    assert mx.array_equal(fast.silu(x), x * mx.sigmoid(x))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX's own is used")
def test_models_use_it(llama):
    import mlx_lm.models.llama as module

    assert load_model("tiny").n_layers == 6
    assert module.swiglu is fast.swiglu
    assert nn.silu is fast.silu
    gate, x = mx.random.normal((2, 40)), mx.random.normal((2, 40))
    np.testing.assert_allclose(
        np.array(module.swiglu(gate, x)),
        np.array(gate * mx.sigmoid(gate) * x),
        rtol=1e-5,
        atol=1e-6,
    )
