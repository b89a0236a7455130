"""Steering files of other programs: one module per format, found by listing this folder.

A module is a ``SteeringFormat``; to add one, add a file. Formats that share a suffix also have
``recognises(path)``, which returns whether a file is of this format. A format with a second file
beside the first has ``beside(path)``, which lists it.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from circuit.artifacts.directions.direction import Direction


@dataclass(frozen=True)
class WriteResult:
    """The length of each block's vector in a file, notes, and command lines that use the file."""

    blocks: Mapping[int, float]
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class SteeringFormat(Protocol):
    """A format: its name, its suffix, which block a number in a file means, and its functions."""

    NAME: str
    SUFFIX: str
    CONVENTION: str
    SEVERAL: bool  # whether a file holds more than one direction

    def read(self, path: Path) -> list[Direction]:
        """Read the directions of a file."""

    def write(
        self,
        path: Path,
        directions: Sequence[Direction],
        *,
        length: float | None = None,
        force: bool = False,
    ) -> WriteResult:
        """Write directions, every vector at ``length``; ``None`` is its own."""


def formats() -> dict[str, SteeringFormat]:
    """Return each format by its name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.NAME: cast("SteeringFormat", module) for module in modules}


def recognised_format(path: Path) -> SteeringFormat | None:
    """Return the first of several formats with the suffix of ``path`` that recognises the file."""
    for each in formats().values():
        if path.suffix == each.SUFFIX and each.recognises(path):  # type: ignore[attr-defined]
            return each
    return None


def files_beside(format_: SteeringFormat, path: Path) -> list[Path]:
    """Return the other files that belong to ``path``, if any."""
    beside = getattr(format_, "beside", None)
    return [] if beside is None else list(beside(path))
