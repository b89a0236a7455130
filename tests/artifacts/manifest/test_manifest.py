"""Manifests: canonical text, digests without `run`, atomic writing, reuse."""

import json
import os
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import raises
from signed import write_signed

from circuit.artifacts.files.documents import read_document
from circuit.artifacts.manifest.manifest import (
    Run,
    digest,
    manifest_path,
    read_manifest,
    reusable,
    write_manifest,
)
from circuit.errors import ArtifactError
from circuit.stages.checks.verify import verify
from circuit.values.identity import ModelIdentity, TokenizerIdentity

SCHEMA = "circuit.test/1"


def write(path: Path, **changes: Any):
    fields: dict[str, Any] = {
        "parameters": {"layers": (1, 2)},
        "inputs": [],
        "run": Run.since(time.perf_counter()),
    }
    return write_manifest(path, schema=SCHEMA, **{**fields, **changes})


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
    write_signed(path, document)
    with pytest.raises(ArtifactError, match="model.colour"):
        read_manifest(path, SCHEMA)


def test_an_equal_manifest_is_kept_and_another_is_refused(tmp_path: Path):
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
def test_bad_manifests_are_an_error(tmp_path: Path, text, code: str, fields: dict):
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


MODEL = ModelIdentity(id="tiny", adapter="lora")
TOKENIZER = TokenizerIdentity(files_sha256="0" * 64, chat_template_sha256="1" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(MODEL, adapter=None)},
        {"tokenizer": replace(TOKENIZER, chat_template_sha256="2" * 64)},
        {"tokenizer": replace(TOKENIZER, files_sha256="2" * 64)},
    ],
)
def test_another_adapter_or_chat_template_is_another_run(tmp_path: Path, change: dict):
    key: dict[str, Any] = {"parameters": {}, "inputs": [], "model": MODEL, "tokenizer": TOKENIZER}
    write(tmp_path / "m.json", **key)
    assert reusable(tmp_path / "m.json", schema=SCHEMA, **key) is not None
    with raises(ArtifactError, "output-exists"):
        reusable(tmp_path / "m.json", schema=SCHEMA, **(key | change))


@pytest.mark.parametrize("missing", ["model", "tokenizer"])
def test_a_file_without_an_identity_that_is_expected_is_another_run(tmp_path: Path, missing: str):
    key: dict[str, Any] = {"parameters": {}, "inputs": [], "model": MODEL, "tokenizer": TOKENIZER}
    write(tmp_path / "m.json", **(key | {missing: None}))
    with raises(ArtifactError, "output-exists"):
        reusable(tmp_path / "m.json", schema=SCHEMA, **key)


# ------------------------------------------------------------------------ its own digest


def edits(text: bytes, rng: np.random.Generator, n: int):
    """Changed copies of a manifest: a bit, a letter less, a digit more, other values, a second key."""
    for _ in range(n):
        at = int(rng.integers(0, text.index(b'"run"')))
        changed = (bytes([text[at] ^ 1]) + text[at + 1 :], text[at + 1 :], b"1" + text[at:])
        edited = text[:at] + changed[rng.integers(3)]
        if not text[at : at + 1].isspace():
            yield edited
    document = json.loads(text)
    yield json.dumps({**document, "results": {"x": 7}}, indent=2).encode()
    yield text.rstrip().removesuffix(b"}").rstrip() + b',\n  "results": {"x": 7}\n}\n'
    yield text.replace(b'"parameters": {', b'"parameters": {\n    "more": 1,')


def test_an_edited_manifest_is_refused_by_readers_and_by_verify(tmp_path: Path):
    path = tmp_path / "m.json"
    write(path, results={"x": 1, "names": ["a", "ü"], "nested": {"y": [0.1, None, 1e-7]}})
    original = path.read_bytes()
    for edited in edits(original, np.random.default_rng(0), 300):
        path.write_bytes(edited)
        with pytest.raises(ArtifactError):
            read_manifest(path, SCHEMA)
        if b'"schema": "circuit.' in edited:
            assert [each.status for each in verify([path])] == ["changed"]
    path.write_bytes(original)
    assert [each.status for each in verify([path])] == ["ok"]


def test_another_run_another_spelling_and_no_digest_are_read(tmp_path: Path):
    path = tmp_path / "m.json"
    written = write(path, results={"x": [0.1, "ü"]})
    assert read_manifest(path, SCHEMA) == written
    assert written.run.content_sha256 == digest(path)
    document = json.loads(path.read_text())
    document["run"]["host"] = "elsewhere"
    path.write_text(json.dumps(dict(reversed(document.items()))))
    assert read_manifest(path, SCHEMA).run.host == "elsewhere"
    del document["run"]["content_sha256"]
    document["results"] = {}
    path.write_text(json.dumps(document))
    assert read_manifest(path, SCHEMA).results == {}
