"""Where an artifact lies: its manifest is the JSON file of its name, and nothing is written over its own source."""

from collections.abc import Iterable
from pathlib import Path

from circuit.errors import UsageError


def manifest_path(path: Path) -> Path:
    """Return ``x.json`` for ``x.json``, ``x.safetensors`` and the stem ``x``."""
    name = path.name.removesuffix(".safetensors").removesuffix(".json")
    return path.with_name(f"{name}.json")


def refuse_input(path: Path, inputs: Iterable[Path]) -> None:
    """Raise when writing ``path`` would destroy what it is made from; nobody means that by ``--force``."""
    for each in inputs:
        if path.resolve() in (each.resolve(), manifest_path(each).resolve()):
            message = f"`{path}` would replace `{each}`, from which it is made"
            raise UsageError(message, hint="choose another name for the output")
