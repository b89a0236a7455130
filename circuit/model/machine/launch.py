"""Which of several processes this is, when MLX's launcher started it, and what they must agree on.

``mlx.launch -n 4 -- circuit collect …`` (ring, over TCP) sets ``MLX_RANK``, Open MPI a variable of its own. Without
them nothing is asked, because looking for a network takes time.

Processes that collect a part each share nothing but the folder that they write to, so none ever waits
for another. With a model that is split over them (``--tensor-parallel``) all run the same batches.
"""

import os
from collections.abc import Collection
from typing import Any

from circuit.errors import UsageError

# What MLX's launcher and mpirun set. A batch system sets others for every job, which say nothing of MLX.
RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK")


def launched_group() -> Any | None:
    """Return the group of launched processes, or None when this one is alone."""
    if not any(name in os.environ for name in RANKS):
        return None
    import mlx.core as mx

    try:
        group = mx.distributed.init(strict=True)
    except RuntimeError as error:
        message = (
            f"this process was launched as one of several, but cannot find the others: {error}"
        )
        raise UsageError(message, hint="start it with mlx.launch, or use --shard i/n") from error
    return None if group.size() == 1 else group


def least(group: Any, value: int) -> int:
    """Return the smallest of the processes' values; each must ask."""
    import mlx.core as mx

    found: Any = mx.distributed.all_min(mx.array(value), group=group).item()
    return int(found)


def said_by_first(group: Any, units: Collection[int] | None, n: int) -> set[int] | None:
    """Return the set of units below ``n`` that the first process gives, or its None; each must ask."""
    import mlx.core as mx
    import numpy as np

    said = np.zeros(n + 1, np.int32)
    if group.rank() == 0:
        said[list(units or ())] = 1
        said[n] = units is None
    heard = np.array(mx.distributed.all_sum(mx.array(said), group=group))
    return None if heard[n] else set(np.flatnonzero(heard[:n]).tolist())
