"""Expect an error by its class, its code and its fields; the sentences are compared in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from circuit.errors import CircuitError


@contextmanager
def raises(cls: type[CircuitError], code: str, **fields: object) -> Iterator[pytest.ExceptionInfo]:
    """Pass where the block raises ``cls`` with ``code``, and with ``fields`` among its fields."""
    with pytest.raises(cls) as caught:
        yield caught
    error = caught.value
    assert error.code == code, f"{error.code}: {error.message}"
    assert {name: error.fields.get(name) for name in fields} == fields
