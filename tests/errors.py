"""Errors in tests: their class, their code and their fields, not their sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from circuit.errors import CircuitError


@contextmanager
def raises(
    kind: type[CircuitError], code: str, **fields: object
) -> Iterator[pytest.ExceptionInfo[CircuitError]]:
    """Expect an error of ``kind`` with ``code``, whose fields hold at least ``fields``."""
    with pytest.raises(kind) as caught:
        yield caught
    found = caught.value
    assert found.code == code, f"{found.code}: {found.message}"
    assert fields.items() <= found.fields.items(), found.fields
