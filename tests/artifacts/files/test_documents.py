"""Canonical JSON: one text for each value."""

import json
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.artifacts.files.documents import canonical_json, document_bytes, read_json
from circuit.artifacts.files.yaml_or_json import read_yaml_or_json
from circuit.artifacts.prompts.tables import read_table
from circuit.errors import ArtifactError
from circuit.stages.rows.prompting import read_tools

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_equal_values_have_equal_canonical_json(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(json.loads(document_bytes(value))) == text


def test_canonical_json_accepts_numpy_and_paths():
    value = {2: np.float32(0.5), "b": (1, np.int64(2)), "a": Path("x/y"), "v": np.array([1.5, 2])}
    assert canonical_json(value) == '{"2":0.5,"a":"x/y","b":[1,2],"v":[1.5,2.0]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


HOSTILE = ["[" * 100_000 + "]" * 100_000, '[{"text": "\\ud800"}]', '[{"text": "a", "x": 1e999}]']


@pytest.mark.parametrize("text", HOSTILE, ids=["nested", "surrogate", "infinite"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.json", read_json),
        ("a.json", read_yaml_or_json),
        ("a.json", read_table),
        ("a.jsonl", read_table),
        ("a.json", read_tools),
    ],
)
def test_hostile_documents_are_not_json(tmp_path: Path, name: str, read, text: str):
    (tmp_path / name).write_text(text)
    with raises(ArtifactError, "not-json"):
        read(tmp_path / name)


def test_yaml_that_is_nested_without_end_is_an_error(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("[" * 20_000)
    with raises(ArtifactError, "not-yaml"):
        read_yaml_or_json(tmp_path / "a.yaml")
