"""directions compare: what is orthogonal, what is not, and what cannot be compared."""

import numpy as np
import pytest
from asking import ask, directions
from errors import raises
from planted_directions import saved, vector

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.steering_files.files import write_npz
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.present.terminal import terminal
from circuit.stages.directions.compare import compare_directions, present
from circuit.stages.directions.request import CompareRequest


@pytest.mark.parametrize(("d", "pairs"), [(4, 1), (64, 1), (64, 45)])
def test_the_bound_of_the_largest_cosine_is_that_of_random_directions(d, pairs):
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, 4000, pairs, d))
    a, b = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    largest = np.abs((a * b).sum(axis=-1)).max(axis=1)
    assert np.mean(largest > cosine_bound(d, pairs=pairs)) == pytest.approx(0.05, abs=0.012)


def test_compare_says_what_is_orthogonal_and_what_is_not(tmp_path):
    files = [
        saved(tmp_path / "x.npz", vector(64, 0)),
        saved(tmp_path / "y.npz", vector(64, 1)),
        saved(tmp_path / "near.npz", vector(64, 0, 5, 6, 7)),
        saved(tmp_path / "same.npz", -vector(64, 1)),
        saved(tmp_path / "far.npz", vector(64, 1), layer=0),
    ]
    results = compare_directions(files)
    (found,) = results.places
    assert found.names == ["x", "y", "near", "same"]
    assert found.matrix[0] == [1, 0, 0.5, 0]
    assert found.counts == {"orthogonal": 4, "correlated": 1, "aligned": 1}
    assert found.largest.cosine == -1
    assert not found.orthogonal
    assert found.chance.mean == pytest.approx(np.sqrt(2 / (np.pi * 64)), abs=1e-5)
    assert [each.name for each in results.alone] == ["far"]
    assert compare_directions(files[:2]).places[0].orthogonal


def test_random_directions_are_called_orthogonal(tmp_path):
    rng, wrong = np.random.default_rng(1), 0
    for i in range(40):
        drawn = rng.normal(size=(5, 32))
        files = [
            saved(tmp_path / f"{i}_{k}.npz", v / np.linalg.norm(v)) for k, v in enumerate(drawn)
        ]
        wrong += not compare_directions(files).places[0].orthogonal
    assert wrong <= 6


def test_compare_names_the_file_where_names_are_equal(fitted, tmp_path):
    directions(fitted / "other", tmp_path / "d", n_boot=20)
    found = compare_directions([fitted / "d.safetensors", tmp_path / "d.safetensors"])
    late = found.places[1]
    twice = [name for name in late.names if name.startswith("tool_vs_no_tool (")]
    assert len(twice) == 2
    assert late.same_weights
    i, j = (late.names.index(name) for name in twice)
    # The label is the same, the categories within it lie elsewhere: (9 + 0 … 6) / (9 + 6).
    assert 0.5 < late.matrix[i][j] < 0.95
    assert late.pairs


def test_what_cannot_be_compared_is_refused(tmp_path):
    here = saved(tmp_path / "here.npz", vector(16, 0))
    there = saved(tmp_path / "there.npz", vector(16, 0), layer=3)
    wide = saved(tmp_path / "wide.npz", vector(32, 0))
    with raises(DataError, "no-shared-place", n=2) as caught:
        compare_directions([here, there])
    assert (
        caught.value.hint
        == "they are at resid_post 1, resid_post 3; fit them at one layer with --layer"
    )
    with raises(DataError, "widths-differ", widths=(16, 32)):
        compare_directions([here, wide])
    with raises(ArtifactError, "file-not-found"):
        compare_directions([here, tmp_path / "missing.npz"])
    other = saved(tmp_path / "model.npz", vector(16, 0), model="another")
    assert not compare_directions([here, other]).places[0].same_weights


@pytest.fixture
def files(tmp_path):
    """Four directions in 50 dimensions whose cosines with the first are 0, 0.15 and 0.9."""
    e = np.eye(50, dtype=np.float32)
    vectors = [
        e[0],
        e[1],
        0.15 * e[0] + np.sqrt(1 - 0.15**2) * e[2],
        0.9 * e[0] + np.sqrt(0.19) * e[3],
    ]
    paths = []
    for i, each in enumerate(vectors):
        paths.append(tmp_path / f"d{i}.npz")
        write_npz(paths[-1], Direction(f"d{i}", "resid_post", 2, each.astype(np.float32), 1.0))
    return paths


def test_a_threshold_takes_the_place_of_chance(files):
    (by_chance,) = compare_directions(files).places
    assert by_chance.counts == {"orthogonal": 5, "correlated": 0, "aligned": 1}
    results = compare_directions(files, 0.1)
    (strict,) = results.places
    assert strict.counts == {"orthogonal": 3, "correlated": 2, "aligned": 1}
    text = terminal(present(results))
    assert "above --threshold (0.10)" in text
    assert "Correlated pairs: 2" in text
    (lax,) = compare_directions(files[:3], 0.2).places
    assert lax.orthogonal


@pytest.mark.parametrize("threshold", [0, -0.1, 0.8, 2])
def test_thresholds_that_are_none(files, threshold):
    with raises(UsageError, "threshold-out-of-range", threshold=threshold):
        ask(CompareRequest, files=files, threshold=threshold)
