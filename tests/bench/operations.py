"""Where the time of a block goes on a processor: each operation of the 110M Llama alone, on one core.

    python tests/bench/operations.py [--rows 16] [--length 32]

Processor time, not wall time, of the best of some runs, in ns a token; ``MLX`` is what the wheel does where circuit
puts a faster function in its place (``circuit/model/machine/silu.py``, ``softmax.py``).
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

from common import LLAMA_110M

from circuit.model.machine import runtime
from circuit.model.machine import silu as fast_silu
from circuit.model.machine import softmax as fast_softmax

AT_ONCE, REPEATS = 6, 8


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    chosen = parser.parse_args()
    runtime.share_out_threads(1)
    total, n = 0.0, chosen.rows * chosen.length
    for name, times, work in operations(chosen.rows, chosen.length):
        taken = processor_seconds(work) / n * 1e9
        total += times * taken
        print(f"{name:34s} {times or '-':>2} x {taken:8.0f} ns")
    print(f"{'a block':34s}      {total:8.0f} ns a token")


def operations(rows: int, length: int) -> list[tuple[str, int, Callable[[], object]]]:
    """Return each operation's name, how often a block runs it, and how it is run."""
    import mlx.core as mx
    import mlx.nn as nn

    d, wide = LLAMA_110M["hidden_size"], LLAMA_110M["intermediate_size"]
    heads, each = LLAMA_110M["num_attention_heads"], LLAMA_110M["head_dim"]
    x, gate, up = (mx.random.normal((rows, length, size)) for size in (d, wide, wide))
    square, widen, narrow = (mx.random.normal(s) for s in ((d, d), (wide, d), (d, wide)))
    q, k, v = (mx.random.normal((rows, heads, length, each)) for _ in range(3))
    by_token, ones = mx.random.normal((rows, length, heads, each)), mx.ones(d)
    mx.eval(x, gate, up, square, widen, narrow, q, k, v, by_token, ones)
    rope = nn.RoPE(each)
    attention = partial(mx.fast.scaled_dot_product_attention, q, k, v, scale=0.125, mask="causal")
    return [
        ("product: q, k, v, o", 4, lambda: x @ square.T),
        ("product: gate, up", 2, lambda: x @ widen.T),
        ("product: down", 1, lambda: gate @ narrow.T),
        ("swiglu", 1, lambda: fast_silu.swiglu(gate, up)),
        ("swiglu (MLX)", 0, lambda: gate * mx.sigmoid(gate) * up),
        ("attention", 1, lambda: fast_softmax.attend(q, k, v, None, 0.125, "causal")),
        ("attention (MLX)", 0, attention),
        ("rope", 2, lambda: rope(by_token.swapaxes(1, 2))),
        ("rms_norm", 2, lambda: mx.fast.rms_norm(x, ones, 1e-5)),
        ("residual", 2, lambda: x + x),
    ]


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of one run."""
    import mlx.core as mx

    mx.eval(work())
    taken = []
    for _ in range(REPEATS):
        waiting = [work() for _ in range(AT_ONCE)]
        start = time.process_time()
        mx.eval(waiting)
        taken.append((time.process_time() - start) / AT_ONCE)
    return min(taken)


if __name__ == "__main__":
    main()
