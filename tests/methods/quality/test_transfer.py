import numpy as np
import pytest
from errors import raises

from circuit.errors import DataError
from circuit.methods.directions import available, load
from circuit.methods.quality.crossfit import cross_fitted_quality
from circuit.methods.quality.design import design
from circuit.methods.quality.transfer import transfer_matrix


def two_concepts(angle, *, n=160, d=64, gap=8.0, seed=0):
    """Two parts whose classes differ along directions at ``angle`` to each other."""
    rng = np.random.default_rng(seed)
    a, b = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    directions = a, np.cos(angle) * a + np.sin(angle) * b
    groups = np.repeat(np.arange(40), n // 40)
    y, part = groups % 2, groups // 20
    H = rng.normal(size=(n, d)) + 3 * rng.normal(size=d)
    for k in range(2):
        H[part == k] += gap * y[part == k, None] * directions[k]
    return H, y, groups, {"a": np.flatnonzero(part == 0), "b": np.flatnonzero(part == 1)}


@pytest.mark.parametrize("method", [m for m in available() if load(m).role == "method"])
def test_one_concept_transfers_and_two_do_not(method):
    same = transfer_matrix(method, *two_concepts(0.0), n_boot=50).values()
    assert (same > 0.95).all()
    other = transfer_matrix(method, *two_concepts(np.pi / 2), n_boot=50).values()
    assert (np.diag(other) > 0.95).all()
    assert (np.abs(other[[0, 1], [1, 0]] - 0.5) < 0.25).all()
    opposite = transfer_matrix(method, *two_concepts(np.pi), n_boot=50).values()
    assert (opposite[[0, 1], [1, 0]] < 0.05).all()


def test_the_diagonal_of_one_part_is_the_cross_fitted_score():
    H, y, groups, _ = two_concepts(0.3, gap=2.0)
    whole = {"all": np.arange(len(y))}
    found = transfer_matrix("mean_diff", H, y, groups, whole, n_boot=50)
    quality = cross_fitted_quality("mean_diff", H, design(y, groups), n_boot=50)
    assert found.values()[0, 0] == pytest.approx(quality.auroc.value)
    assert (found.n, found.n_groups) == ((160,), (40,))


def test_shared_negatives_do_not_leak():
    # Two categories of noise against the same negatives, which can be recognised by their groups.
    inside = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 4)
        H = rng.normal(size=(120, 128)) + 3 * rng.normal(size=(30, 128))[groups]
        y = (groups % 3 > 0).astype(int)
        parts = {
            name: np.flatnonzero((groups % 3 == k) | (y == 0)) for k, name in ((1, "a"), (2, "b"))
        }
        inside.append(transfer_matrix("mean_diff", H, y, groups, parts, n_boot=20).values())
    assert np.abs(np.mean(inside, axis=0) - 0.5).max() < 0.08


def test_unbalanced_parts_are_fitted_balanced():
    H, y, groups, parts = two_concepts(0.0, gap=4.0)
    few = np.flatnonzero((groups < 20) & ((y == 0) | (groups < 6)))
    found = transfer_matrix("lda", H, y, groups, {"few": few, "b": parts["b"]}, n_boot=20)
    assert found.values()[0, 1] > 0.9


def test_a_part_of_one_class_is_refused_and_one_of_few_groups_has_no_score():
    H, y, groups, parts = two_concepts(0.0)
    with raises(DataError, "one-class", part="one"):
        transfer_matrix("mean_diff", H, y, groups, {"one": np.flatnonzero(y == 1)})
    tiny = np.flatnonzero(groups < 2)
    found = transfer_matrix("mean_diff", H, y, groups, {"tiny": tiny, **parts}, n_boot=20)
    assert found.as_dict()["names"] == ["tiny", "a", "b"]
    assert found.values()[1, 2] > 0.9
