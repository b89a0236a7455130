"""Run code in a process of its own, also as somebody who may not write where the tests may."""

import os
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
TESTS = Path(__file__).parent


def run_in_read_only(folder: Path, code: str) -> str:
    """Run ``code`` as nobody, in ``folder``, which is read-only meanwhile; return what it prints."""
    # Root may write everywhere. Imports come first: nobody may not be allowed to read the sources.
    imports = "import circuit.artifacts.activations_writer, circuit.artifacts.archive\n"
    drop = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})\n" if os.geteuid() == 0 else ""
    command = [sys.executable, "-c", imports + drop + code]
    folder.chmod(0o555)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    finally:
        folder.chmod(0o755)
    return done.stdout


def run_code(*arguments) -> subprocess.Popen:
    """Start Python with ``arguments`` and the modules of the tests; its output is piped."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    env = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
