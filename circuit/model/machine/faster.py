"""Replace functions of MLX and mlx-lm by equal ones that are faster on a Linux processor.

The MLX wheel is compiled for every x86 processor. What suffers is ``exp``: see ``silu`` and
``softmax``.
"""

import sys
from collections.abc import Callable

import mlx.core as mx

from circuit.model.machine import runtime


def is_slow_here() -> bool:
    """Say whether MLX computes on a Linux processor."""
    return sys.platform == "linux" and runtime.device() == "cpu"


def replace_function(
    name: str, stock: Callable[..., mx.array], faster: Callable[..., mx.array]
) -> None:
    """Replace ``stock`` by ``faster`` under ``name`` in every file of mlx-lm's models.

    Model files bind a name when they are imported, and some are imported already.
    """
    for path, module in list(sys.modules.items()):
        if path.startswith("mlx_lm.models.") and vars(module).get(name) is stock:
            setattr(module, name, faster)
