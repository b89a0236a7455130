"""One planted archive for the tests of the stages: analysed, and with directions fitted to it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from asking import analyze, directions
from planted_archive import write_planted

from circuit.stages.analyze.results import AnalysisResult
from circuit.stages.directions.results import DirectionsResult


@dataclass(frozen=True)
class Chain:
    """The folder of an archive with its analysis and directions, their results and notes."""

    folder: Path
    analysis: AnalysisResult
    directions: DirectionsResult
    notes: list[str]

    @property
    def archive(self) -> Path:
        """The archive of activations."""
        return self.folder / "activations"


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    write_planted(folder / "activations", sites=("embed", "resid_post"), seed=1)
    notes: list[str] = []
    archive = folder / "activations.safetensors"
    analysis, _ = analyze(archive, folder / "analysis.json", n_boot=200, note=notes.append)
    options = {"per_category": True, "per_tool": True, "n_boot": 200}
    fitted, _ = directions(archive, folder / "directions", note=notes.append, **options)
    return Chain(folder, analysis, fitted, notes)
