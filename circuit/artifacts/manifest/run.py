"""The circumstances of one run: version, command, time, host. They do not change the results."""

import platform
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Self

from circuit.artifacts.files.records import Record
from circuit.values.version import VERSION

PACKAGES = (
    "mlx",
    "mlx-lm",
    "numpy",
    "safetensors",
    "scikit-learn",
    "scipy",
    "transformers",
    "umap-learn",
)


class Run(Record):
    """The part of a manifest about the process that wrote it."""

    version: str
    command: str
    created: str
    host: str
    versions: dict[str, str]
    seconds: float
    peak_memory: int
    content_sha256: str | None = None  # of everything else in the manifest, set as it is written

    @classmethod
    def since(cls, started: float) -> Self:
        """Describe this process, busy since ``started`` on the clock of ``time.perf_counter``."""
        return cls(
            version=VERSION,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            host=f"{platform.node()} ({platform.system()} {platform.machine()})",
            versions={"python": platform.python_version(), **_installed(PACKAGES)},
            seconds=round(time.perf_counter() - started, 3),
            peak_memory=_peak_memory(),
        )


def _installed(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    # ru_maxrss counts kilobytes on Linux and bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
