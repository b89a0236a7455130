import numpy as np
import pytest
from errors import raises
from planted_rows import noise, planted, planted_pairs

from circuit.errors import DataError
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.nested import nested_layer_choice

FAST = {"n_boot": 200, "n_shuffles": 10}


@pytest.mark.parametrize("method", ["mean_diff", pytest.param("lda", marks=pytest.mark.slow)])
def test_intervals_cover_chance_on_noise(method):
    covered, above = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n_groups, d = int(rng.integers(15, 31)), int(rng.integers(256, 641))
        H, y, groups = noise(4 * n_groups, d, n_groups, seed=seed)
        quality = cross_fitted_quality(method, H, design(y, groups), n_boot=300, n_shuffles=0)
        covered += quality.auroc.low <= 0.5 <= quality.auroc.high
        above += quality.auroc.low > 0.5
    assert covered >= 93
    assert above <= 5


def test_noise_pairs_cover_chance_too():
    covered = 0
    for seed in range(60):
        H, y, groups, pairs, _ = planted_pairs(30, 256, 15, gap=0, seed=seed)
        quality = cross_fitted_quality(
            "mean_diff", H, design(y, groups, pairs), n_boot=300, n_shuffles=0, seed=seed
        )
        covered += quality.auroc.low <= 0.5 <= quality.auroc.high
    assert covered >= 0.93 * 60


def test_shuffled_baseline_is_at_chance_and_d_prime_grows_with_the_gap():
    results = []
    for gap in (0, 3, 10):
        H, y, groups, _ = planted(gap=gap)
        results.append(cross_fitted_quality("mean_diff", H, design(y, groups), **FAST))
    assert all(0.3 < r.shuffled.value < 0.7 for r in results)
    assert results[0].d_prime < results[1].d_prime < results[2].d_prime
    halves = [r.stability.split_half.value for r in results]
    assert halves == sorted(halves)


def test_scores_are_held_out_and_standardised_per_fold():
    H, y, groups, _ = planted()
    quality = cross_fitted_quality("mean_diff", H, design(y, groups), **FAST)
    for f in np.unique(quality.fold):
        held_out = quality.scores[quality.fold == f]
        assert held_out.mean() == pytest.approx(0, abs=1e-9)
        assert held_out.std() == pytest.approx(1)


def test_equal_rows_score_one_half_and_have_no_direction():
    _, y, groups = noise()
    quality = cross_fitted_quality("mean_diff", np.full((80, 8), 0.1), design(y, groups), **FAST)
    assert quality.auroc.value == 0.5
    assert quality.d_prime == 0


def test_an_incomplete_pair_means_unpaired():
    H, y, groups, pairs, _ = planted_pairs()
    broken = [None, *pairs[1:].tolist()]
    assert not cross_fitted_quality("pca", H, design(y, groups, broken), **FAST).paired


def test_pairs_join_their_groups():
    H, y, _, pairs, _ = planted_pairs()
    quality = cross_fitted_quality("mean_diff", H, design(y, np.arange(len(y)), pairs), **FAST)
    assert quality.n_groups == len(y) // 2


def test_labels_other_than_0_and_1_are_refused():
    H, y, groups, _ = planted()
    with raises(DataError, "two-classes-expected", classes=[1, 2]):
        cross_fitted_quality("mean_diff", H, design(y + 1, groups))


def test_nested_choice_finds_the_layer_and_its_score_is_honest():
    H, y, groups, _ = planted(gap=6)
    layers = {k: noise(seed=k + 1)[0] for k in range(5)}
    layers[3] = H
    choice = nested_layer_choice("mean_diff", layers.items(), design(y, groups), n_boot=200)
    assert choice.layer == 3
    assert set(choice.chosen) == {3}
    assert choice.auroc.value > 0.97
    assert choice.auroc.low < 0.85  # 20 groups are no certainty


def test_the_choice_does_not_depend_on_how_the_scores_are_computed():
    _, y, groups = noise()
    layers = {k: noise(seed=k + 1)[0] + 0.2 * k * y[:, None] for k in range(4)}
    quick = nested_layer_choice("mean_diff", layers.items(), design(y, groups), n_boot=20)
    plain = nested_layer_choice("mean_centered", layers.items(), design(y, groups), n_boot=20)
    assert quick == plain


def test_nested_choice_on_noise_is_at_chance_where_the_best_layer_is_not():
    nested, best = [], []
    for seed in range(20):
        _, y, groups = noise(seed=seed)
        layers = {k: noise(seed=100 * seed + k + 1)[0] for k in range(8)}
        nested.append(
            nested_layer_choice(
                "mean_diff", layers.items(), design(y, groups), n_boot=10
            ).auroc.value
        )
        best.append(
            max(
                cross_fitted_quality(
                    "mean_diff", H, design(y, groups), n_boot=2, n_shuffles=0
                ).auroc.value
                for H in layers.values()
            )
        )
    assert abs(np.mean(nested) - 0.5) < 0.06
    assert np.mean(best) > 0.58
