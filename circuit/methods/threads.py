"""One thread for many small matrix products.

A probe is thousands of products of a few hundred rows. Each is over in microseconds, so waking a second thread costs more
than it gives, and on a machine that is busy the threads wait for each other: a battery of 16 probes took 10 times as
long with two BLAS threads as with one, on two cores with other work. Large matrices keep all threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

LARGE = 2_000_000  # elements


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS that is loaded, and OpenMP, to one thread, and give the others back at the end."""
    with _controller().limit(limits=1):
        yield


def calm(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with one BLAS thread unless an array among its arguments is large."""

    @wraps(function)
    def calmed(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(isinstance(arg, np.ndarray) and arg.size > LARGE for arg in args):
            return function(*args, **kwargs)
        with one_blas_thread():
            return function(*args, **kwargs)

    return calmed


@lru_cache(maxsize=1)
def _controller() -> Any:
    # Only what is loaded is found, and looking takes milliseconds: once, when all have come.
    import scipy.linalg  # noqa: F401 -- scipy has a BLAS of its own
    import sklearn.cluster  # noqa: F401 -- and k-means an OpenMP
    from sklearn.utils.parallel import ThreadpoolController

    return ThreadpoolController()
