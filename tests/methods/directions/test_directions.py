"""The contract of every direction method, and what is particular to some."""

import importlib
import inspect

import numpy as np
import pytest
from planted_rows import noise, planted, planted_pairs
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from circuit.errors import DataError, UsageError
from circuit.methods.directions import Rows, available, fit_direction, load
from circuit.methods.directions.lda import ledoit_wolf_shrinkage
from circuit.methods.quality.crossfit import cross_fitted_quality

FAST = {"n_boot": 200, "n_shuffles": 10}


ROLES = {name: load(name).ROLE for name in available()}


@pytest.fixture(params=[name for name, role in ROLES.items() if role == "method"])
def method(request):
    return request.param


@pytest.fixture(params=[name for name, role in ROLES.items() if role != "method"])
def other(request):
    return request.param


def test_the_folder_is_the_registry():
    assert [name for name, role in ROLES.items() if role == "method"] == [
        "lda",
        "logistic",
        "mean_centered",
        "mean_diff",
        "pca",
    ]
    assert [name for name, role in ROLES.items() if role == "control"] == [
        "random",
        "random_within",
        "shuffled",
    ]
    assert ROLES["single"] == "baseline"


def test_contract_of_what_does_not_look_for_the_concept(other):
    H, y, _, direction = planted(gap=6)
    fit = fit_direction(other, H[y == 1], H[y == 0])
    assert np.linalg.norm(fit.vector) == pytest.approx(1, abs=1e-6)
    assert fit.vector @ (H[y == 1].mean(axis=0) - H[y == 0].mean(axis=0)) > 0
    np.testing.assert_array_equal(fit.vector, fit_direction(other, H[y == 1], H[y == 0]).vector)
    assert abs(fit.vector @ direction) < 0.5
    assert len(importlib.import_module(f"circuit.methods.directions.{other}").__doc__) > 100
    if ROLES[other] == "control":
        again = fit_direction(other, H[y == 1], H[y == 0], seed=1).vector
        assert abs(fit.vector @ again) < 0.5


def test_controls_are_at_chance_where_the_method_is_perfect():
    # Averaged over seeds, because any one random direction can lie well by accident.
    H, y, groups, _ = planted(n=120, d=512, n_groups=30, gap=6)
    assert cross_fitted_quality("mean_diff", H, y, groups, **FAST).auroc.value > 0.97
    for name in ("random", "random_within"):
        cosines = [
            fit_direction(name, H[y == 1], H[y == 0], seed=k).vector @ np.eye(512)[0]
            for k in range(200)
        ]
        assert np.mean(np.abs(cosines)) == pytest.approx((2 / np.pi / 512) ** 0.5, rel=0.2)


def test_a_control_within_the_classes_has_their_covariance():
    rng = np.random.default_rng(0)
    scale = np.array([5.0, 1.0, 1.0, 0.1])
    p, q = (rng.normal(size=(200, 4)) * scale for _ in range(2))
    drawn = np.array([fit_direction("random_within", p, q, seed=k).vector for k in range(300)])
    shares = (drawn**2).mean(axis=0)
    assert shares[0] > 0.7
    assert shares[3] < 0.02


def test_shuffled_pairs_keep_each_pair_together():
    H, y, _, _, direction = planted_pairs(gap=20)
    cosines = [
        abs(fit_direction("shuffled", H[y == 1], H[y == 0], paired=True, seed=k).vector @ direction)
        for k in range(50)
    ]
    # The sum of 40 random signs is 6 in the mean: the direction fades, the noise of the pairs does not.
    assert np.mean(cosines) < 0.97
    assert fit_direction("mean_diff", H[y == 1], H[y == 0]).vector @ direction > 0.97


def test_mean_centered_takes_the_corpus_off():
    H, y, _, _ = planted(gap=6)
    p, q = H[y == 1], H[y == 0]
    same = fit_direction("mean_diff", p, q).vector
    assert fit_direction("mean_centered", p, q).vector @ same == pytest.approx(1)
    other = np.random.default_rng(3).normal(size=(40, 256)) + H.mean(axis=0)
    found = fit_direction("mean_centered", p, q, corpus=other).vector
    expected = p.mean(axis=0) - np.concatenate([q, other]).mean(axis=0)
    assert found @ expected / np.linalg.norm(expected) == pytest.approx(1)


def test_many_labellings_at_once_are_the_fits_one_by_one():
    H, y, _, _ = planted(n=40, d=30, n_groups=10)
    how = load("mean_diff")
    labellings = np.stack([y, 1 - y, np.arange(40) % 2])
    many = how.combine(labellings) @ H
    for weights, labels in zip(many, labellings, strict=True):
        np.testing.assert_allclose(
            weights, how.fit(Rows(H[labels == 1], H[labels == 0])), atol=1e-9
        )


def test_contract(method):
    H, y, groups, direction = planted(gap=12)
    assert len(H) < H.shape[1]
    positive, negative = H[y == 1], H[y == 0]
    fit = fit_direction(method, positive, negative)
    assert fit.vector.dtype == np.float32
    assert np.linalg.norm(fit.vector) == pytest.approx(1, abs=1e-6)
    gap = positive.mean(axis=0) - negative.mean(axis=0)
    assert fit.vector @ gap > 0
    assert fit.norm == pytest.approx(np.linalg.norm(gap))
    assert fit.vector @ direction > 0.5
    np.testing.assert_array_equal(fit.vector, fit_direction(method, positive, negative).vector)
    np.testing.assert_allclose(  # and it turns round with the classes
        fit_direction(method, negative, positive).vector, -fit.vector, atol=1e-5
    )
    quality = cross_fitted_quality(method, H, y, groups, **FAST)
    assert quality.auroc.value > 0.97
    assert quality.auroc.low > 0.75
    assert quality.null.p == 1 / 11
    module = importlib.import_module(f"circuit.methods.directions.{method}")
    assert len(module.__doc__) > 100
    assert module.SPACE in {"raw", "rows", "standardised"}
    assert inspect.getdoc(module.fit)


def test_contract_in_more_rows_than_features(method):
    H, y, groups, direction = planted(n=160, d=24, n_groups=20, gap=6)
    assert abs(fit_direction(method, H[y == 1], H[y == 0]).vector @ direction) > 0.7
    assert cross_fitted_quality(method, H, y, groups, **FAST).auroc.value > 0.97


def test_contract_for_pairs(method):
    H, y, groups, pairs, direction = planted_pairs()
    fit = fit_direction(method, H[y == 1], H[y == 0], paired=True)
    assert fit.vector @ direction > 0.8
    quality = cross_fitted_quality(method, H, y, groups, pairs, **FAST)
    assert quality.paired
    assert quality.auroc.value > 0.97
    assert quality.stability.pair_cosine.low > 0.1


def test_bad_input_is_refused(method):
    H, y, _, _ = planted()
    with pytest.raises(DataError, match="same activations"):
        fit_direction(method, np.ones((4, 8)), np.ones((5, 8)))
    with pytest.raises(DataError, match="rows of both classes, not 0 and 40"):
        fit_direction(method, H[:0], H[y == 0])
    with pytest.raises(DataError, match="NaN"):
        fit_direction(method, np.full((3, 8), np.nan), np.ones((3, 8)))
    with pytest.raises(DataError, match="cannot be paired"):
        fit_direction(method, H[:3], H[3:7], paired=True)


def test_unknown_method():
    with pytest.raises(UsageError, match="no direction method `kmeans`") as caught:
        fit_direction("kmeans", np.ones((2, 2)), np.ones((2, 2)))
    assert "mean_diff" in caught.value.hint


def test_uncentred_pca_finds_what_centring_would_lose():
    H, y, _, _pairs, direction = planted_pairs()
    D = H[y == 1] - H[y == 0]
    centred = np.linalg.svd(D - D.mean(axis=0))[2][0]
    assert abs(centred @ direction) < 0.3
    assert fit_direction("pca", H[y == 1], H[y == 0], paired=True).vector @ direction > 0.95


def test_unpaired_pca_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(7, 5)) + 1, rng.normal(size=(4, 5))
    D = (p[:, None] - q[None]).reshape(-1, 5)
    top = np.linalg.svd(D)[2][0]
    assert abs(fit_direction("pca", p, q).vector @ top) == pytest.approx(1, abs=1e-6)


def test_ledoit_wolf_is_that_of_scikit_learn():
    X = np.random.default_rng(0).normal(size=(30, 12)) * np.arange(1, 13)
    X -= X.mean(axis=0)
    assert ledoit_wolf_shrinkage(X) == pytest.approx(ledoit_wolf(X, assume_centered=True)[1])


def test_lda_is_the_solution_in_the_features_for_many_rows():
    H, y, _, _ = planted(n=160, d=24, gap=3)
    p, q = H[y == 1], H[y == 0]
    gap = p.mean(axis=0) - q.mean(axis=0)
    S, _rho = ledoit_wolf(np.vstack([p - p.mean(axis=0), q - q.mean(axis=0)]), assume_centered=True)
    w = np.linalg.solve(S, gap)
    assert fit_direction("lda", p, q).vector @ w / np.linalg.norm(w) == pytest.approx(1, abs=1e-6)


def test_logistic_is_the_weights_of_scikit_learn_mapped_back():
    H, y, _, _ = planted(gap=3)
    H, y = H[10:], y[10:]  # unbalanced
    scale = H.std(axis=0)
    model = LogisticRegression(C=0.01, tol=1e-8, class_weight="balanced").fit(
        (H - H.mean(axis=0)) / scale, y
    )
    w = model.coef_[0] / scale
    v = fit_direction("logistic", H[y == 1], H[y == 0]).vector
    assert v @ w / np.linalg.norm(w) == pytest.approx(1, abs=1e-4)


def test_in_sample_separation_of_noise_is_what_crossfitting_removes():
    H, y, groups = noise(120, 640, 30)
    v = fit_direction("mean_diff", H[y == 1], H[y == 0]).vector
    in_sample = H @ v
    assert in_sample[y == 1].mean() - in_sample[y == 0].mean() > 3
    assert cross_fitted_quality("mean_diff", H, y, groups, **FAST).auroc.low < 0.5
