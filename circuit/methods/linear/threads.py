"""One thread for many small matrix products.

A probe is thousands of products of a few hundred rows. Each is over in microseconds, so waking a second thread costs more
than it gives, and on a machine that is busy the threads wait for each other: a battery of 16 probes took 10 times as
long with two BLAS threads as with one, on two cores with other work. Large matrices keep all threads, or better: ``side_by_side``
puts whole layers on the cores, one thread each, because a decomposition hardly gains from a second one.
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
    """Hold every BLAS that is loaded, and OpenMP, to one thread, and give the others back at the end."""
    with _controller().limit(limits=1):
        yield


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with one BLAS thread unless an array among its arguments is large."""

    @wraps(function)
    def calmed(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(isinstance(arg, np.ndarray) and arg.size > LARGE for arg in args):
            return function(*args, **kwargs)
        with one_blas_thread():
            return function(*args, **kwargs)

    return calmed


def parallel_map(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Iterator[R]:
    """Apply ``function`` to ``items`` in threads and yield the results in order; no more than ``workers`` items are held."""
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
    """How many arrays of ``size`` elements to work on at once: one for each core when they are large."""
    if size <= LARGE:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _controller() -> Any:
    # Only what is loaded is found, and looking takes milliseconds: once, when all have come.
    import scipy.linalg  # noqa: F401 -- scipy has a BLAS of its own
    import sklearn.cluster  # noqa: F401 -- and k-means an OpenMP
    from sklearn.utils.parallel import ThreadpoolController

    return ThreadpoolController()
