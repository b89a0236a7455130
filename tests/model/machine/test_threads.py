"""Work in threads: results in order, errors to the caller, and a program that ends."""

import subprocess
import sys
import threading
import time

import pytest

from circuit.model.machine.runtime import in_threads


def slow_square(n):
    time.sleep(0.02 * (3 - n % 3))
    return n * n, threading.current_thread().name


def test_results_come_in_order_from_several_threads():
    found = list(in_threads(64, 2, range(6), slow_square))
    assert [value for value, _ in found] == [n * n for n in range(6)]
    assert len({name for _, name in found}) == 2
    again = {name for _, name in in_threads(64, 2, range(6), slow_square)}
    assert again == {name for _, name in found}  # threads are kept


def test_an_error_in_a_thread_is_the_callers():
    def fails(n):
        return 1 // n

    with pytest.raises(ZeroDivisionError):
        list(in_threads(64, 2, [1, 0, 2], fails))
    assert list(in_threads(64, 2, [1], fails)) == [1]


def test_a_program_that_compiled_something_in_a_thread_ends():
    """A thread that ended would need the interpreter to free what MLX compiled in it."""
    code = """
from circuit.model.machine.runtime import in_threads, prepare
prepare()
import mlx.core as mx
doubled = mx.compile(lambda x: x + x * 2, shapeless=True)
def work(n):
    y = doubled(mx.ones((n,)))
    mx.eval(y)
    return y.shape
print(list(in_threads(64, 2, [1, 2, 3], work)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[(1,), (2,), (3,)]\n"), done.stderr
