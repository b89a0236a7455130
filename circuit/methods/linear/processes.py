"""Independent pieces of work in one process for each core, results in order.

A probe is many small operations between which Python holds its lock, so threads do not help: four
probes of a battery took 45 s in one thread and 48 s in two. Processes are those of joblib, with one
BLAS thread each; what they compute is equal to the bit, because every piece brings its own seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from circuit.methods.linear.threads import cores

A = TypeVar("A")
R = TypeVar("R")


def in_processes(
    function: Callable[[A], R], items: Sequence[A], *, workers: int | None = None
) -> Iterator[R]:
    """Yield ``function`` of each item, in order, from a worker for each core.

    ``function`` and ``items`` must be picklable. ``workers`` are all cores by default.
    """
    count = min(len(items), cores() if workers is None else workers)
    if count < 2:
        yield from map(function, items)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=count, return_as="generator")(
            delayed(function)(item) for item in items
        )
