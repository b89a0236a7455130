"""Fixtures for every test."""

import os
import shlex
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_COLOR", "1")
os.environ.setdefault("COLUMNS", "100")
os.environ.setdefault("MPLBACKEND", "agg")

from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import circuit.model  # noqa: F401  # a fast BLAS before any test file imports MLX


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


WORKSPACE = (
    "dataset create -o prompts.json --per-tool 6 --no-tool 60 --no-edge-cases",
    "collect -m tiny -d prompts.json -o activations",
    "analyze -a activations.safetensors -o analysis.json",
    "directions -a activations.safetensors -o directions",
    "probes run -m tiny --category syntactic --layers -1 --no-random-weights -o report.json",
    'steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" -o computation.npz',
    "export computation.npz -o computation.gguf",
    'steer -m tiny -d computation.npz -p "7 + 5 =" --compare "0,1" --criterion "regex:[0-9]" --controls 2 -n 4 -o trial.json',
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """A folder with what the examples of ``--help`` read, made by the stages before them."""
    folder = tmp_path_factory.mktemp("workspace")
    for line in WORKSPACE:
        command = [sys.executable, "-m", "circuit", *shlex.split(line)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"circuit {line}\n{done.stdout}{done.stderr}"
    return folder
