"""One vector per block: what the steering files of most programs hold, and how a direction comes back from one to the bit.

A vector t of block b is added to the block's output, so it is ``resid_post`` b or ``resid_pre`` b + 1. Its length L
matters: by default it is the direction's own, the distance between the class means.

    t = float32(L v)          v the direction, of unit length
    v = float32(t / L) + r    r in units of the last place: -1, 0 or 1 where nothing underflows

The record says everything else about the directions, with L and r (int8, base64), and goes into whatever place a
format has for additions. A vector that has no record, or whose SHA-256 is not the one that its record says, comes from
another program: it is taken as it is, at ``resid_post``, named after the file.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from circuit.artifacts.archive.archive import Archive
from circuit.artifacts.directions.direction import Direction, Entry, described, unit
from circuit.artifacts.files.documents import plain, validated
from circuit.errors import ArtifactError, DataError
from circuit.values.identity import ModelIdentity

Floats = NDArray[np.float32]


RECORD = "circuit.record"


class Kept(Entry):
    """A direction but for its vector, and how the vector of a block comes back to it."""

    block: int
    length: float
    rounding: str | None
    sha256: str


class Record(BaseModel):
    """What a file says about its directions beyond the vectors."""

    model: ModelIdentity | None
    directions: tuple[Kept, ...]


def block_of(direction: Direction) -> int:
    """Return the block after which a direction is added; ``DataError`` when no such place is its own."""
    if direction.site == "resid_post":
        return direction.layer
    if direction.site == "resid_pre" and direction.layer > 0:
        return direction.layer - 1
    message = f"direction `{direction.name}` was made at `{direction.site}` {direction.layer}"
    raise DataError(
        message, hint="files of other programs hold what is added after a block: use resid_post"
    )


def by_block(directions: Sequence[Direction]) -> dict[int, Direction]:
    """Return directions of one width by their block, in order."""
    placed: dict[int, Direction] = {}
    for each in directions:
        if (block := block_of(each)) in placed:
            message = (
                f"two directions belong to block {block}: `{placed[block].tensor}`, `{each.tensor}`"
            )
            raise DataError(message, hint="a file holds one for each block: choose with --name")
        placed[block] = each
    if len({each.vector.size for each in placed.values()}) > 1:
        message = "the directions have different widths"
        raise DataError(message, hint="a file holds directions of one model")
    return dict(sorted(placed.items()))


def packed(
    placed: Mapping[int, Direction], length: float | None
) -> tuple[dict[int, Floats], dict[str, Any]]:
    """Return the vector of each block, and the record."""
    wanted = {block: each.norm if length is None else length for block, each in placed.items()}
    vectors = {block: _scaled(each, wanted[block]) for block, each in placed.items()}
    kept = [
        {
            **described(each),
            "block": block,
            "length": wanted[block],
            "rounding": _rounding(each, vectors[block], wanted[block]),
            "sha256": _sha256(vectors[block]),
        }
        for block, each in placed.items()
    ]
    return vectors, {"model": plain(next(iter(placed.values())).model), "directions": kept}


def lengths(record: Mapping[str, Any]) -> dict[int, float]:
    """Return the length of each block's vector."""
    return {each["block"]: each["length"] for each in record["directions"]}


def unpacked(
    path: Path,
    vectors: Mapping[int, NDArray[Any]],
    record: Any = None,
    *,
    method: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> list[Direction]:
    """Return the directions of a file, in the order of their blocks."""
    if not vectors:
        message = f"`{path}` holds no vector"
        raise ArtifactError(message, hint="the file is empty, or of another kind")
    known = None if record is None else validated(Record, record, path)
    kept = {each.block: each for each in known.directions} if known else {}
    found = []
    for block, vector in sorted(vectors.items()):
        values, length = unit(vector, f"the vector of block {block} in `{path}`")
        entry = kept.get(block)
        if known is not None and entry is not None and _sha256(vector) == entry.sha256:
            found.append(_restored(path, vector, entry, known.model))
        else:
            fields: dict[str, Any] = {"method": method, "extra": dict(extra or {})}
            found.append(Direction(path.stem, "resid_post", block, values, length, **fields))
    return found


def header_record(archive: Archive) -> Any:
    """Return the record in the header of a safetensors file, where there is one."""
    return parsed_record(archive.strings.get(RECORD), archive.path)


def parsed_record(text: str | None, path: Path) -> Any:
    """Return the record that was written as JSON."""
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        message = f"the record in `{path}` is not JSON"
        raise ArtifactError(message, hint="the file is damaged: export it again") from error


def family_of(placed: Mapping[int, Direction]) -> str:
    """Return the ``model_type`` of the model, for formats that want one."""
    model = next(iter(placed.values())).model
    return (model and model.family) or "unknown"


def _scaled(direction: Direction, length: float) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        vector = (direction.vector.astype(np.float64) * length).astype(np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise _unfit(direction, length)
    return vector


def _rounding(direction: Direction, vector: Floats, length: float) -> str | None:
    units = _bits(direction.vector) - _bits(_divided(vector, length))
    if not units.any():
        return None
    if np.abs(units).max() > np.iinfo(np.int8).max:
        raise _unfit(direction, length)
    return base64.b64encode(units.astype(np.int8).tobytes()).decode()


def _restored(
    path: Path, vector: NDArray[Any], entry: Kept, model: ModelIdentity | None
) -> Direction:
    values = _divided(np.ascontiguousarray(vector, np.float32), entry.length)
    if entry.rounding is not None:
        values = (
            (_bits(values) + _units(path, entry.rounding, values.size))
            .astype(np.int32)
            .view(np.float32)
        )
    fields = entry.model_dump(exclude={"tensor", "block", "length", "rounding", "sha256"})
    return Direction(**fields, vector=values, model=model)


def _units(path: Path, text: str, count: int) -> NDArray[np.int8]:
    try:
        units = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError):
        units = np.empty(0, np.int8)
    if units.size != count:
        message = f"the record in `{path}` does not fit its vectors"
        raise ArtifactError(message, hint="the file is damaged: export it again")
    return units


def _divided(vector: Floats, length: float) -> Floats:
    return (vector.astype(np.float64) / length).astype(np.float32)


def _sha256(vector: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()


def _bits(values: Floats) -> NDArray[np.int64]:
    return np.ascontiguousarray(values).view(np.int32).astype(np.int64)


def _unfit(direction: Direction, length: float) -> DataError:
    message = f"direction `{direction.tensor}` at length {length:g} does not fit into float32"
    return DataError(message, hint="choose another length with --scale, such as unit")
