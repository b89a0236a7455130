"""Processes that MLX's launcher started: the group of this one, and what they must agree on.

``mlx.launch -n 4 -- circuit collect …`` (ring, over TCP) sets ``MLX_RANK``, Open MPI a variable of
its own. Without them no group is looked for, because that takes time.

Processes that collect a part each share nothing but the folder that they write to, so none ever
waits for another. With a model that is split over them (``--tensor-parallel``) all run the same
batches.
"""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from circuit.errors import UsageError

if TYPE_CHECKING:
    import mlx.core as mx

# Set by MLX's launcher and by mpirun; a batch system's own variables say nothing about MLX.
RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK")


def launched_group() -> "mx.distributed.Group | None":
    """Return the group of launched processes, or None when this one is alone."""
    if not any(name in os.environ for name in RANKS):
        return None
    import mlx.core as mx

    try:
        group = mx.distributed.init(strict=True)
    except RuntimeError as error:
        raise UsageError(
            "group-not-found",
            f"this process was launched as one of several, but cannot find the others: {error}",
            hint="start it with mlx.launch, or use --shard i/n",
        ) from error
    return None if group.size() == 1 else group


def least(group: "mx.distributed.Group", value: int) -> int:
    """Return the smallest of the processes' values; each must call this."""
    import mlx.core as mx
    import numpy as np

    return int(np.array(mx.distributed.all_min(mx.array(value), group=group)))


def shared_by_first(
    group: "mx.distributed.Group", units: Collection[int] | None, n: int
) -> set[int] | None:
    """Return the units below ``n`` that the first process passes, or None; each must call this."""
    import mlx.core as mx
    import numpy as np

    sent = np.zeros(n + 1, np.int32)
    if group.rank() == 0:
        sent[list(units or ())] = 1
        sent[n] = units is None
    received = np.array(mx.distributed.all_sum(mx.array(sent), group=group))
    return None if received[n] else set(np.flatnonzero(received[:n]).tolist())
