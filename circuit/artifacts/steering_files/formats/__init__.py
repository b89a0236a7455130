"""Steering files of other programs: one module per format, found by listing this folder.

A module has

    NAME, SUFFIX                                     what it is called, and how its files end
    CONVENTION                                       a phrase: which block a number in the file means
    SEVERAL                                          whether a file holds more than one direction
    read(path) -> list[Direction]
    write(path, directions, *, length, force)        ``length`` is that of every vector, ``None`` its own -> Written

and, where formats share a suffix, ``recognises(path)``. A file that lies beside it belongs to it: ``beside(path)``.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Written:
    """The length of each block's vector in a file, what there is to say about it, and command lines that use it."""

    blocks: Mapping[int, float]
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def formats() -> dict[str, ModuleType]:
    """Return each format module by its name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.NAME: module for module in modules}
