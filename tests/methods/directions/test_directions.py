"""Every direction method meets the contract; what is particular to some; a new file is picked up."""

import importlib
import sys

import numpy as np
import pytest
from asking import directions as directions_stage
from direction_contract import FAST, by_role, checks
from errors import raises
from planted_archive import write_planted
from planted_rows import noise, planted, planted_pairs
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from circuit.errors import UsageError
from circuit.methods import directions
from circuit.methods.directions import Rows, available, fit_direction, load
from circuit.methods.directions.lda import ledoit_wolf_shrinkage
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design

TOYS = {
    "toy_median": """
NEEDS = ("rows",)
SPACE = "raw"
ROLE = "method"

def fit(rows):
    \"\"\"Return the difference of the class medians.\"\"\"
    return np.median(rows.positive, axis=0) - np.median(rows.negative, axis=0)
""",
    "toy_gradient": """
NEEDS = ("rows", "gradients")
SPACE = "raw"
ROLE = "method"

def fit(rows):
    \"\"\"Return half the difference of the mean gradients.\"\"\"
    g = rows.gradients
    return (g.negative.mean(axis=0) - g.positive.mean(axis=0)) / 2
""",
}


@pytest.mark.parametrize(
    ("name", "check"), [(name, check) for name in available() for check in checks(name)]
)
def test_contract(name, check):
    check(name)


def test_the_folder_is_the_registry():
    assert by_role("method") == ["lda", "logistic", "mean_centered", "mean_diff", "pca"]
    assert by_role("control") == ["random", "random_within", "shuffled"]
    assert by_role("baseline") == ["single"]


@pytest.mark.parametrize("name", TOYS)
def test_a_new_file_is_a_method(name, tmp_path, monkeypatch):
    doc = (
        "A toy that stands for a method somebody adds: one file in the folder, no other edit. " * 2
    )
    (tmp_path / f"{name}.py").write_text(f'"""{doc}"""\nimport numpy as np\n{TOYS[name]}')
    monkeypatch.setattr(directions, "__path__", [*directions.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    try:
        assert name in available()
        for check in checks(name):
            check(name)
        write_planted(tmp_path / "a")
        options = {"layers": "3", "method": name, "n_boot": 20}
        if name == "toy_median":
            results, _ = directions_stage(tmp_path / "a.safetensors", tmp_path / "d", **options)
            assert results.best.layer == 3
        else:  # this command reads activations only
            with raises(UsageError, "method-input-missing", missing=["gradients"]):
                directions_stage(tmp_path / "a.safetensors", tmp_path / "d", **options)
    finally:
        sys.modules.pop(f"circuit.methods.directions.{name}", None)
    monkeypatch.undo()
    assert name not in available()


def test_controls_are_at_chance_where_the_method_is_perfect():
    # Averaged over seeds, because any one random direction can lie well by accident.
    H, y, groups, _ = planted(n=120, d=512, n_groups=30, gap=6)
    assert cross_fitted_quality("mean_diff", H, design(y, groups), **FAST).auroc.value > 0.97
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


def test_mean_centered_subtracts_the_corpus():
    H, y, _, _ = planted(gap=6)
    p, q = H[y == 1], H[y == 0]
    same = fit_direction("mean_diff", p, q).vector
    assert fit_direction("mean_centered", p, q).vector @ same == pytest.approx(1)
    other = np.random.default_rng(3).normal(size=(40, 256)) + H.mean(axis=0)
    found = fit_direction("mean_centered", p, q, corpus=other).vector
    expected = p.mean(axis=0) - np.concatenate([q, other]).mean(axis=0)
    assert found @ expected / np.linalg.norm(expected) == pytest.approx(1)


def test_combine_gives_the_fit_of_every_labelling():
    H, y, _, _ = planted(n=40, d=30, n_groups=10)
    how = load("mean_diff")
    labellings = np.stack([y, 1 - y, np.arange(40) % 2])
    many = how.combine(labellings) @ H
    for weights, labels in zip(many, labellings, strict=True):
        np.testing.assert_allclose(
            weights, how.fit(Rows(H[labels == 1], H[labels == 0])), atol=1e-9
        )


def test_unknown_method():
    with raises(UsageError, "unknown-direction-method", method="kmeans") as caught:
        fit_direction("kmeans", np.ones((2, 2)), np.ones((2, 2)))
    assert "mean_diff" in caught.value.hint


def test_uncentred_pca_finds_the_direction_that_centring_loses():
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
    assert cross_fitted_quality("mean_diff", H, design(y, groups), **FAST).auroc.low < 0.5
