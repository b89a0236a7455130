"""Everything that is claimed about speed and memory, measured in one go: ``make bench``.

Ratios of two things done in turn in one run, with their range: absolute numbers depend on the machine and on what
else it does. Each part is a script of its own, so that one can be run alone; a comparison whose other side is not
installed says so. Half an hour on two cores.
"""

import platform
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path

from circuit.model.machine import runtime

PARTS = ("speed.py", "introspect.py", "operations.py", "collect.py", "memory.py", "kills.py")


def main() -> None:
    import mlx.core as mx

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "mlx-lm", "numpy"))
    print(
        f"{date.today()}, {mx.device_info()['device_name']} ({platform.machine()}), {runtime.device()}"
    )
    print(f"{versions}; BLAS: {runtime.prepare().name}", flush=True)
    for part in PARTS:
        print(f"\n== {part}", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(part)], check=True)


if __name__ == "__main__":
    main()
