"""silu on a Linux processor: the same function by an operation that MLX has a fast version of.

The MLX wheel is compiled for every x86 processor, so its ``exp`` calls libm for each fused
multiply-add: 13 to 17 ns an element, which in a gated MLP is a third of the time. ``powf`` takes 5.
Therefore, in float32,

    silu(x) = x / (1 + 2^(-x · log2 e))

which for |x| < 10 differs from the exact value by less than 1e-6 of it, and beyond by the rounding
of the exponent, where the value itself vanishes or is x. Other dtypes, and other machines, compute
what MLX does.
"""

import math

import mlx.core as mx
import mlx.nn as nn
import mlx.nn.layers.activations as layers

from circuit.model.machine.faster import is_slow_here, replace_function

LARGEST = 126.0  # an exponent whose power is finite, so that a gradient is, too
MLX_SILU = nn.silu


def use_fast_silu() -> None:
    """Make models that are loaded later use these functions, where they are faster."""
    if nn.silu is silu or not is_slow_here():
        return
    import mlx_lm.models.activations as activations

    for module in (nn, layers):
        module.silu = silu
    replace_function("swiglu", activations.swiglu, swiglu)


def silu(x: mx.array) -> mx.array:
    """Return x · sigmoid(x), of any shape."""
    if x.dtype != mx.float32:
        stock: mx.array = MLX_SILU(x)
        return stock
    return x / (1 + mx.power(2.0, mx.minimum(x * -math.log2(math.e), LARGEST)))


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """Return silu(gate) · x, as ``mlx_lm.models.activations.swiglu`` does."""
    return silu(gate) * x
