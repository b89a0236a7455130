"""An archive, directions fitted to it, and an archive of other prompts with the same truth."""

import pytest
from asking import directions
from planted_archive import write_planted
from planted_directions import elsewhere


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    write_planted(folder / "a", n_layers=2, d=48)
    write_planted(folder / "other", prompts=elsewhere(), n_layers=2, d=48)
    directions(folder / "a", folder / "d", per_category=True, n_boot=100)
    return folder
