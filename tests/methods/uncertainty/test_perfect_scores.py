import numpy as np
import pytest

from circuit.methods.uncertainty.bootstrap import (
    Draws,
    auroc_statistic,
    cluster_bootstrap,
    difference,
    resample,
)
from circuit.methods.uncertainty.perfect_scores import newcombe, perfect_auroc, perfect_recall
from circuit.methods.uncertainty.scores import wilson


def test_newcombe_is_the_published_interval():
    # The worked example of the SingleCaseES package: 6 and 7 observations, 38.5 of 42 pairs in order.
    found = newcombe(38.5 / 42, 6, 7)
    assert (found.low, found.high) == pytest.approx((0.5973193600, 0.9859976894), abs=1e-8)
    at_90 = newcombe(38.5 / 42, 6, 7, z=1.6448536269514722)
    assert (at_90.low, at_90.high) == pytest.approx((0.6591091902, 0.9822247871), abs=1e-8)


def test_newcombe_is_antisymmetric_and_includes_the_extremes():
    for m, n in ((2, 2), (5, 9), (100, 3)):
        for a in (0.0, 0.3, 0.5, 0.9, 1.0):
            one, other = newcombe(a, m, n), newcombe(1 - a, n, m)
            assert one.low == pytest.approx(1 - other.high, abs=1e-6)
            assert 0 <= one.low <= a <= one.high <= 1
        assert newcombe(1.0, m, n).high == 1
        assert newcombe(1.0, m, n).low < 1


def test_the_bound_of_a_perfect_score_covers():
    # Normal scores of AUROC 0.95 are perfectly apart in some samples; there the bound must lie below 0.95 mostly.
    rng, shift, missed = np.random.default_rng(0), 1.6449 * 2**0.5, 0
    for _ in range(2000):
        positive, negative = rng.normal(shift, 1, 10), rng.normal(0, 1, 10)
        perfect = positive.min() > negative.max()
        missed += perfect and newcombe(1.0, 10, 10).low > 0.95
    assert missed / 2000 <= 0.05


def test_more_groups_raise_the_bound_of_a_perfect_score():
    bounds = [perfect_auroc(np.arange(2 * g) % 2, np.arange(2 * g)) for g in (2, 5, 10, 40)]
    assert bounds == sorted(bounds)
    assert bounds[1] == pytest.approx(0.643, abs=0.001)
    assert perfect_recall(np.arange(20) % 2, np.arange(20)) == wilson(10, 10)[0]


def test_repeated_rows_do_not_raise_the_bound_of_a_perfect_score():
    y = np.arange(12) % 2
    assert perfect_auroc(np.repeat(y, 50), np.repeat(np.arange(12), 50)) == perfect_auroc(
        y, np.arange(12)
    )


def test_several_classes_are_averaged():
    y = np.arange(30) % 3
    assert perfect_auroc(y, np.arange(30)) == pytest.approx(newcombe(1.0, 10, 20).low)


def test_an_interval_is_never_narrower_than_the_groups_allow():
    y = np.arange(20) % 2
    statistic = auroc_statistic(y * 1.0, y == 1, np.zeros(20, int), np.arange(20))
    plain = cluster_bootstrap(statistic, y, np.arange(20), n_boot=50, rng=np.random.default_rng(0))
    assert (plain.low, plain.high) == (1, 1)
    assert plain.widen_to(perfect_auroc(y, np.arange(20))).low == pytest.approx(0.8, abs=0.01)


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    y, fold = np.arange(80) % 2, np.zeros(80, int)
    shared = rng.normal(size=80) + y
    draws = resample(y, np.arange(80), n_boot=400, rng=rng)
    a, b = (
        draws.draws(
            auroc_statistic(shared + 0.1 * rng.normal(size=80), y == 1, fold, np.arange(80))
        )
        for _ in range(2)
    )
    paired = difference(a, b, n_groups=80)
    assert paired.low <= 0 <= paired.high
    assert paired.high - paired.low < 0.5 * (a.estimate().high - a.estimate().low)


def test_equal_scores_do_not_make_a_difference_certain():
    same = Draws(1.0, np.ones(100), 1.5)
    found = difference(same, same, n_groups=20)
    assert (found.value, found.low, found.high) == pytest.approx((0, -0.139, 0.139), abs=0.001)


def test_paired_differences_of_equal_scores_cover_zero():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y, fold = np.arange(60) % 2, np.zeros(60, int)
        common = rng.normal(size=60) + y
        resamples = resample(y, np.arange(60), n_boot=300, rng=rng)
        a, b = (
            resamples.draws(
                auroc_statistic(common + rng.normal(size=60), y == 1, fold, np.arange(60))
            )
            for _ in range(2)
        )
        found = difference(a, b, n_groups=60)
        covered += found.low <= 0 <= found.high
    assert covered >= 93
