"""Fixtures for every test."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_COLOR", "1")
os.environ.setdefault("COLUMNS", "100")
os.environ.setdefault("MPLBACKEND", "agg")

from pathlib import Path

import pytest
from checkpoints import write_checkpoint


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory) -> Path:
    """A random three-block Llama checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def llama(llama_folder):
    """The loaded checkpoint."""
    from circuit.model.loading import load_model

    return load_model(str(llama_folder))


@pytest.fixture(scope="session")
def identity_llama(tmp_path_factory):
    """A Llama whose blocks return exactly what they read."""
    from circuit.model.loading import load_model

    folder = write_checkpoint(tmp_path_factory.mktemp("identity"), identity_blocks=True)
    return load_model(str(folder))
