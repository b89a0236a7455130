"""Give the memory of models that nothing refers to any more back to the machine, before the next is loaded."""

import gc

import mlx.core as mx


def release() -> None:
    """Collect what is not referred to, cycles included, and empty MLX's cache."""
    gc.collect()
    mx.clear_cache()
