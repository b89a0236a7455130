import numpy as np
import pytest
from errors import raises
from planted_rows import noise, planted

from circuit.errors import DataError
from circuit.methods.geometry.cka_interval import cka_estimate
from circuit.methods.probes.across_archives import cross_archive_probes, drift
from circuit.methods.probes.probing import probe
from circuit.methods.probes.question import prepare


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_equal_archives_have_no_drift():
    H, _, groups = noise(60, 40, 20)
    found = drift(H, H, groups, n_boot=100)
    assert found.cka == pytest.approx(1, abs=1e-5)
    assert (found.moved.value, found.cosine.value) == (0, pytest.approx(1))


def test_a_step_of_known_length_is_measured():
    H, _, groups = noise(60, 40, 20)
    step = np.random.default_rng(1).normal(size=H.shape)
    step *= (
        0.3 * np.linalg.norm(H, axis=1, keepdims=True) / np.linalg.norm(step, axis=1, keepdims=True)
    )
    found = drift(H, H + step, groups, n_boot=100)
    assert found.moved.value == pytest.approx(0.3)
    assert found.moved.low == pytest.approx(0.3)
    assert 0.9 < found.cosine.low < found.cosine.high < 1


def test_a_rotated_archive_has_the_same_geometry_and_moved_everywhere():
    H, y, groups, _ = planted(120, 64, 30, gap=6)
    R = H @ rotation(64)
    found = drift(H, R, groups, n_boot=100)
    assert found.cka == pytest.approx(1, abs=1e-4)
    assert found.moved.value > 1
    across = cross_archive_probes(H, R, prepare(y, groups, n_boot=100, n_shuffles=0))
    assert across.auroc["a_to_a"].value > 0.95
    assert across.auroc["b_to_b"].value > 0.95
    assert across.lost_a.high < 0  # a's probe does not read b
    assert abs(across.direction_cosine) < 0.4


def test_a_probe_of_one_reads_the_other_where_little_moved():
    H, y, groups, _ = planted(120, 64, 30, gap=6)
    other = H + 0.2 * np.random.default_rng(3).normal(size=H.shape)
    across = cross_archive_probes(H, other, prepare(y, groups, n_boot=100, n_shuffles=0))
    assert all(estimate.value > 0.95 for estimate in across.auroc.values())
    assert across.lost_a.low < 0 < across.lost_a.high
    assert across.direction_cosine > 0.95


def test_the_diagonal_is_the_probe():
    H, y, groups, _ = planted(gap=2)
    task = prepare(y, groups, n_boot=50, n_shuffles=0)
    across = cross_archive_probes(H, H, task)
    own = probe(H, task).auroc.value
    assert all(estimate.value == pytest.approx(own, abs=1e-6) for estimate in across.auroc.values())


def test_archives_of_other_widths_have_a_cka_only():
    H, _, groups = noise(60, 40, 20)
    found = drift(H, H[:, :30], groups, n_boot=10)
    assert found.cka > 0.5
    assert found.moved is None
    with raises(DataError, "row-counts-differ", n_rows=(60, 50)):
        drift(H, H[:50], groups)


def test_the_similarity_of_constant_rows_is_undefined():
    H, y, groups = noise(60, 40, 20)
    same = np.full_like(H, 0.3)
    for A, B in ((same, same), (same, H), (H, same)):
        found = drift(A, B, groups, n_boot=10)
        assert (found.cosine, found.cka) == (None, None)
        assert found.as_dict()["cka"] is None
        assert (found.moved.value == 0) == (A is B)
        across = cross_archive_probes(A, B, prepare(y, groups, n_boot=10, n_shuffles=0))
        assert across.direction_cosine is None
        assert cka_estimate(A, B, groups.tolist()) is None
