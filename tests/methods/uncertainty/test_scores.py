import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from circuit.errors import DataError
from circuit.methods.uncertainty import scores

small = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(small, small)
def test_auroc_is_that_of_scikit_learn(positive, negative):
    y = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(y, positive + negative)
    assert scores.auroc(np.array(positive), np.array(negative)) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(small, small)
def test_auroc_is_invariant_to_monotone_maps_and_antisymmetric(positive, negative):
    p, q = np.array(positive, float), np.array(negative, float)
    assert scores.auroc(np.exp(p), np.exp(q)) == pytest.approx(scores.auroc(p, q))
    assert scores.auroc(q, p) == pytest.approx(1 - scores.auroc(p, q))


def test_auroc_needs_both_classes():
    with raises(DataError, "empty-class", n_positive=0, n_negative=1):
        scores.auroc(np.array([]), np.array([1.0]))


def test_macro_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, s = rng.integers(0, 4, 80), rng.random((80, 4))
    expected = np.mean([roc_auc_score(y == c, s[:, c]) for c in range(4)])
    assert scores.macro_auroc(s, y) == pytest.approx(expected)


def test_d_prime_of_shifted_normals_is_the_shift():
    rng = np.random.default_rng(0)
    assert scores.d_prime(rng.normal(2, 1, 20000), rng.normal(0, 1, 20000)) == pytest.approx(
        2, abs=0.05
    )
    assert scores.d_prime(np.ones(3), np.ones(3)) == 0


def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    assert scores.balanced_accuracy(y, predicted) == pytest.approx(
        balanced_accuracy_score(y, predicted)
    )


def test_wilson_is_the_published_interval():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20
    assert scores.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert scores.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert scores.wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_pairs_in_order_are_counted_with_ties_as_halves(n, seed):
    rng = np.random.default_rng(seed)
    s = rng.integers(-3, 4, (n, 5, 2)) / 3 * (1 + 1e-14 * rng.random((n, 5, 2)))
    positive = rng.random(s.shape) < 0.5
    won, pairs = scores.pairs_in_order(s, positive)
    gap = (s[:, None] - s[None]) * (abs(s[:, None] - s[None]) > 1e-9)
    both = positive[:, None] & ~positive[None]
    np.testing.assert_array_equal(won, (both * (np.sign(gap) + 1) / 2).sum(axis=(0, 1)))
    np.testing.assert_array_equal(pairs, both.sum(axis=(0, 1)))
