"""Attention on a Linux processor: the same function by an operation that MLX has a fast version of.

With queries of head h, and keys and values of its group,

    out[h, t] = Σ_s p[h, t, s] · v[s],    p[h, t, ·] ∝ 2^(log2 e · scale · q[h, t] · k[s] - largest)

where s runs over the keys that token t sees. MLX computes e^x at 12 ns an element there and selects
by a mask at up to 5; ``powf`` takes 4 and adding a mask less than 1 (see ``silu``). At 550 keys
that is a third of the time of attention. It serves calls of several float32 queries that are causal
or see everything. Others (one query, masks that are arrays, sinks, quantised caches) go to mlx-lm's
own function.
"""

import math
from collections.abc import Callable

import mlx.core as mx

from circuit.model.machine.faster import is_slow_here, replace_function

NAME = "scaled_dot_product_attention"
_mlx_lms: Callable[..., mx.array] | None = None


def use_fast_softmax() -> None:
    """Make models that are loaded later use this attention, where it is faster."""
    global _mlx_lms
    from mlx_lm.models import base

    if is_slow_here() and base.scaled_dot_product_attention is not attend:
        _mlx_lms = base.scaled_dot_product_attention
        replace_function(NAME, _mlx_lms, attend)


def attend(  # noqa: PLR0917 - the signature is mlx-lm's
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: object,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """Return the attention (B, n_heads, T, d) of queries to keys and values of at most n_heads."""
    if _is_plain(queries, keys, values, mask, sinks) and not hasattr(cache, "bits"):
        return _attend(queries, keys, values, float(scale), causal=mask is not None)
    assert _mlx_lms is not None
    return _mlx_lms(queries, keys, values, cache, scale=scale, mask=mask, sinks=sinks)


def _is_plain(queries: mx.array, keys: object, values: object, mask: object, sinks: object) -> bool:
    if sinks is not None or not (mask is None or (isinstance(mask, str) and mask == "causal")):
        return False
    if any(not isinstance(a, mx.array) or a.dtype != mx.float32 for a in (queries, keys, values)):
        return False
    return isinstance(keys, mx.array) and 1 < queries.shape[2] <= keys.shape[2]


def _attend(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, *, causal: bool
) -> mx.array:
    length, n_keys, groups = queries.shape[2], keys.shape[2], keys.shape[1]
    scaled = mx.unflatten(queries * (scale * math.log2(math.e)), 1, (groups, -1))
    scores = scaled @ mx.expand_dims(keys.swapaxes(-1, -2), 2)
    if causal:
        seen = mx.arange(n_keys - length, n_keys)[:, None] >= mx.arange(n_keys)
        # 2^-inf is a case of its own in powf; of a large negative number it is its slowest one.
        scores = scores + mx.where(seen, 0.0, -mx.inf)
    largest = mx.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = mx.power(2.0, scores - largest)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return mx.flatten(weights @ mx.expand_dims(values, 2), 1, 2)
