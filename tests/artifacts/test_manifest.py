"""Manifests: canonical text, digests without `run`, atomic writing, reuse."""

import json
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import canonical_json, document_bytes, read_document
from circuit.artifacts.manifest.manifest import (
    Run,
    digest,
    manifest_path,
    read_manifest,
    reusable,
    write_manifest,
)
from circuit.errors import ArtifactError
from circuit.values.identity import ModelIdentity

SCHEMA = "circuit.test/1"
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def write(path: Path, **changes: Any):
    fields: dict[str, Any] = {
        "parameters": {"layers": (1, 2)},
        "inputs": [],
        "run": Run.since(time.perf_counter()),
    }
    return write_manifest(path, schema=SCHEMA, **{**fields, **changes})


@settings(max_examples=60, deadline=None)
@given(values)
def test_canonical_json_is_one_spelling_of_a_value(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(json.loads(document_bytes(value))) == text


def test_canonical_json_spells_what_circuit_has():
    value = {2: np.float32(0.5), "b": (1, np.int64(2)), "a": Path("x/y"), "v": np.array([1.5, 2])}
    assert canonical_json(value) == '{"2":0.5,"a":"x/y","b":[1,2],"v":[1.5,2.0]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


def test_digest_leaves_run_and_spelling_out(tmp_path: Path):
    path = tmp_path / "a.json"
    write(path)
    before = digest(path)
    document = json.loads(path.read_text())
    document["run"]["seconds"] = 1e6
    path.write_text(json.dumps(dict(reversed(document.items()))))
    assert digest(path) == before
    document["parameters"]["layers"] = [1, 3]
    path.write_text(json.dumps(document))
    assert digest(path) != before


def test_digest_of_other_files_is_of_their_bytes(tmp_path: Path):
    for name, text in (
        ("a.json", '{"schema": "circuit.prompts/1"}'),
        ("b.json", "{"),
        ("c.txt", "x"),
    ):
        path = tmp_path / name
        path.write_text(text)
        before = digest(path)
        path.write_text(text + " ")
        assert digest(path) != before


def test_paths_are_relative_to_the_manifest(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "p.json").write_text("{}")
    manifest = write(tmp_path / "out" / "deep" / "m.json", inputs=[tmp_path / "in" / "p.json"])
    assert manifest.inputs[0].path == "../../in/p.json"
    assert read_manifest(tmp_path / "out" / "deep" / "m.json", SCHEMA) == manifest


def test_everything_but_run_is_reproducible(tmp_path: Path):
    documents = []
    for i in range(3):
        write(tmp_path / f"{i}.json", results={"b": 1, "a": np.float64(0.1)})
        document = json.loads((tmp_path / f"{i}.json").read_text())
        del document["run"]
        documents.append(json.dumps(document))
    assert len(set(documents)) == 1


def test_an_identity_is_read_back_and_an_unknown_key_in_it_is_refused(tmp_path: Path):
    path, identity = tmp_path / "m.json", ModelIdentity(id="tiny", n_layers=6)
    write(path, model=identity)
    assert read_manifest(path, SCHEMA).model == identity
    document = json.loads(path.read_text())
    assert list(document["model"]) == [field.name for field in fields(ModelIdentity)]
    document["model"]["colour"] = "red"
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="model.colour"):
        read_manifest(path, SCHEMA)


def test_the_same_again_is_kept_and_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "m.json"
    write(path)
    before = path.read_bytes()
    os.utime(path, (1, 1))
    write(path, run=Run.since(0.0))
    assert path.read_bytes() == before
    assert path.stat().st_mtime > 1e9
    with raises(ArtifactError, "output-exists") as caught:
        write(path, parameters={"layers": 3})
    assert "--force" in caught.value.hint
    write(path, parameters={"layers": 3}, force=True)
    assert read_manifest(path, SCHEMA).parameters == {"layers": 3}


def test_files_are_replaced_in_one_step(tmp_path: Path):
    path = tmp_path / "a.json"
    write_file(path, b"1")
    write_file(path, b"2", force=True)
    assert path.read_bytes() == b"2"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_folder_is_never_replaced(tmp_path: Path):
    (tmp_path / "a.json").mkdir()
    with raises(ArtifactError, "output-is-folder"):
        write_file(tmp_path / "a.json", b"1", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("text", "code", "fields"),
    [
        ("{", "not-json", {}),
        ('{"a": NaN}', "not-json", {}),
        ("[1]", "wrong-schema", {}),
        ('{"schema": "circuit.prompts/1"}', "wrong-schema", {}),
        ('{"schema": "circuit.test/1"}', "invalid-field", {"field": "parameters"}),
        ("\ud800".encode("utf-8", "surrogatepass"), "not-json", {}),
        ("[" * 100_000, "not-json", {}),
    ],
)
def test_bad_manifests_are_one_sentence(tmp_path: Path, text, code: str, fields: dict):
    path = tmp_path / "m.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with raises(ArtifactError, code, **fields):
        read_manifest(path, SCHEMA)


def test_an_archive_without_its_manifest_is_incomplete(tmp_path: Path):
    (tmp_path / "m.safetensors").write_bytes(b"")
    with raises(ArtifactError, "manifest-missing"):
        read_manifest(tmp_path / "m.json", SCHEMA)
    with raises(ArtifactError, "file-not-found"):
        read_document(tmp_path / "n.json", SCHEMA)


def test_stems_may_hold_dots():
    for name in ("a/run.v1", "a/run.v1.json", "a/run.v1.safetensors"):
        assert manifest_path(Path(name)) == Path("a/run.v1.json")


def test_a_run_is_reused_only_when_it_is_the_same(tmp_path: Path):
    path, source, out = tmp_path / "m.json", tmp_path / "p.json", tmp_path / "m.txt"
    source.write_text("{}")
    out.write_text("result")
    asked: dict[str, Any] = {"schema": SCHEMA, "parameters": {"a": (1, 2)}, "inputs": [source]}
    assert reusable(path, **asked) is None
    write(path, parameters={"a": (1, 2)}, inputs=[source], outputs=[out])
    assert reusable(path, **asked) == read_manifest(path, SCHEMA)
    assert reusable(path, **asked, force=True) is None
    with raises(ArtifactError, "output-exists"):
        reusable(path, **{**asked, "parameters": {"a": (1, 3)}})
    with raises(ArtifactError, "output-exists"):
        reusable(path, **asked, model=ModelIdentity(id="tiny"))
    out.write_text("other")
    with raises(ArtifactError, "output-changed"):
        reusable(path, **asked)
    source.write_text("[]")
    with raises(ArtifactError, "output-exists"):
        reusable(path, **asked)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
