"""One thread for many small matrix products.

A probe is thousands of products of a few hundred rows. Each takes microseconds, so waking a second
thread costs more than it saves, and on a busy machine the threads wait for each other: a battery of
16 probes took 10 times as long with two BLAS threads as with one, on two cores with other work.
Large matrices keep all threads, or better: ``parallel_map`` runs whole layers in parallel, one
thread each, because a decomposition hardly gains from a second thread.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LARGE = 2_000_000  # elements


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit every loaded BLAS, and OpenMP, to one thread; restore the limits at the end."""
    with _controller().limit(limits=1):
        yield


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with one BLAS thread unless an array among its arguments is large."""

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(isinstance(arg, np.ndarray) and arg.size > LARGE for arg in args):
            return function(*args, **kwargs)
        with one_blas_thread():
            return function(*args, **kwargs)

    return limited


def parallel_map(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Iterator[R]:
    """Apply ``function`` to ``items`` in threads and yield the results in order.

    At most ``workers`` items are in memory.
    """
    if workers < 2:
        yield from map(function, items)
        return
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def workers_for(size: int) -> int:
    """Return how many arrays of ``size`` elements to process at once: one per core when large."""
    return 1 if size <= LARGE else cores()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _controller() -> Any:
    # It finds loaded libraries only and takes milliseconds: once, after all are loaded.
    import scipy.linalg  # noqa: F401 -- has its own BLAS
    import sklearn.cluster  # noqa: F401 -- has OpenMP, for k-means
    from sklearn.utils.parallel import ThreadpoolController

    return ThreadpoolController()
