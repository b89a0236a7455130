"""repeng's own reader and writer: a control vector goes there and back to the bit."""

from pathlib import Path

import numpy as np
import pytest

from circuit.artifacts.steering_files.files import Direction, read_steering_file, unit
from circuit.artifacts.steering_files.formats import formats
from circuit.values.identity import ModelIdentity

pytestmark = pytest.mark.parity
MODEL = ModelIdentity(id="org/m", family="qwen2", n_layers=6, d_model=96)


@pytest.fixture(scope="module")
def repeng():
    """The package, which names ``np.float_``: NumPy 2 has it no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float_", np.float64, raising=False)
        return pytest.importorskip("repeng")


def direction(layer: int) -> Direction:
    vector, _ = unit(np.random.default_rng(layer).normal(size=96), "v")
    return Direction("happy", "resid_post", layer, vector, 41.7 * layer, model=MODEL)


@pytest.mark.parametrize("length", [None, 1.0])
def test_repeng_reads_what_circuit_writes_and_gives_it_back(tmp_path: Path, repeng, length):
    made = [direction(layer) for layer in (1, 3, 5)]
    formats()["gguf"].write(tmp_path / "ours.gguf", made, length=length)
    held = repeng.ControlVector.import_gguf(tmp_path / "ours.gguf")
    assert (held.model_type, list(held.directions)) == ("qwen2", [1, 3, 5])
    for each in made:
        wanted = each.vector.astype(np.float64) * (length or each.norm)
        assert held.directions[each.layer].tobytes() == wanted.astype(np.float32).tobytes()
    held.export_gguf(tmp_path / "theirs.gguf")
    for ours, theirs in zip(made, read_steering_file(tmp_path / "theirs.gguf"), strict=True):
        assert (theirs.name, theirs.layer) == ("theirs", ours.layer)
        assert theirs.norm == pytest.approx(length or ours.norm, rel=1e-6)
        np.testing.assert_allclose(theirs.vector, ours.vector, rtol=2e-7)
        if length == 1:
            assert theirs.vector.tobytes() == ours.vector.tobytes()


def test_circuit_reads_what_repeng_writes_and_gives_it_back(tmp_path: Path, repeng):
    unit_vectors = {layer: direction(layer).vector for layer in (2, 4)}
    theirs = repeng.ControlVector("llama", unit_vectors)
    theirs.export_gguf(tmp_path / "theirs.gguf")
    read = read_steering_file(tmp_path / "theirs.gguf")
    for each in read:
        assert each.vector.tobytes() == unit_vectors[each.layer].tobytes()
        assert each.norm == pytest.approx(1, abs=1e-6)
    formats()["gguf"].write(tmp_path / "ours.gguf", read, length=1.0)
    back = repeng.ControlVector.import_gguf(tmp_path / "ours.gguf")
    assert {k: v.tobytes() for k, v in back.directions.items()} == {
        k: v.tobytes() for k, v in unit_vectors.items()
    }
