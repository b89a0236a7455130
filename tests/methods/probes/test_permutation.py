import numpy as np
import pytest
from planted_rows import noise, planted, planted_pairs
from scipy.stats import kstest
from sklearn.linear_model import Ridge

from circuit.methods.linear.products import decompose
from circuit.methods.probes.permutation import (
    RIDGES,
    Null,
    family_wise,
    held_out_aurocs,
    permutation_null,
)
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.probes.question import prepare
from circuit.methods.uncertainty.scores import auroc
from circuit.methods.uncertainty.splits import grouped_folds, permuted_labels


def test_family_wise_p_is_that_of_the_largest_layer_and_never_smaller():
    rng = np.random.default_rng(0)
    nulls = {k: Null(float(rng.random()), rng.random(199)) for k in range(5)}
    largest = np.max([null.permuted for null in nulls.values()], axis=0)
    for k, p in family_wise(nulls).items():
        assert p == (1 + np.sum(largest >= nulls[k].observed)) / 200
        assert p >= nulls[k].p
    assert family_wise({0: nulls[0]})[0] == nulls[0].p
    assert family_wise({}) == {}


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_statistic_is_that_of_scikit_learns_ridge(n_classes):
    H, _, groups = noise(60, 100, 20)
    y = groups % n_classes
    H[:, 0] += y
    splits = grouped_folds(y, groups)
    ours = held_out_aurocs(decompose(H, splits), y[None])
    classes = range(n_classes) if n_classes > 2 else [1]
    for k, ridge in enumerate(RIDGES):
        wins, pairs = np.zeros(n_classes), np.zeros(n_classes)
        for train, test in splits:
            X = (H - H[train].mean(0)) / H[train].std(0)
            alpha = ridge * (X[train] ** 2).sum() / len(train)
            for c in classes:
                model = Ridge(alpha=alpha, solver="cholesky").fit(X[train], y[train] == c)
                s, positive = model.predict(X[test]), y[test] == c
                if 0 < positive.sum() < len(positive):
                    count = positive.sum() * (~positive).sum()
                    wins[c] += auroc(s[positive], s[~positive]) * count
                    pairs[c] += count
        assert ours[k, 0] == pytest.approx(np.mean([wins[c] / pairs[c] for c in classes]), abs=1e-9)


def test_labellings_in_one_batch_are_independent():
    H, y, groups, _ = planted(gap=2)
    prepared = decompose(H, grouped_folds(y, groups))
    labellings = permuted_labels(y, groups, np.random.default_rng(0), size=7)
    together = held_out_aurocs(prepared, np.concatenate([y[None], labellings]))
    for k, labels in enumerate(labellings):
        np.testing.assert_allclose(
            held_out_aurocs(prepared, labels[None])[:, 0], together[:, k + 1]
        )


def test_p_is_uniform_on_noise_and_small_on_a_planted_concept():
    found = []
    for seed in range(120):
        H, y, groups = noise(80, 64, 40, seed=seed)
        prepared = decompose(H, grouped_folds(y, groups, seed=seed))
        labellings = permuted_labels(y, groups, np.random.default_rng(seed), size=99)
        found.append(permutation_null(prepared, y, labellings).p)
    assert kstest(found, "uniform").pvalue > 0.01
    H, y, groups, _ = planted(gap=6)
    assert cross_validated_probe(H, y, groups, n_boot=20, n_shuffles=999).null.p == 0.001


def test_pairs_are_the_units_of_permutation():
    # The members of a pair share a large offset: moving labels between pairs would drown the difference.
    H, y, groups, pairs, _ = planted_pairs(30, 64, 10, gap=2)
    labellings = permuted_labels(y, pairs, np.random.default_rng(0), size=50)
    assert (labellings[:, ::2] + labellings[:, 1::2] == 1).all()
    paired = cross_validated_probe(H, y, groups, units=pairs, n_boot=20, n_shuffles=199)
    assert paired.null.p == 1 / 200


def test_few_groups_cannot_reach_a_small_p():
    H, y, groups, _ = planted(24, 64, 4, gap=20)
    result = cross_validated_probe(H, y, groups, n_boot=20, n_shuffles=500)
    assert result.auroc.value == 1
    assert result.null.p > 0.05  # 2 + 2 groups can be labelled in 6 ways, two of which are these


def test_equal_rows_are_ties():
    _, y, groups = noise()
    result = cross_validated_probe(np.full((80, 5), 0.1), y, groups, n_boot=20, n_shuffles=20)
    assert result.null.observed == 0.5
    assert result.null.p == 1
    assert result.shuffled.value == 0.5


def test_chance_of_the_statistic_is_one_half():
    H, y, groups = noise(120, 300, 30)
    chance = cross_validated_probe(H, y, groups, n_boot=20, n_shuffles=500).shuffled
    assert chance.value == pytest.approx(0.5, abs=0.02)
    assert chance.low < 0.45
    assert chance.high > 0.55


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 1000), (20, 1000), (40, 500), (120, 199)])
def test_many_classes_cost_no_more_rankings_than_twenty(n_classes, expected):
    y = np.repeat(np.arange(n_classes), 6)
    task = prepare(y, np.arange(len(y)), folds=2, n_boot=2)
    assert task.shuffles.shape == (expected, len(y))
    assert prepare(y, np.arange(len(y)), folds=2, n_boot=2, n_shuffles=7).shuffles.shape[0] == 7
