"""Directions: unit vectors at a site and layer, with how good they are and where they came from.

``directions.safetensors`` holds one array ``(d,)`` per direction, named ``<name>.<site>.<layer>``;
``directions.json``, schema ``circuit.directions/1``, has in ``results.directions`` everything else about each.

A *steering file* is such an archive, or a file of one of the formats in ``circuit.artifacts.formats``, which are found
by listing that folder. ``read_steering_file`` reads all of them. Nothing is ever unpickled.

A direction has unit norm; ``norm`` is the length that it had by nature, the distance between the class means. An
archive holds whatever site it was made at. Files of other tools are taken to mean ``resid_post``.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from circuit.artifacts.archive import Archive, is_archive, write_archive
from circuit.artifacts.atomic import removed_on_failure
from circuit.artifacts.documents import read_json, schema_of, validated
from circuit.artifacts.manifest import (
    Manifest,
    ModelIdentity,
    Run,
    check_outputs,
    manifest_path,
    read_manifest,
    refuse_other,
    write_manifest,
)
from circuit.artifacts.places import archive_path
from circuit.errors import ArtifactError, DataError

SCHEMA = "circuit.directions/1"


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector ``(d,)`` that points from the negative class to the positive one."""

    name: str
    site: str
    layer: int
    vector: NDArray[np.float32]
    norm: float
    method: str | None = None
    positive_label: str | None = None
    negative_label: str | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    model: ModelIdentity | None = None
    format: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vector = np.ascontiguousarray(self.vector, np.float32)
        require_direction(vector, f"direction `{self.name}`")
        if not np.isclose(np.linalg.norm(vector.astype(np.float64)), 1, atol=1e-4):
            message = f"direction `{self.name}` has length {np.linalg.norm(vector):.4g}, not 1"
            raise DataError(message, hint="divide it by its length, and keep that as `norm`")
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    @property
    def tensor(self) -> str:
        """The name of the vector in an archive."""
        return f"{self.name}.{self.site}.{self.layer}"


class Entry(BaseModel):
    """What a manifest says about one direction: everything but the vector and the model."""

    tensor: str
    name: str
    site: str
    layer: int
    norm: float
    method: str | None
    positive_label: str | None
    negative_label: str | None
    format: str | None
    quality: dict[str, Any]
    extra: dict[str, Any]


class Contents(BaseModel):
    """The part of the manifest's results that describes the archive."""

    directions: tuple[Entry, ...]


def unit(vector: ArrayLike, source: str) -> tuple[NDArray[np.float32], float]:
    """Return ``vector`` ``(d,)`` at unit length, and the length that it had."""
    values = np.asarray(vector)
    require_direction(values, source)
    length = float(np.linalg.norm(values.astype(np.float64)))
    if abs(length - 1) < 1e-6:
        # As exact as float32 can be: dividing again would only change the last bits.
        return values.astype(np.float32), length
    return (values.astype(np.float64) / length).astype(np.float32), length


def require_direction(vector: NDArray[Any], source: str) -> None:
    """Raise unless ``vector`` is one finite, non-zero vector of numbers."""
    problem = None
    if vector.ndim != 1 or not vector.size:
        problem = f"has shape {vector.shape}"
    elif not np.issubdtype(vector.dtype, np.number) or np.iscomplexobj(vector):
        problem = "does not consist of numbers"
    elif not np.isfinite(vector).all():
        problem = "has values that are NaN or infinite"
    elif not vector.any():
        problem = "is zero"
    if problem:
        message = f"{source} {problem}"
        raise ArtifactError(message, hint="a direction is one finite vector that is not zero")


def write_directions(
    stem: Path,
    directions: Sequence[Direction],
    *,
    parameters: Mapping[str, Any],
    inputs: Sequence[Path],
    run: Run,
    model: Any = None,
    tokenizer: Any = None,
    results: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Manifest:
    """Write ``<stem>.safetensors`` and, after it, ``<stem>.json``."""
    tensors = {direction.tensor: direction.vector for direction in directions}
    if len(tensors) < len(directions):
        message = "two directions have the same name, site and layer"
        raise DataError(message, hint="give each direction a name of its own")
    archive, manifest = archive_path(stem), manifest_path(stem)
    if not force:
        refuse_other(manifest, SCHEMA)
    replace = force or (not manifest.exists() and is_archive(archive))
    write_archive(archive, tensors, {"schema": SCHEMA}, force=replace)
    complete = manifest.is_file() and not force
    with nullcontext() if complete else removed_on_failure(archive):
        return write_manifest(
            manifest,
            schema=SCHEMA,
            parameters=parameters,
            inputs=inputs,
            outputs=[archive],
            results={**(results or {}), "directions": [_entry(each) for each in directions]},
            model=model,
            tokenizer=tokenizer,
            run=run,
            force=force,
        )


def read_directions(path: Path) -> list[Direction]:
    """Read ``x.safetensors``, ``x.json`` or the stem ``x``."""
    source = manifest_path(path)
    manifest = read_manifest(source, SCHEMA)
    check_outputs(source, manifest)
    archive = Archive(archive_path(path))
    entries = validated(Contents, manifest.results, source).directions
    return [_direction(entry, archive, manifest.model) for entry in entries]


def read_steering_file(path: Path) -> list[Direction]:
    """Read directions from an archive or from a file of a format in ``circuit.artifacts.formats``."""
    if path.suffix == ".safetensors" or _is_document(path):
        return read_directions(path)
    if path.suffix not in formats():
        if manifest_path(path).is_file() or not path.exists():
            return read_directions(path)
        known = ", ".join([".safetensors", *formats()])
        message = f"`{path}` is not a steering file"
        raise ArtifactError(message, hint=f"circuit reads {known}")
    read: list[Direction] = formats()[path.suffix].read(path)
    return read


def write_steering_file(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction in the format that the suffix of ``path`` names."""
    if path.suffix not in formats():
        message = f"one direction cannot be written to `{path}`"
        raise ArtifactError(message, hint=f"use a name that ends in {' or '.join(formats())}")
    formats()[path.suffix].write(path, direction, force=force)


def write_npz(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction as ``.npz``."""
    formats()[".npz"].write(path, direction, force=force)


def write_json(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction as ``.json``."""
    formats()[".json"].write(path, direction, force=force)


def formats() -> dict[str, ModuleType]:
    """Return each format module by the suffix of its files."""
    from circuit.artifacts import formats as folder

    names = sorted(found.name for found in pkgutil.iter_modules(folder.__path__))
    modules = [importlib.import_module(f"{folder.__name__}.{name}") for name in names]
    return {module.SUFFIX: module for module in modules}


def _is_document(path: Path) -> bool:
    return path.suffix == ".json" and schema_of(read_json(path)) is not None


def _entry(direction: Direction) -> Entry:
    fields = {name: getattr(direction, name) for name in Entry.model_fields}
    return Entry.model_validate(
        {**fields, "quality": dict(direction.quality), "extra": dict(direction.extra)}
    )


def _direction(entry: Entry, archive: Archive, model: ModelIdentity | None) -> Direction:
    fields = entry.model_dump(exclude={"tensor"})
    return Direction(**fields, vector=archive.read(entry.tensor), model=model)
