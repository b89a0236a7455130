"""Where tests find a trained model as a GGUF file, and why not where they do not."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from circuit.model.machine.runtime import cache_folder

ROOT = Path(__file__).parents[1]
FETCHED = cache_folder() / "real"  # read before the tests have a cache of their own


def find_model(name: str) -> tuple[Path | None, str]:
    """Return the file of ``NAME.gguf``, or None and the reason.

    It is looked for in the folder that CIRCUIT_REAL names (which may name SmolLM2's file itself) and in ``out/models`` (`make real`), else fetched once into circuit's cache.
    """
    given = Path(os.environ.get("CIRCUIT_REAL") or ROOT / "out" / "models")
    if name == "smollm2" and given.is_file():
        return given.absolute(), ""
    for folder in (given, ROOT / "out" / "models", FETCHED):
        if (path := folder / f"{name}.gguf").is_file():
            return path.absolute(), ""
    FETCHED.mkdir(parents=True, exist_ok=True)
    with (FETCHED / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests
        script = ROOT / "pipelines" / "real" / "models.py"
        done = subprocess.run(
            [sys.executable, str(script), name, "--out", str(FETCHED)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    return FETCHED / f"{name}.gguf", ""
