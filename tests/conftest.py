"""Fixtures for every test."""

import fcntl
import os
import shlex
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_COLOR", "1")
os.environ.setdefault("COLUMNS", "100")
os.environ.setdefault("MPLBACKEND", "agg")

from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from processes import run_circuit
from real import find_model

import circuit.model  # noqa: F401  # a fast BLAS before any test file imports MLX
from circuit.artifacts.prompts.concept_files import make_concept, save_concept


@pytest.fixture(scope="session", autouse=True)
def library(tmp_path_factory) -> Path:
    """A cache and a library of concepts of their own: what other sessions left proves nothing."""
    from circuit.model.machine.runtime import cache_folder

    folder, blas = tmp_path_factory.mktemp("library"), cache_folder() / "blas"
    if blas.is_dir():
        (folder / "blas").symlink_to(blas)
    os.environ["CIRCUIT_CACHE"] = str(folder)
    os.environ["CIRCUIT_CONCEPTS"] = str(folder / "own")
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory) -> Path:
    """A random three-block Llama checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def llama(llama_folder):
    """The loaded checkpoint."""
    from circuit.model.checkpoint.loading import load_model

    return load_model(str(llama_folder))


@pytest.fixture(scope="session")
def identity_llama(tmp_path_factory):
    """A Llama whose blocks return exactly what they read."""
    from circuit.model.checkpoint.loading import load_model

    folder = write_checkpoint(tmp_path_factory.mktemp("identity"), identity_blocks=True)
    return load_model(str(folder))


def real_model(name: str):
    """Yield the GGUF file of a trained model; its checkpoint, several times as large, goes when the session ends."""
    path, reason = find_model(name)
    if path is None:
        pytest.skip(reason)
    from circuit.model.machine.runtime import cache_folder

    before = set((cache_folder() / "gguf").glob("*"))
    yield path
    for made in set((cache_folder() / "gguf").glob("*")) - before:
        if made.is_dir():
            shutil.rmtree(made)


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct in Q4_1, as a GGUF file."""
    yield from real_model("smollm2")


@pytest.fixture(scope="session")
def gemma3():
    """Gemma 3 270M in Q4_K_M, as a GGUF file."""
    yield from real_model("gemma3-270m")


WORKSPACE = (
    "dataset create -o prompts.json --per-tool 6 --no-tool 60 --no-edge-cases",
    "collect -m tiny -d prompts.json -o activations",
    "analyze -a activations.safetensors -o analysis.json",
    "directions -a activations.safetensors -o directions",
    "probes run -m tiny --category syntactic --layers -1 --no-random-weights -o report.json",
    'steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" -o computation.npz',
    "export computation.npz -o computation.gguf",
    "dataset create -o held_out.json --set refusal --size 6",
    "dataset create -o sums.json --set arithmetic_format --size 6",
    'steer sweep -m tiny -d computation.npz --test sums.json --criterion number -n 3 --dose-one 0.5 --doses "-1,-0.5,0,0.5,1" --random 1 --shuffled 0 -o sweep.json',
    'steer -m tiny -d computation.npz -p "7 + 5 =" --compare "0,1" --criterion "regex:[0-9]" --controls 2 -n 4 -o trial.json',
)
WRITTEN = {
    "questions.yaml": "- id: day\n  paraphrases:\n  - How was your day?\n  - Tell me about it.\n- The meeting went\n",
    "steering.yaml": "vectors:\n  - name: happy\n    positive_prompt: I am so happy and glad.\n"
    "    negative_prompt: I am so sad and tired.\n    layer: 3\n    coefficient: 1.5\n",
}


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """A folder with what the examples of ``--help`` read, made by the stages before them.

    It is made once for all processes that run tests, and each works on a copy.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "first-workspace"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            fill(folder := tmp_path_factory.mktemp("filled"))
            folder.rename(made)
    save_concept(
        "mine", make_concept("mine", ["Rain again, all day."], ["It was a day."]), force=True
    )
    return shutil.copytree(made, base / "workspace")


def fill(folder: Path) -> None:
    """Write ``WRITTEN`` into ``folder`` and run ``WORKSPACE`` there."""
    for name, text in WRITTEN.items():
        (folder / name).write_text(text)
    for line in WORKSPACE:
        done = run_circuit(*shlex.split(line), cwd=folder)
        assert done.returncode == 0, f"circuit {line}\n{done.stdout}{done.stderr}"


LONGEST = ("test_cli.py", "test_pipelines.py", "test_readme.py", "test_resume.py")


def pytest_collection_modifyitems(items) -> None:
    """Begin with the files that take longest, or one process works on them while the others are done."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
