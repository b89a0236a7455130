"""Functions of MLX and mlx-lm that have a faster equal on a Linux processor take its place.

The MLX wheel is compiled for every x86 processor. What suffers is ``exp``: see ``silu`` and ``softmax``.
"""

import sys
from collections.abc import Callable
from typing import Any

from circuit.model.machine import runtime


def is_slow_here() -> bool:
    """Say whether MLX computes on a Linux processor."""
    return sys.platform == "linux" and runtime.device() == "cpu"


def put_in_place(name: str, stock: Callable[..., Any], faster: Callable[..., Any]) -> None:
    """Let ``name`` be ``faster`` in every file of mlx-lm's models where it is ``stock``.

    Model files take a name when they are imported, and some are already.
    """
    for path, module in list(sys.modules.items()):
        if path.startswith("mlx_lm.models.") and vars(module).get(name) is stock:
            setattr(module, name, faster)
