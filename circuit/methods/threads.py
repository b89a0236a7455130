"""One thread for many small matrix products.

A probe is thousands of products of a few hundred rows. Each is over in microseconds, so waking a second thread costs more
than it gives, and on a machine that is busy the threads wait for each other: a battery of 16 probes took 10 times as
long with two BLAS threads as with one, on two cores with other work.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS that is loaded to one thread, and give the others back at the end."""
    from sklearn.utils.parallel import ThreadpoolController

    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield
