"""JSON of anybody: what is valid is read as by Python, and nothing else gets through or ends in another error."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.values.json_values import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # No lone surrogates: no file can hold one.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@given(VALUES, st.booleans())
def test_a_document_is_read_as_by_python(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "1e999",
        '{"a": [-1E+400]}',
        "NaN",
        "[Infinity]",
        '"\\ud800"',
        '{"\\uDC00": 1}',
        b"\xff",
        b"",
        "{",
    ],
    ids=range(12),
)
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError, match="."):
        parse_json(text)


def test_configurations_of_models_may_hold_infinity():
    assert parse_json('{"time_step_limit": [0.0, Infinity]}', finite=False)["time_step_limit"] == [
        0.0,
        math.inf,
    ]


def test_surrogate_pairs_and_large_numbers_that_are_finite_are_read():
    assert parse_json('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert parse_json("[1e300, 2E+100, 1e-999]") == [1e300, 2e100, 0.0]
