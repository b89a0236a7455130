"""Which of several processes this is, when MLX's launcher started it.

``mlx.launch -n 4 -- circuit collect …`` (ring, over TCP) sets ``MLX_RANK``; under MPI the variables are the
implementation's. Without any of them nothing is asked, because looking for a network takes time.
The processes share nothing but the folder that they write to, so none ever waits for another.
"""

import os

from circuit.errors import UsageError

RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank, from 0, and the number of processes: (0, 1) when it was not launched."""
    if not any(name in os.environ for name in RANKS):
        return 0, 1
    import mlx.core as mx

    try:
        group = mx.distributed.init(strict=True)
    except RuntimeError as error:
        message = (
            f"this process was launched as one of several, but cannot find the others: {error}"
        )
        raise UsageError(message, hint="start it with mlx.launch, or use --shard i/n") from error
    return group.rank(), group.size()
