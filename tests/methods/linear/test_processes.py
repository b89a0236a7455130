"""Work in several processes is the same work: results in order, equal to the bit, errors with all that they say."""

import os
import pickle

import numpy as np
import pytest
from errors import raises

from circuit.errors import DataError, UsageError
from circuit.methods.linear.processes import in_processes
from circuit.methods.probes.probing import cross_validated_probe


def probed(seed: int) -> tuple[int, bytes]:
    rng = np.random.default_rng(seed)
    y = np.arange(60) % 2
    found = cross_validated_probe(
        rng.normal(size=(60, 20)) + y[:, None], y, np.arange(60) // 2, n_boot=50, n_shuffles=50
    )
    return os.getpid(), found.scores.tobytes() + found.null.permuted.tobytes()


def refused(number: int) -> int:
    if number == 2:
        raise DataError("one-class", f"piece {number} has one class", hint="add some", n=number)
    return number


def test_results_are_the_same_in_any_number_of_processes():
    alone = list(in_processes(probed, range(4), workers=1))
    apart = list(in_processes(probed, range(4), workers=2))
    assert [result for _, result in apart] == [result for _, result in alone]
    assert {process for process, _ in alone} == {os.getpid()}
    assert os.getpid() not in {process for process, _ in apart}


def test_an_error_of_a_worker_is_a_users_error():
    with raises(DataError, "one-class", n=2) as caught:
        list(in_processes(refused, range(4), workers=2))
    assert caught.value.hint == "add some"


@pytest.mark.parametrize("kind", [UsageError, DataError])
def test_errors_cross_processes(kind):
    error = kind("a-code", "a sentence", hint="a hint", layer=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))
