"""Coherence of a text from its tokens: counted by hand, and the bounds that must hold for any text."""

import numpy as np
import pytest

from circuit.methods.steering.coherence import (
    collapsed,
    distinct_n,
    entropy,
    mean_nll,
    repeated_n,
    repetition,
)


def test_counted_by_hand():
    ids = [1, 2, 1, 2, 3]  # bigrams 12 21 12 23
    assert distinct_n(ids, 1) == pytest.approx(3 / 5)
    assert distinct_n(ids, 2) == pytest.approx(3 / 4)
    assert repeated_n(ids, 2) == pytest.approx(1 / 4)
    assert entropy(ids) == pytest.approx(-(2 * 0.4 * np.log(0.4) + 0.2 * np.log(0.2)))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_text_without_repeats_has_none(n):
    assert distinct_n(range(20), n) == 1.0
    assert repeated_n(range(20), n) == 0.0
    assert entropy(range(20)) == pytest.approx(np.log(20))


@pytest.mark.parametrize("ids", [[], [5]])
def test_a_text_too_short_for_an_n_gram_repeats_none(ids):
    assert (distinct_n(ids, 2), repeated_n(ids, 4), entropy(ids)) == (1.0, 0.0, 0.0)
    assert not collapsed(ids)


@pytest.mark.parametrize(
    ("ids", "loop"),
    [
        ([7] * 8, True),
        ([1, 2, 3] * 6, True),
        ([9, 1, 9, 2, 9, 3, 9, 4, 9], True),  # one token is more than half
        (list(range(30)), False),
        ([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4], False),  # one phrase said twice
        ([7] * 7, False),  # too short to say
    ],
)
def test_a_loop_is_a_collapse_and_a_phrase_said_twice_is_not(ids, loop):
    assert collapsed(ids) is loop


def test_a_permutation_of_tokens_keeps_the_entropy():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, 50)
    assert entropy(rng.permutation(ids)) == pytest.approx(entropy(ids))
    assert 0 <= entropy(ids) <= np.log(9)


def test_every_measure_of_a_text_by_its_name():
    ids = [1, 2, 3] * 6
    found = repetition(ids)
    assert found.distinct_1 == distinct_n(ids, 1)
    assert found.distinct_2 == distinct_n(ids, 2)
    assert found.repeated_4 == repeated_n(ids, 4)
    assert (found.entropy, found.collapsed) == (entropy(ids), True)


def test_mean_nll_of_an_empty_text_is_none():
    assert mean_nll(np.array([])) is None
    assert mean_nll(np.log(np.array([0.5, 0.25]))) == pytest.approx(1.5 * np.log(2))
