"""Canonical JSON: one text for each value."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit.artifacts.files.documents import canonical_json, document_bytes

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
