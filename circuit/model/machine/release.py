"""Free the memory of unreferenced models before the next one is loaded."""

import gc

import mlx.core as mx


def release() -> None:
    """Collect unreferenced objects, cycles included, and empty MLX's cache."""
    gc.collect()
    mx.clear_cache()
