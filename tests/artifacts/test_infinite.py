"""Numbers that may be infinite reach no file: they are null, and are read as not known."""

import math
from dataclasses import dataclass

import pytest
from errors import raises

from circuit.artifacts.files.documents import canonical_json, document_bytes, plain, restored
from circuit.errors import ArtifactError
from circuit.present.numbers import formatted, interval


@dataclass(frozen=True)
class Inner:
    triple: tuple[float, float, float]
    known: float | None


@dataclass(frozen=True)
class Outer:
    name: str
    inner: dict[str, Inner]


def test_an_infinite_end_of_an_interval_becomes_null_and_comes_back_unknown():
    value = Outer("x", {"a": Inner((0.5, -math.inf, math.inf), math.inf)})
    written = plain(value)
    assert written["inner"]["a"] == {"triple": [0.5, None, None], "known": None}
    assert b"Infinity" not in document_bytes(written)
    found = restored(Outer, written).inner["a"]
    assert found.triple[0] == 0.5
    assert math.isnan(found.triple[1])
    assert found.known is None
    assert interval(found.triple) == interval((0.5, -math.inf, math.inf)) == "0.50"


def test_what_does_not_fit_is_refused_as_before():
    with raises(ArtifactError, "results-of-another-version"):
        restored(Outer, {"name": None, "inner": {}})
    with raises(ArtifactError, "results-of-another-version"):
        restored(Outer, {"name": "x", "inner": {"a": {"triple": [0.5, None], "known": 1}}})


def test_not_a_number_is_an_error_of_ours_and_no_null():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": math.nan})
    assert formatted(math.nan) == "-"
