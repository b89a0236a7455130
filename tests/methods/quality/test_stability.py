from dataclasses import replace

import numpy as np
import pytest
from planted_rows import noise, planted, planted_pairs

from circuit.methods.directions import fit_direction, load
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.stability import (
    expected_cosine_with_truth,
    pair_cosine,
    resampled_cosine,
    split_half_cosine,
    stability,
)

MEAN = load("mean_diff")


def independent(n, d, gap, seed):
    """Two classes of independent rows, a difference of length ``gap`` along a known direction."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=d)
    v /= np.linalg.norm(v)
    y = np.arange(n) % 2
    return rng.normal(size=(n, d)) + gap * y[:, None] * v, y, v


@pytest.mark.parametrize(
    ("n", "d", "gap"), [(40, 256, 2.0), (40, 2048, 6.0), (200, 640, 1.0), (400, 2048, 3.0)]
)
def test_a_planted_direction_is_recovered_with_the_cosine_that_theory_predicts(n, d, gap):
    found = []
    for seed in range(20):
        H, y, v = independent(n, d, gap, seed)
        found.append(fit_direction("mean_diff", H[y == 1], H[y == 0]).vector @ v)
    assert np.mean(found) == pytest.approx(
        expected_cosine_with_truth(d, gap, n // 2, n // 2), abs=0.03
    )


def test_pairs_recover_it_with_the_variance_of_their_differences():
    found = []
    for seed in range(20):
        H, y, _, _, v = planted_pairs(40, 512, gap=3, seed=seed)
        found.append(fit_direction("mean_diff", H[y == 1], H[y == 0], paired=True).vector @ v)
    # Each member has its own noise of 0.5; what the two share drops out.
    expected = expected_cosine_with_truth(512, 3, 40, 40, sigma=0.5)
    assert np.mean(found) == pytest.approx(expected, abs=0.02)
    assert expected > expected_cosine_with_truth(512, 3, 40, 40, sigma=1.25**0.5)


def test_the_settled_cosine_estimates_the_cosine_with_the_truth():
    settled, true = [], []
    for seed in range(20):
        H, y, v = independent(120, 512, 4.0, seed)
        rows = design(y, np.arange(120))
        settled.append(stability(MEAN, H, rows, seed=seed).settled)
        true.append(fit_direction("mean_diff", H[y == 1], H[y == 0]).vector @ v)
    assert np.mean(settled) == pytest.approx(np.mean(true), abs=0.03)


def test_halves_of_noise_have_orthogonal_directions():
    found = [split_half_cosine(MEAN, *noise_rows(seed), seed=seed).value for seed in range(20)]
    assert abs(np.mean(found)) < 0.03


def noise_rows(seed):
    H, y, groups = noise(80, 256, 40, seed=seed)
    return H, design(y, groups)


def test_halves_need_two_groups_of_each_class():
    H, y, _, _ = planted(n=16, n_groups=4)
    lonely = design(y, np.where(y == 1, np.arange(16) % 2, 9 + np.arange(16) % 2))
    assert split_half_cosine(MEAN, H, lonely) is not None
    three = design(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]))
    assert split_half_cosine(MEAN, H[:4], three) is not None
    alone = design(np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 2]))
    assert split_half_cosine(MEAN, H[:5], alone) is not None


@pytest.mark.parametrize("method", ["mean_diff", "pca"])
def test_resampled_directions_come_closer_with_more_rows(method):
    values = []
    for n in (20, 200):
        H, y, _ = independent(n, 64, 3.0, 0)
        values.append(resampled_cosine(load(method), H, design(y, np.arange(n))).value)
    assert values[0] < values[1] < 1


def test_refitting_repeated_rows_is_weighting_them():
    H, y, _ = independent(40, 16, 2.0, 0)
    rows = design(y, np.arange(40))
    weighted = resampled_cosine(MEAN, H, rows)
    refitted = resampled_cosine(replace(MEAN, combine=None), H, rows)
    assert refitted.value == pytest.approx(weighted.value, abs=0.02)


def test_pair_cosine_is_the_mean_of_the_cosines_and_its_interval_holds_the_truth():
    H, y, groups, pairs, _ = planted_pairs(20, 32)
    rows = design(y, groups, pairs)
    positive, negative = rows.classes(np.arange(len(y)))
    D = H[positive] - H[negative]
    unit = D / np.linalg.norm(D, axis=1, keepdims=True)
    expected = (unit @ unit.T)[~np.eye(20, dtype=bool)].mean()
    found = pair_cosine(H, rows)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high

    covered = 0
    truth = np.mean([pair_cosine(*pairs_of(1000 + s), n_boot=2).value for s in range(100)])
    for seed in range(100):
        each = pair_cosine(*pairs_of(seed), seed=seed, n_boot=200)
        covered += each.low <= truth <= each.high
    assert covered >= 90


def pairs_of(seed):
    H, y, groups, pairs, _ = planted_pairs(30, 32, 15, gap=2, seed=seed)
    return H, design(y, groups, pairs)


def test_a_quality_holds_its_stability_and_its_p():
    H, y, groups, _ = planted(gap=6)
    quality = cross_fitted_quality("mean_diff", H, design(y, groups), n_boot=100)
    written = quality.as_dict()
    assert written["n_shuffles"] == 1000
    assert written["p"] <= 0.002
    assert 0 < written["split_half_cosine"][0] < written["settled_cosine"] < 1
    assert written["pair_cosine"] is None
    assert (
        cross_fitted_quality("pca", H, design(y, groups), n_boot=100).as_dict()["n_shuffles"] == 20
    )
