import math

import numpy as np
import pytest
from scipy.stats import norm, t

from circuit.methods.uncertainty.bootstrap import (
    auroc_statistic,
    cluster_bootstrap,
    recall_statistic,
    resample,
    widening,
)
from circuit.methods.uncertainty.means import mean_estimate
from circuit.methods.uncertainty.scores import auroc, balanced_accuracy


def test_statistics_with_unit_weights_are_the_plain_scores():
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=40).round(1), rng.integers(0, 2, 40)
    one, fold, groups = np.ones((1, 40)), np.zeros(40, int), rng.integers(0, 9, 40)
    assert auroc_statistic(s, y == 1, fold, groups)(one)[0] == pytest.approx(
        auroc(s[y == 1], s[y == 0])
    )
    assert recall_statistic(y, s > 0)(one)[0] == pytest.approx(balanced_accuracy(y, s > 0))


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    s, y, w = rng.normal(size=20), np.arange(20) % 2, rng.integers(0, 4, 20)
    weighted = auroc_statistic(s, y == 1, np.zeros(20, int), np.arange(20))(w[None].astype(float))[
        0
    ]
    s2, y2 = np.repeat(s, w), np.repeat(y, w)
    assert weighted == pytest.approx(auroc(s2[y2 == 1], s2[y2 == 0]))


def test_a_group_of_both_labels_is_compared_with_itself_once_per_copy():
    rng = np.random.default_rng(0)
    s, groups, w = rng.normal(size=24), np.arange(24) // 4, np.array([0, 1, 2, 3, 1, 2])
    y, fold = np.arange(24) % 2, np.arange(24) // 12
    won = compared = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero((y == 0) & (fold == fold[i])):
            g, h = groups[i], groups[j]
            weight = w[g] if g == h else w[g] * w[h]
            won, compared = won + weight * (s[i] > s[j]), compared + weight
    statistic = auroc_statistic(s, y == 1, fold, groups)
    assert statistic(w[groups][None].astype(float))[0] == pytest.approx(won / compared)


def test_resamples_of_pairs_lie_around_the_value_and_cover_the_truth():
    """Groups with an offset of their own hold both labels, so that comparing within them is easier."""
    rng, truth, missed, shifts = np.random.default_rng(1), 0.0, 0, []

    def rows():
        groups = np.repeat(np.arange(24), 8)
        y = np.arange(192) // 4 % 2
        noise = 0.3 * rng.normal(size=192)
        return rng.normal(size=24)[groups] + noise + 0.25 * y, y, groups, groups % 5

    def statistic(s, y, groups, fold):
        return auroc_statistic(s, y == 1, fold, groups)

    truth = np.mean([statistic(*rows())(np.ones((1, 192)))[0] for _ in range(1000)])
    for _ in range(100):
        s, y, groups, fold = rows()
        drawn = resample(y, groups, n_boot=200, rng=rng, cross_fitted=False)
        draws = drawn.draws(statistic(s, y, groups, fold))
        estimate = draws.estimate()
        missed += not estimate.low <= truth <= estimate.high
        shifts.append(draws.draws.mean() - draws.value)
    assert missed <= 5
    assert abs(np.mean(shifts)) < 0.003


def test_folds_are_not_compared_with_each_other():
    s, y = np.array([1.0, 0.0, 101.0, 100.0]), np.array([1, 0, 1, 0])
    one = np.ones((1, 4))
    assert auroc_statistic(s, y == 1, np.array([0, 0, 1, 1]), np.arange(4))(one)[0] == 1
    assert auroc_statistic(s, y == 1, np.zeros(4, int), np.arange(4))(one)[0] == 0.75


def test_interval_holds_the_estimate_and_narrows_with_groups():
    rng = np.random.default_rng(0)
    widths = []
    for n_groups in (10, 40, 160):
        groups = np.repeat(np.arange(n_groups), 4)
        y = groups % 2
        s = rng.normal(size=len(y)) + y
        statistic = auroc_statistic(s, y == 1, np.zeros(len(y), int), groups)
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
        statistic = auroc_statistic(S, Y == 1, np.zeros(len(S), int), G)
        intervals.append(
            cluster_bootstrap(statistic, Y, G, n_boot=500, rng=np.random.default_rng(1))
        )
    assert intervals[0] == intervals[1]


def test_two_groups_give_no_interval():
    y = np.array([0, 0, 1, 1])
    statistic = auroc_statistic(y * 1.0, y == 1, np.zeros(4, int), y)
    e = cluster_bootstrap(statistic, y, y, n_boot=100, rng=np.random.default_rng(0))
    assert (e.value, e.low, e.high) == (1, 0, 1)
    assert widening(np.arange(1000) % 2, folds=5) == pytest.approx(2**0.5, rel=0.01)


def test_groups_count_by_their_rows_and_folds_take_degrees_of_freedom():
    one = np.zeros(10, int)
    # Student's factor for a mean of ten numbers: t(9), and the spread of n against n - 1.
    assert widening(one) == pytest.approx(math.sqrt(10 / 9) * t.ppf(0.975, 9) / norm.ppf(0.975))
    assert widening(one, rows=np.full(10, 7)) == pytest.approx(widening(one))
    # Two large groups among eight small ones count as two and a bit.
    assert widening(one, rows=np.array([50, 50, *[1] * 8])) > 4 * widening(one)
    halves = np.arange(10) % 2
    fitted = math.sqrt(2 * 10 / 8) * t.ppf(0.975, 8 - 4) / norm.ppf(0.975)
    assert widening(halves, folds=5) == pytest.approx(fitted)


def test_measured_means_of_unequal_correlated_heavy_groups_are_covered():
    held, rng = 0, np.random.default_rng(0)
    for _ in range(1000):
        groups = np.arange(12).repeat(rng.integers(1, 13, 12))
        values = 2 * rng.standard_t(3, 12)[groups] + rng.standard_t(3, len(groups))
        found = mean_estimate(values, groups, n_boot=400)
        held += found.low <= 0 <= found.high
    assert held >= 930
