"""Directions on the disk: circuit's archive, and the steering files of other programs.

``directions.safetensors`` holds one array ``(d,)`` per direction, named ``<name>.<site>.<layer>``.
``directions.json``, schema ``circuit.directions/1``, has everything else about each in
``results.directions``.

A *steering file* is such an archive, or a file of one of the formats in
``circuit.artifacts.steering_files.formats``, which are found by listing that folder.
``read_steering_file`` reads all of them and returns one type. Nothing is ever unpickled.

An archive holds directions of any site. Those in files of other programs are at ``resid_post``.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from circuit.artifacts.archive.archive import Archive, is_archive, write_archive
from circuit.artifacts.directions.direction import (
    Direction,
    Entry,
    entry_fields,
    require_direction,
    unit,
)
from circuit.artifacts.files.atomic import remove_on_failure
from circuit.artifacts.files.documents import read_json, schema_of, validated
from circuit.artifacts.files.paths import archive_path
from circuit.artifacts.manifest.manifest import (
    Manifest,
    Run,
    check_described,
    check_outputs,
    manifest_path,
    read_manifest,
    refuse_other,
    write_manifest,
)
from circuit.artifacts.steering_files.formats import SteeringFormat, formats, recognised_format
from circuit.errors import ArtifactError, DataError
from circuit.values import schemas
from circuit.values.identity import ModelIdentity
from circuit.values.json_values import JsonMapping

__all__ = [
    "Direction",
    "adds_every_layer",
    "format_of",
    "read_directions",
    "read_steering_file",
    "require_direction",
    "unit",
    "write_directions",
    "write_json",
    "write_npz",
    "write_steering_file",
]

_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}


class Contents(BaseModel):
    """The part of the manifest's results that describes the archive."""

    directions: tuple[Entry, ...]


def adds_every_layer(path: Path) -> bool:
    """Say whether programs that read this format add the vectors of all its layers at once."""
    return any(
        path.suffix == each.SUFFIX and getattr(each, "EVERY_LAYER", False)
        for each in formats().values()
    )


def write_directions(  # noqa: PLR0913 - the fields of a manifest
    stem: Path,
    directions: Sequence[Direction],
    *,
    parameters: JsonMapping,
    inputs: Sequence[Path],
    run: Run,
    model: Any = None,
    tokenizer: Any = None,
    results: JsonMapping | None = None,
    force: bool = False,
) -> Manifest:
    """Write ``<stem>.safetensors`` and, after it, ``<stem>.json``."""
    tensors = {direction.tensor: direction.vector for direction in directions}
    if len(tensors) < len(directions):
        raise DataError(
            "duplicate-direction",
            "two directions have the same name, site and layer",
            hint="give each direction its own name",
        )
    archive, manifest = archive_path(stem), manifest_path(stem)
    if not force:
        refuse_other(manifest, schemas.DIRECTIONS)
    replace = force or (not manifest.exists() and is_archive(archive))
    write_archive(archive, tensors, {"schema": schemas.DIRECTIONS}, force=replace)
    complete = manifest.is_file() and not force
    with nullcontext() if complete else remove_on_failure(archive):
        return write_manifest(
            manifest,
            schema=schemas.DIRECTIONS,
            parameters=parameters,
            inputs=inputs,
            outputs=[archive],
            results={**(results or {}), "directions": [entry_fields(each) for each in directions]},
            model=model,
            tokenizer=tokenizer,
            run=run,
            force=force,
        )


def read_directions(path: Path) -> list[Direction]:
    """Read ``x.safetensors``, ``x.json`` or the stem ``x``."""
    source = manifest_path(path)
    manifest = read_manifest(source, schemas.DIRECTIONS)
    check_outputs(source, manifest)
    check_described(source, manifest, [archive_path(path)])
    archive = Archive(archive_path(path))
    entries = validated(Contents, manifest.results, source).directions
    return [_direction(entry, archive, manifest.model) for entry in entries]


def read_steering_file(path: Path) -> list[Direction]:
    """Read directions from an archive or from a file of another program."""
    found = format_of(path)
    if found is None:
        return read_directions(path)
    return found.read(path)


def format_of(path: Path) -> SteeringFormat | None:
    """Return the format of another program's steering file; ``None`` for an archive of circuit."""
    if path.suffix == ".json" and schema_of(read_json(path)) is not None:
        return None
    known = [each for each in formats().values() if path.suffix == each.SUFFIX]
    if len(known) == 1:
        return known[0]
    if not path.exists() or (path.suffix == ".safetensors" and is_archive(path)):
        return None
    if known and (found := recognised_format(path)) is not None:
        return found
    if manifest_path(path).is_file():
        return None
    raise _not_a_steering_file(path)


def write_steering_file(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction in the format that the suffix of ``path`` names."""
    known = [each for each in formats().values() if path.suffix == each.SUFFIX]
    if len(known) != 1:
        suffixes = [each.SUFFIX for each in formats().values() if each.SUFFIX != ".safetensors"]
        raise ArtifactError(
            "unknown-format",
            f"`{path}` does not name a format for one direction",
            hint=f"use a name that ends in {' or '.join(suffixes)}",
            path=str(path),
        )
    known[0].write(path, [direction], force=force)


def write_npz(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction as ``.npz``."""
    formats()["npz"].write(path, [direction], force=force)


def write_json(path: Path, direction: Direction, *, force: bool = False) -> None:
    """Write one direction as ``.json``."""
    formats()["json"].write(path, [direction], force=force)


def _not_a_steering_file(path: Path) -> ArtifactError:
    if path.suffix in _PICKLES:
        return ArtifactError(
            "pickle-refused",
            f"`{path}` is a pickle, which can run code and is never loaded",
            hint="where it was made, save the vector as plain numbers: "
            'np.savez("x.npz", direction=vector.float().numpy(), layer=12); '
            "layer is the block after which it is added "
            "(row i of all hidden states is block i - 1)",
            path=str(path),
        )
    if path.suffix == ".safetensors":
        names = Archive(path).names
        holds = ", ".join(f"`{name}`" for name in names[:3]) + (" ..." if names[3:] else "")
        return ArtifactError(
            "not-a-steering-file",
            f"`{path}` is not a steering file: it holds {holds or 'no arrays'}",
            hint="steering-lite names its arrays `layer3.v`, saklas `layer_3`",
            path=str(path),
        )
    known = dict.fromkeys([".safetensors", *(each.SUFFIX for each in formats().values())])
    return ArtifactError(
        "not-a-steering-file",
        f"`{path}` is not a steering file",
        hint=f"circuit reads {', '.join(known)}",
        path=str(path),
    )


def _direction(entry: Entry, archive: Archive, model: ModelIdentity | None) -> Direction:
    fields = entry.model_dump(exclude={"tensor"})
    return Direction(**fields, vector=archive.read(entry.tensor), model=model)
