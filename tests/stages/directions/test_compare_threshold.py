"""Cosines of directions with a threshold of one's own: the counts of ``circuit directions compare``, judged otherwise."""

import numpy as np
import pytest

from circuit.artifacts.steering_files.files import Direction, write_npz
from circuit.cli.directions_verbs_text import compared_text, tally_text
from circuit.errors import UsageError
from circuit.stages.directions.compare import compare_directions


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
    for i, vector in enumerate(vectors):
        paths.append(tmp_path / f"d{i}.npz")
        write_npz(paths[-1], Direction(f"d{i}", "resid_post", 2, vector.astype(np.float32), 1.0))
    return paths


def test_a_threshold_takes_the_place_of_chance(files):
    (by_chance,) = compare_directions(files)["places"]
    assert by_chance["counts"] == {"orthogonal": 5, "correlated": 0, "aligned": 1}
    results = compare_directions(files, 0.1)
    (strict,) = results["places"]
    assert strict["counts"] == {"orthogonal": 3, "correlated": 2, "aligned": 1}
    assert "above --threshold (0.10)" in compared_text(results)
    assert "Correlated: 2" in tally_text(results)
    (lax,) = compare_directions(files[:3], 0.2)["places"]
    assert lax["orthogonal"]


@pytest.mark.parametrize("threshold", [0, -0.1, 0.8, 2])
def test_thresholds_that_are_none(files, threshold):
    with pytest.raises(UsageError, match="is no"):
        compare_directions(files, threshold)
