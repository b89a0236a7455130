"""Run code in a folder that may not be written, also when the tests run as root."""

import os
import subprocess
import sys
from pathlib import Path

NOBODY = 65534


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
