"""One vector per block, as most steering files hold it, from which directions are restored exactly.

A vector t of block b is added to the block's output, so it is ``resid_post`` b or ``resid_pre``
b + 1. Its length L matters: by default it is the direction's own, the distance between the class
means.

    t = float32(L v)          v the direction, of unit length
    v = float32(t / L) + r    r in units of the last place: -1, 0 or 1 without underflow

The record holds everything else about the directions, with L and r (int8, base64), in the place
that a format has for additions. A vector without a record comes from another program: it becomes a
direction at ``resid_post``, named after the file. One whose SHA-256 differs from that in its record
is refused: the file was damaged, or changed by a program that kept a record that no longer holds.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from circuit.artifacts.archive.archive import Archive
from circuit.artifacts.archive.dtypes import Array
from circuit.artifacts.directions.direction import Direction, Entry, entry_fields, unit
from circuit.artifacts.files.documents import plain, validated
from circuit.errors import ArtifactError, DataError
from circuit.values.identity import ModelIdentity
from circuit.values.json_values import JsonMapping, JsonObject, parse_json

Floats = NDArray[np.float32]


RECORD_KEY = "circuit.record"


class BlockEntry(Entry):
    """A direction without its vector, and how it is restored from the vector of a block."""

    block: int
    length: float
    rounding: str | None
    sha256: str


class DirectionsRecord(BaseModel):
    """The record of a file: everything about its directions but the vectors."""

    model: ModelIdentity | None
    directions: tuple[BlockEntry, ...]


def block_of(direction: Direction) -> int:
    """Return the block after which a direction is added.

    Raises ``DataError`` for a site that is not between two blocks.
    """
    if direction.site == "resid_post":
        return direction.layer
    if direction.site == "resid_pre" and direction.layer > 0:
        return direction.layer - 1
    raise DataError(
        "direction-not-at-block",
        f"direction `{direction.name}` at `{direction.site}` {direction.layer} is inside a block",
        hint="other programs add a direction after a block: use resid_post",
        direction=direction.name,
        site=direction.site,
        layer=direction.layer,
    )


def by_block(directions: Sequence[Direction]) -> dict[int, Direction]:
    """Return directions of one width by their block, in order."""
    placed: dict[int, Direction] = {}
    for each in directions:
        if (block := block_of(each)) in placed:
            raise DataError(
                "duplicate-block",
                f"two directions belong to block {block}: "
                f"`{placed[block].tensor}`, `{each.tensor}`",
                hint="a file holds one direction for each block: choose with --name",
                block=block,
            )
        placed[block] = each
    if len({each.vector.size for each in placed.values()}) > 1:
        raise DataError(
            "widths-differ",
            "the directions have different widths",
            hint="a file holds directions of one model",
        )
    return dict(sorted(placed.items()))


def pack_directions(
    placed: Mapping[int, Direction], length: float | None
) -> tuple[dict[int, Floats], JsonObject]:
    """Return the vector of each block, and the record."""
    wanted = {block: each.norm if length is None else length for block, each in placed.items()}
    vectors = {block: _scaled(each, wanted[block]) for block, each in placed.items()}
    kept = [
        {
            **entry_fields(each),
            "block": block,
            "length": wanted[block],
            "rounding": _rounding(each, vectors[block], wanted[block]),
            "sha256": _sha256(vectors[block]),
        }
        for block, each in placed.items()
    ]
    return vectors, {"model": plain(next(iter(placed.values())).model), "directions": kept}


def block_lengths(record: JsonMapping) -> dict[int, float]:
    """Return the length of each block's vector."""
    return {each["block"]: each["length"] for each in record["directions"]}


def unpack_directions(
    path: Path,
    vectors: Mapping[int, Array],
    record: object = None,
    *,
    method: str | None = None,
    extra: JsonMapping | None = None,
) -> list[Direction]:
    """Return the directions of a file, in the order of their blocks."""
    if not vectors:
        raise ArtifactError(
            "no-directions",
            f"`{path}` holds no vector",
            hint="the file is empty, or of another kind",
            path=str(path),
        )
    known = None if record is None else validated(DirectionsRecord, record, path)
    kept = {each.block: each for each in known.directions} if known else {}
    found = []
    for block, vector in sorted(vectors.items()):
        values, length = unit(vector, f"the vector of block {block} in `{path}`")
        entry = kept.get(block)
        if known is not None and entry is not None:
            if _sha256(vector) != entry.sha256:
                raise _changed(path, block)
            found.append(_restored(path, vector, entry, known.model))
        else:
            fields: JsonObject = {"method": method, "extra": dict(extra or {})}
            found.append(Direction(path.stem, "resid_post", block, values, length, **fields))
    return found


def _changed(path: Path, block: int) -> ArtifactError:
    return ArtifactError(
        "vector-changed",
        f"the vector of block {block} in `{path}` is not the one that its record describes",
        hint="circuit export writes it again; a program that changed it must drop the record",
        path=str(path),
        block=block,
    )


def record_in_header(archive: Archive) -> object:
    """Return the record in the header of a safetensors file, where there is one."""
    return parse_record(archive.strings.get(RECORD_KEY), archive.path)


def parse_record(text: str | None, path: Path) -> object:
    """Return the record that was written as JSON."""
    try:
        return None if text is None else parse_json(text)
    except ValueError as error:
        raise ArtifactError(
            "record-damaged",
            f"the record in `{path}` is not JSON",
            hint="the file is damaged: export it again",
            path=str(path),
        ) from error


def model_type(placed: Mapping[int, Direction]) -> str:
    """Return the ``model_type`` of the model, for formats that need one."""
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
    path: Path, vector: Array, entry: BlockEntry, model: ModelIdentity | None
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
        raise ArtifactError(
            "record-damaged",
            f"the record in `{path}` does not match its vectors",
            hint="the file is damaged: export it again",
            path=str(path),
        )
    return units


def _divided(vector: Floats, length: float) -> Floats:
    return (vector.astype(np.float64) / length).astype(np.float32)


def _sha256(vector: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()


def _bits(values: Floats) -> NDArray[np.int64]:
    return np.ascontiguousarray(values).view(np.int32).astype(np.int64)


def _unfit(direction: Direction, length: float) -> DataError:
    return DataError(
        "direction-overflow",
        f"direction `{direction.tensor}` at length {length:g} does not fit into float32",
        hint="choose another length with --scale, such as unit",
        direction=direction.tensor,
        length=length,
    )
