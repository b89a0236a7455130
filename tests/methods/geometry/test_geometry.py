import numpy as np
import pytest
from errors import raises
from planted_rows import noise, planted
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from circuit.errors import DataError
from circuit.methods.geometry import geometry, projection, similarity


def flat(n, dim, d, seed=0):
    """Uniform rows in ``dim`` of ``d`` dimensions, rotated."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, dim)))[0]
    return rng.random((n, dim)) @ basis.T + 7


@pytest.mark.parametrize("shape", [(30, 100), (100, 30)])
def test_spectrum_is_that_of_scikit_learn(shape):
    H = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    ours = geometry.shape(H).spectrum
    theirs = PCA().fit(H).explained_variance_ratio_
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-9)


def test_components_are_never_capped():
    result = geometry.shape(noise(120, 640, 30)[0])
    assert 90 < result.dim_90 < result.dim_95 <= result.max_dim == 119


def test_flat_data_has_its_dimension():
    result = geometry.shape(flat(400, 3, 50))
    assert (result.dim_90, result.dim_95) == (3, 3)
    assert result.participation_ratio == pytest.approx(3, rel=0.05)
    assert result.two_nn == pytest.approx(3, rel=0.2)


def test_two_nn_ignores_repeated_rows():
    H = flat(300, 2, 20)
    assert geometry.shape(np.vstack([H, H[:100]])).two_nn == pytest.approx(2, rel=0.25)
    assert geometry.shape(np.ones((50, 4))).two_nn is None


def test_constant_rows_have_no_dimension():
    result = geometry.shape(np.full((20, 6), 0.1, np.float32))
    assert (result.dim_90, result.participation_ratio) == (0, 0)
    assert result.norms["sd"] < 1e-6


def test_silhouette_is_that_of_scikit_learn():
    H, y, groups, _ = planted()
    result = geometry.separation(H, y, groups)
    assert result.silhouette == pytest.approx(silhouette_score(H, y), abs=1e-6)
    assert result.silhouette > result.silhouette_chance[1]
    assert result.fisher > result.fisher_chance[1]


def test_separation_of_noise_is_that_of_chance():
    H, y, groups = noise(120, 256, 30)
    result = geometry.separation(H, y, groups)
    assert result.fisher == pytest.approx(result.fisher_chance[0], rel=0.2)
    assert abs(result.kmeans_rand) < 0.1


def test_separated_classes_are_clustered():
    H, _, groups = noise(120, 64, 24)
    y = groups % 3
    H += 12 * np.eye(64)[y]
    result = geometry.separation(H, y, groups)
    assert result.kmeans_rand == 1
    np.testing.assert_allclose(
        result.centroid_cosines[np.triu_indices(3, 1)], -0.5, atol=0.05
    )  # a triangle


def test_cka_is_one_for_a_rotation_and_a_scale_and_zero_for_unrelated_layers():
    rng = np.random.default_rng(0)
    H, other = rng.normal(size=(60, 300)), rng.normal(size=(60, 500))
    rotated = 3 * H @ np.linalg.qr(rng.normal(size=(300, 300)))[0] + 5
    matrix = similarity.cka([similarity.centred_gram(X) for X in (H, rotated, other)])
    assert matrix[0, 1] == pytest.approx(1, abs=1e-4)
    assert abs(matrix[0, 2]) < 0.1
    np.testing.assert_allclose(matrix, matrix.T)


def test_unbiased_hsic_is_the_published_formula():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(12, 5)), rng.normal(size=(12, 4))
    n, one = 12, np.ones(12)
    K, L = ((A - A.mean(0)) @ (A - A.mean(0)).T for A in (X, Y))
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    expected = np.trace(K @ L) + one @ K @ one * (one @ L @ one) / ((n - 1) * (n - 2))
    expected -= 2 / (n - 2) * (one @ K @ L @ one)
    ours = (similarity.centred_gram(X) * similarity.centred_gram(Y)).sum()
    assert ours == pytest.approx(expected, rel=1e-4)


def test_cka_of_a_constant_layer_is_not_defined():
    H = np.random.default_rng(0).normal(size=(10, 4))
    grams = [similarity.centred_gram(X) for X in (H, np.ones((10, 4)))]
    assert np.isnan(similarity.cka(grams)[0, 1])
    with raises(DataError, "too-few-prompts", n=3):
        similarity.centred_gram(H[:3])


def test_random_directions_have_the_expected_cosine():
    V = np.random.default_rng(0).normal(size=(300, 128))
    cosines = np.abs(similarity.cosine_matrix(V)[np.triu_indices(300, 1)])
    assert cosines.mean() == pytest.approx(similarity.expected_cosine(128), rel=0.02)


def test_pca_picture_is_that_of_scikit_learn():
    H = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    ours, theirs = projection.pca(H), PCA(2).fit(H)
    np.testing.assert_allclose(np.abs(ours.coordinates), np.abs(theirs.transform(H)), atol=1e-9)
    np.testing.assert_allclose(
        ours.parameters["variance"], theirs.explained_variance_ratio_, atol=1e-5
    )
    assert projection.pca(np.ones((5, 3))).coordinates.tolist() == [[0, 0]] * 5


@pytest.mark.slow
def test_umap_is_repeatable_and_keeps_clusters_apart():
    H, _, groups = noise(60, 32, 12)
    y = groups % 2
    H += 20 * y[:, None]
    a, b = (projection.umap(H, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.coordinates, b.coordinates)
    assert a.parameters["seed"] == 3
    assert silhouette_score(a.coordinates, y) > 0.5
    with raises(DataError, "too-few-prompts", n=4):
        projection.umap(H[:4])
