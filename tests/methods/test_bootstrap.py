import numpy as np
import pytest

from circuit.methods.bootstrap import (
    auroc_statistic,
    cluster_bootstrap,
    recall_statistic,
    widening,
)
from circuit.methods.scores import auroc, balanced_accuracy


def test_statistics_with_unit_weights_are_the_plain_scores():
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=40).round(1), rng.integers(0, 2, 40)
    one, fold = np.ones((1, 40)), np.zeros(40, int)
    assert auroc_statistic(s, y == 1, fold)(one)[0] == pytest.approx(auroc(s[y == 1], s[y == 0]))
    assert recall_statistic(y, s > 0)(one)[0] == pytest.approx(balanced_accuracy(y, s > 0))


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    s, y, w = rng.normal(size=20), np.arange(20) % 2, rng.integers(0, 4, 20)
    weighted = auroc_statistic(s, y == 1, np.zeros(20, int))(w[None].astype(float))[0]
    s2, y2 = np.repeat(s, w), np.repeat(y, w)
    assert weighted == pytest.approx(auroc(s2[y2 == 1], s2[y2 == 0]))


def test_folds_are_not_compared_with_each_other():
    s, y = np.array([1.0, 0.0, 101.0, 100.0]), np.array([1, 0, 1, 0])
    one = np.ones((1, 4))
    assert auroc_statistic(s, y == 1, np.array([0, 0, 1, 1]))(one)[0] == 1
    assert auroc_statistic(s, y == 1, np.zeros(4, int))(one)[0] == 0.75


def test_interval_holds_the_estimate_and_narrows_with_groups():
    rng = np.random.default_rng(0)
    widths = []
    for n_groups in (10, 40, 160):
        groups = np.repeat(np.arange(n_groups), 4)
        y = groups % 2
        s = rng.normal(size=len(y)) + y
        statistic = auroc_statistic(s, y == 1, np.zeros(len(y), int))
        e = cluster_bootstrap(statistic, y, groups, n_boot=500, rng=rng)
        assert 0 <= e.low <= e.value <= e.high <= 1
        widths.append(e.high - e.low)
    assert widths[0] > widths[1] > widths[2]


def test_groups_not_rows_are_drawn():
    # 40 copies of each of 8 rows carry no more information than the 8 rows
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=8), np.arange(8) % 2
    intervals = []
    for copies in (1, 40):
        S, Y, G = (np.repeat(x, copies) for x in (s, y, np.arange(8)))
        statistic = auroc_statistic(S, Y == 1, np.zeros(len(S), int))
        intervals.append(
            cluster_bootstrap(statistic, Y, G, n_boot=500, rng=np.random.default_rng(1))
        )
    assert intervals[0] == intervals[1]


def test_two_groups_say_nothing():
    y = np.array([0, 0, 1, 1])
    statistic = auroc_statistic(y * 1.0, y == 1, np.zeros(4, int))
    e = cluster_bootstrap(statistic, y, y, n_boot=100, rng=np.random.default_rng(0))
    assert (e.value, e.low, e.high) == (1, 0, 1)
    assert widening(400, 2) == pytest.approx(2**0.5, rel=0.01)
