"""Fixtures of the archives."""

import pytest
from written import SMALL


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> bytes:
    """The archive of an uninterrupted run."""
    return SMALL.write(tmp_path_factory.mktemp("whole") / "a").archive.path.read_bytes()
