"""Paths of an artifact: its manifest is the JSON file of its name.

    x.json  x.safetensors                                 a manifest and its archive
    x.json  x.safetensors.index.json                      in shards, which the index lists:
    x-00001-of-00002.json  x-00001-of-00002.safetensors   one shard

A rule of a Makefile depends on ``x.json``: it is there in both cases, and it is written last.
"""

from collections.abc import Iterable
from pathlib import Path

from circuit.errors import UsageError

_INDEX = ".safetensors.index.json"


def manifest_path(path: Path) -> Path:
    """Return ``x.json`` for ``x.json``, ``x.safetensors``, its index, and the stem ``x``.

    Raises ``UsageError`` for a path without a name, such as ``""`` and ``..``.
    """
    if path.name in ("", ".."):
        message = f"`{path}` has no name of a file"
        hint = "end the path in a name"
        raise UsageError("path-without-a-name", message, hint=hint, path=str(path))
    name = path.name.removesuffix(_INDEX).removesuffix(".safetensors").removesuffix(".json")
    return path.with_name(f"{name}.json")


def archive_path(path: Path) -> Path:
    """Return ``x.safetensors`` for the same names."""
    return manifest_path(path).with_suffix(".safetensors")


def index_path(path: Path) -> Path:
    """Return ``x.safetensors.index.json`` for the same names."""
    return manifest_path(path).with_suffix(_INDEX)


def shard_path(path: Path, number: int, count: int) -> Path:
    """Return the manifest of one shard, ``x-00002-of-00004.json``; shards are counted from 1."""
    if not 1 <= number <= count:
        last = max(count, 1)
        raise UsageError(
            "shard-out-of-range",
            f"shard {number}/{count} is out of range",
            hint=f"shards are 1/{last} to {last}/{last}",
            number=number,
            count=count,
        )
    stem = manifest_path(path).stem
    return path.with_name(f"{stem}-{number:05}-of-{count:05}.json")


def refuse_input(path: Path, inputs: Iterable[Path]) -> None:
    """Raise ``UsageError`` when ``path`` is one of its own ``inputs``, also with ``--force``."""
    for each in inputs:
        if path.resolve() in (each.resolve(), manifest_path(each).resolve()):
            raise UsageError(
                "output-is-input",
                f"`{path}` would replace `{each}`, from which it is made",
                hint="choose another name for the output",
                path=str(path),
                input=str(each),
            )
