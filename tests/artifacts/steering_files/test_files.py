"""Directions, and the steering files of other tools."""

import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import raises

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import (
    Direction,
    read_directions,
    read_steering_file,
    unit,
    write_directions,
    write_json,
    write_npz,
    write_steering_file,
)
from circuit.errors import ArtifactError, DataError
from circuit.values.identity import ModelIdentity

MODEL = ModelIdentity(id="org/m", n_layers=4, d_model=5, weights_sha256="0" * 64)


def direction(name: str = "tool", layer: int = 2, seed: int = 0, **changes: Any) -> Direction:
    vector, norm = unit(np.random.default_rng(seed).normal(size=5), "v")
    fields: dict[str, Any] = {
        "method": "mean_diff",
        "positive_label": "yes",
        "negative_label": "no",
        "quality": {"auroc": {"estimate": 0.9, "interval": [0.8, 1.0]}},
        "model": MODEL,
        "format": "raw",
        "extra": {"positive_prompt": "1 = ", "negative_prompt": "1 =", "cosine_similarity": 0.5},
    }
    return Direction(name, "resid_post", layer, vector, norm, **{**fields, **changes})


def write(stem: Path, *directions: Direction, **changes: Any):
    fields: dict[str, Any] = {
        "parameters": {},
        "inputs": [],
        "run": Run.since(time.perf_counter()),
        "model": MODEL,
    }
    return write_directions(stem, directions, **{**fields, **changes})


def same(a: Direction, b: Direction) -> bool:
    plain = [{k: v for k, v in vars(each).items() if k != "vector"} for each in (a, b)]
    return plain[0] == plain[1] and np.array_equal(a.vector, b.vector)


def test_an_archive_keeps_everything(tmp_path: Path):
    made = [direction(), direction(layer=3, seed=1), direction("a.b", seed=2)]
    write(tmp_path / "d", *made)
    for name in ("d", "d.json", "d.safetensors"):
        read = read_steering_file(tmp_path / name)
        assert all(same(a, b) for a, b in zip(made, read, strict=True))


def test_archives_are_reproducible_and_not_overwritten(tmp_path: Path):
    write(tmp_path / "d", direction())
    before = (tmp_path / "d.safetensors").read_bytes()
    write(tmp_path / "d", direction())
    with raises(ArtifactError, "output-exists"):
        write(tmp_path / "d", direction(seed=1))
    with raises(ArtifactError, "output-exists"):
        write(tmp_path / "d", direction(method="pca"))
    assert (tmp_path / "d.safetensors").read_bytes() == before
    write(tmp_path / "d", direction(seed=1), force=True)
    assert same(read_directions(tmp_path / "d")[0], direction(seed=1))


def test_two_directions_of_one_name_are_refused(tmp_path: Path):
    with raises(DataError, "duplicate-direction"):
        write(tmp_path / "d", direction(), direction(seed=1))


def test_the_documented_files_are_read(tmp_path: Path):
    vector = np.array([3.0, 0, 4.0], np.float32)
    np.savez(
        tmp_path / "d.npz",
        direction=vector,
        layer=11,
        positive_prompt="100 - 37 = ",
        negative_prompt="100 - 37 =",
        model_id="model-name",
        norm=12.34,
        cosine_similarity=0.95,
        something_else=np.arange(3),
    )
    document = {
        "direction": [3, 0, 4],
        "layer": 11,
        "positive_prompt": "100 - 37 = ",
        "negative_prompt": "100 - 37 =",
        "model_id": "model-name",
    }
    (tmp_path / "d.json").write_text(json.dumps(document))
    (npz,), (plain,) = (read_steering_file(tmp_path / name) for name in ("d.npz", "d.json"))
    for read, norm in ((npz, 12.34), (plain, 5.0)):
        np.testing.assert_allclose(read.vector, [0.6, 0, 0.8], rtol=1e-6)
        assert (read.layer, read.norm, read.site, read.name) == (
            11,
            pytest.approx(norm),
            "resid_post",
            "d",
        )
        assert read.extra["positive_prompt"] == "100 - 37 = "
        assert read.model is not None
        assert (read.model.id, read.model.d_model) == ("model-name", 3)
    assert npz.extra["cosine_similarity"] == 0.95


def test_the_documented_keys_are_written(tmp_path: Path):
    write_npz(tmp_path / "d.npz", direction())
    write_json(tmp_path / "d.json", direction())
    keys = {
        "direction",
        "layer",
        "positive_prompt",
        "negative_prompt",
        "model_id",
        "norm",
        "cosine_similarity",
    }
    with np.load(tmp_path / "d.npz", allow_pickle=False) as archive:
        assert keys <= set(archive.files)
        assert archive["direction"].dtype == np.float32
        assert str(archive["positive_prompt"]) == "1 = "
    assert keys <= json.loads((tmp_path / "d.json").read_text()).keys()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_a_file_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path):
    path, zeros = tmp_path / "bomb.npz", bytes(1 << 20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("direction.npy", "w") as entry,
    ):
        for _ in range(300):
            entry.write(zeros)
    assert path.stat().st_size < 1 << 20
    with raises(ArtifactError, "npz-too-large", size=300 << 20):
        read_steering_file(path)


def test_nothing_is_unpickled(tmp_path: Path):
    np.savez(tmp_path / "a.npz", direction=np.array([Bomb()], object), layer=1)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb()))
    with raises(ArtifactError, "pickle-refused") as caught:
        read_steering_file(tmp_path / "a.npz")
    assert "never loaded" in caught.value.hint
    with raises(ArtifactError, "not-npz"):
        read_steering_file(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"direction": [1.0, float("nan")], "layer": 1}, "not-a-direction"),
        ({"direction": [0.0, 0.0], "layer": 1}, "not-a-direction"),
        ({"direction": [[1.0]], "layer": 1}, "not-a-direction"),
        ({"direction": ["a"], "layer": 1}, "invalid-field"),
        ({"direction": [1.0]}, "missing-field"),
        ({"layer": 1}, "missing-field"),
        ({"direction": [1.0], "layer": -1}, "invalid-field"),
        ({"direction": [1.0], "layer": 1.5}, "invalid-field"),
        ({"direction": [1.0], "layer": 1, "norm": "x"}, "invalid-field"),
    ],
)
def test_bad_steering_files_are_an_error(tmp_path: Path, fields: dict, code: str):
    np.savez(tmp_path / "d.npz", **fields)
    (tmp_path / "d.json").write_text(json.dumps(fields))
    for name in ("d.npz", "d.json"):
        nan = name == "d.json" and "NaN" in (tmp_path / name).read_text()
        with raises(ArtifactError, "not-json" if nan else code):
            read_steering_file(tmp_path / name)


@pytest.mark.parametrize("name", ["d.npz", "d.json", "d.safetensors", "d", "d.pt"])
def test_files_that_are_not_there(tmp_path: Path, name: str):
    with raises(ArtifactError, "file-not-found"):
        read_steering_file(tmp_path / name)


def test_files_of_another_kind(tmp_path: Path):
    for name, code in (("d.npz", "not-npz"), ("d.pt", "pickle-refused")):
        (tmp_path / name).write_bytes(b"PK nothing")
        with raises(ArtifactError, code):
            read_steering_file(tmp_path / name)
    (tmp_path / "a.json").write_text('{"schema": "circuit.activations/2"}')
    with raises(ArtifactError, "wrong-schema"):
        read_steering_file(tmp_path / "a.json")
    with raises(ArtifactError, "unknown-format"):
        write_steering_file(tmp_path / "d.pt", direction())


def test_a_direction_is_a_unit_vector_that_cannot_be_changed():
    with raises(DataError, "not-unit-length"):
        Direction("a", "resid_post", 0, np.array([2.0, 0], np.float32), 1.0)
    with pytest.raises(ValueError, match="read-only"):
        direction().vector[0] = 1
