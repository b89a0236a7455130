import numpy as np
import pytest
from errors import raises
from planted_rows import noise, planted
from sklearn.linear_model import LogisticRegression

from circuit.errors import DataError
from circuit.methods.linear.newton import fit_logistic, log_probabilities, predict
from circuit.methods.linear.products import Products, decompose, standardised
from circuit.methods.linear.rowspace import row_space, thin_svd
from circuit.methods.probes.probing import cross_validated_probe, probe
from circuit.methods.probes.question import prepare

FAST = {"n_boot": 200, "n_shuffles": 10}


@pytest.mark.parametrize(("n", "d"), [(40, 120), (120, 30)])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 100.0])
def test_row_space_regression_is_that_of_scikit_learn_on_the_features(n, d, n_classes, c):
    rng = np.random.default_rng(n + n_classes)
    H = rng.normal(size=(n, d)) * rng.lognormal(size=d) + 3
    y = rng.integers(0, n_classes, n)
    H[:, 0] += y
    new = rng.normal(size=(25, d)) * 2 + 3
    space = standardised(H)
    classes = np.arange(n_classes) if n_classes > 2 else np.array([1])
    Y = (y[:, None] == classes)[:, None, :]
    W = fit_logistic(space.inside, Y, np.array([1 / c]))
    ours = np.exp(log_probabilities(predict(space.outside(new), W)))[:, 0]
    mean, scale = H.mean(axis=0), H.std(axis=0)
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit((H - mean) / scale, y)
    np.testing.assert_allclose(ours, reference.predict_proba((new - mean) / scale), atol=1e-3)


def test_problems_in_one_batch_are_independent():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 8)), rng.integers(0, 2, (30, 3, 1))
    weights = rng.integers(0, 2, (30, 3))
    together = fit_logistic(Products(X @ X.T), Y, np.array([1.0, 0.1, 10.0]), weights=weights)
    for p, penalty in enumerate((1.0, 0.1, 10.0)):
        rows = weights[:, p] == 1
        own = Products(X[rows] @ X[rows].T)
        alone = fit_logistic(own, Y[rows, p : p + 1], np.array([penalty]))
        np.testing.assert_allclose(X.T @ together[:-1, p], X[rows].T @ alone[:-1, 0], atol=2e-3)
        np.testing.assert_allclose(together[-1, p], alone[-1, 0], atol=2e-3)


@pytest.mark.parametrize(("n", "d"), [(6, 20), (20, 6)])
def test_thin_svd(n, d):
    X = np.random.default_rng(0).normal(size=(n, d))
    s, u, v = thin_svd(X)
    np.testing.assert_allclose(u * s @ v.T, X, atol=1e-10)
    np.testing.assert_allclose(s, np.linalg.svd(X, compute_uv=False))


def test_row_space_drops_constant_features():
    H = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    H[:, 2] = 1000.1
    space = row_space(H, standardise=True)
    assert space.coordinates.shape == (10, 4)
    assert np.abs(space.lift(np.eye(4))[2]).max() < 1e-9


@pytest.mark.parametrize("n_classes", [2, 3])
def test_planted_classes_are_decoded(n_classes):
    H, _, groups = noise(120, 200, 24)
    y = groups % n_classes
    H += 6 * np.random.default_rng(5).normal(size=(n_classes, 200))[y] / np.sqrt(200)
    result = cross_validated_probe(H, y, groups, **FAST)
    assert result.estimate > 0.97
    assert result.auroc.low > result.shuffled.high
    assert result.balanced_accuracy.value > 0.85
    assert (result.n, result.n_groups, result.n_classes) == (120, 24, n_classes)
    assert result.majority == pytest.approx(1 / n_classes)
    assert result.scores.shape == (120, n_classes)
    assert result.as_dict()["n_over_d"] == 0.6


def test_result_is_deterministic_and_prepared_folds_change_nothing():
    H, y, groups, _ = planted(gap=1.5)
    a = cross_validated_probe(H, y, groups, **FAST)
    task = prepare(y, groups, **FAST)
    b = probe(H, task, decompose(H, task.splits))
    assert a.as_dict() == b.as_dict()


def test_features_without_variation_score_one_half():
    _, y, groups = noise()
    result = cross_validated_probe(np.ones((80, 16)), y, groups, **FAST)
    assert (result.auroc.value, result.auroc.low, result.auroc.high) == (0.5, 0.5, 0.5)


def test_signal_that_belongs_to_the_group_is_not_decoded():
    # Each group has its own large offset: a split that ignored groups would recognise the groups.
    H, y, groups = noise(120, 64, 12)
    H += 10 * np.random.default_rng(1).normal(size=(12, 64))[groups]
    assert cross_validated_probe(H, y, groups, **FAST).auroc.low < 0.5


def test_bad_rows_are_refused():
    H, y, groups = noise()
    H[3, 5] = np.nan
    with raises(DataError, "not-finite", n_rows=1, first=3):
        cross_validated_probe(H, y, groups)
    with raises(DataError, "one-class"):
        cross_validated_probe(np.ones((80, 4)), np.ones(80, int), groups)
    with raises(DataError, "label-count", n_rows=80, n_labels=79):
        cross_validated_probe(np.ones((80, 4)), y[:-1], groups)


@pytest.mark.slow
def test_intervals_cover_chance_on_noise():
    covered, above = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n_groups, each, d = int(rng.integers(15, 31)), 4, int(rng.integers(256, 641))
        H, y, groups = noise(n_groups * each, d, n_groups, seed=seed)
        result = cross_validated_probe(H, y, groups, n_boot=300, n_shuffles=2)
        covered += result.auroc.low <= 0.5 <= result.auroc.high
        above += result.auroc.low > 0.5
    assert covered >= 93
    assert above <= 5
