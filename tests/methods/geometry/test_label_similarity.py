"""Means of similarities, with groups of several rows that are drawn whole."""

import numpy as np
import pytest

from circuit.methods.geometry.label_similarity import _mean_over, separation


def test_copies_of_a_group_are_not_compared():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(12, 12))
    S = S + S.T
    y, groups, w = np.arange(12) % 2, np.arange(12) // 3, np.array([0, 1, 2, 3])
    for chosen in (y[:, None] == y[None, :], y[:, None] != y[None, :]):
        total = weight = 0.0
        for i in range(12):
            for j in range(12):
                if i != j and chosen[i, j]:
                    g, h = groups[i], groups[j]
                    each = w[g] if g == h else w[g] * w[h]
                    total, weight = total + each * S[i, j], weight + each
        found = _mean_over(S, chosen, groups)(w[groups][None].astype(float))[0]
        assert found == pytest.approx(total / weight)


def test_resamples_lie_around_the_value_where_groups_hold_both_labels():
    """Rows of one group are alike, which squared weights would count twice."""
    rng = np.random.default_rng(1)
    offset = np.repeat(rng.normal(size=(12, 20)), 4, axis=0)
    H = offset + 0.3 * rng.normal(size=(48, 20))
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    groups = np.arange(48) // 4
    found = separation(H @ H.T, ["a", "b"] * 24, [f"g{g}" for g in groups], n_shuffles=9)
    value, low, high = found.between
    assert abs((low + high) / 2 - value) < 0.5 * (high - low) / 2
