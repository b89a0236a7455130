"""Write an archive row by row, in any order, in the memory of one batch.

    u64 N | header: N bytes of JSON, padded with blanks | the arrays, back to back

Every shape is known before the start. The whole file is reserved under the name ``<path>.partial``, so that a full
disk is noticed before the work and not after it. Rows are put in place with ``pwrite``: nothing stays in memory and,
unlike with a memory map, a disk that fills up is an error and not a signal that kills the process. ``finish`` renames
the file; until then there is nothing under the final name.

Each array is made C-contiguous on its way in (safetensors 0.8 silently scrambles others, ``X[:, -1]`` among them)
and is refused when a value is NaN or infinite, also when it became so by narrowing.

Format: https://huggingface.co/docs/safetensors (header, alignment, no holes).
"""

import errno
import fcntl
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuit.artifacts.atomic import explained, refuse_overwrite, sync_folder
from circuit.artifacts.bfloat16 import from_bfloat16, to_bfloat16
from circuit.artifacts.documents import canonical_json
from circuit.artifacts.manifest import digest
from circuit.errors import ArtifactError, UsageError

SPELLINGS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
STORED: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_ZEROS = bytes(1 << 20)


class Place(NamedTuple):
    """Where an array lies in the file: its type and shape, and its first byte."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class ArchiveWriter:
    """An archive in the making: ``put`` rows in any order, then ``finish``, or nothing is left."""

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        metadata: Mapping[str, Any],
        *,
        dtype: str = "float32",
        force: bool = False,
    ) -> None:
        self.path, self.force = path, force
        self.partial = path.with_name(path.name + ".partial")
        header, self._places, size = _layout(shapes, metadata, _spelled(dtype))
        self._missing = {name: np.ones(shape[:1] or (1,), bool) for name, shape in shapes.items()}
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with explained(path):
                self._lock()
                os.ftruncate(self._file, 0)
                _reserve(self._file, size)
                _write_at(self._file, header, 0)
        except BaseException:
            self.abort()
            raise

    def put(self, name: str, values: ArrayLike, rows: ArrayLike | None = None) -> None:
        """Write ``values`` over the whole array ``name``, or over its ``rows``, in the order given."""
        place = self._places[name]
        stored = _stored(name, values, place.dtype)
        wanted = place.shape if rows is None else (np.size(rows), *place.shape[1:])
        if stored.shape != wanted:
            message = f"`{name}` takes values of shape {wanted}, not {stored.shape}"
            raise ValueError(message)
        with explained(self.path):
            if rows is None:
                _write_at(self._file, stored.tobytes(), place.start)
                self._missing[name][:] = False
            else:
                self._put_rows(name, place, stored, np.asarray(rows).ravel())

    def finish(self) -> None:
        """Force everything to the disk and give the archive its name."""
        incomplete = [name for name, missing in self._missing.items() if missing.any()]
        if incomplete:
            self.abort()
            message = f"rows of {', '.join(incomplete)} were never put"
            raise ValueError(message)
        try:
            with explained(self.path):
                os.fsync(self._file)
                self._rename()
        except BaseException:
            self.abort()
            raise
        os.close(self._file)
        self._file = -1

    def abort(self) -> None:
        """Leave nothing behind. After ``finish`` this does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def _put_rows(self, name: str, place: Place, stored: NDArray[Any], rows: NDArray[Any]) -> None:
        if rows.size and not 0 <= rows.min() <= rows.max() < place.shape[0]:
            message = f"`{name}` has {place.shape[0]} rows"
            raise IndexError(message)
        stride = math.prod(place.shape[1:]) * stored.itemsize
        for row, values in zip(rows.tolist(), stored, strict=True):
            _write_at(self._file, values.tobytes(), place.start + row * stride)
        self._missing[name][rows] = False

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            self._file = -1
            message = f"`{self.path}` is being written by another process"
            raise ArtifactError(message, hint="wait for it, or choose another name") from error

    def _rename(self) -> None:
        if self.path.is_file() and not self.force and digest(self.path) == digest(self.partial):
            self.partial.unlink()
            os.utime(self.path)
            return
        refuse_overwrite(self.path, force=self.force)
        self.partial.replace(self.path)
        sync_folder(self.path.parent)


def _stored(name: str, values: ArrayLike, dtype: str) -> NDArray[Any]:
    """Return ``values`` as they lie in the file: contiguous, little-endian and finite."""
    with np.errstate(over="ignore"):
        floats = np.asarray(values).astype(np.float32)
        stored = to_bfloat16(floats) if dtype == "BF16" else floats.astype(STORED[dtype])
        finite = np.isfinite(from_bfloat16(stored) if dtype == "BF16" else stored)
    if finite.all():
        return np.ascontiguousarray(stored).reshape(floats.shape)
    if np.isfinite(floats).all():
        message = f"`{name}` has values too large for {_name(dtype)}"
        raise ArtifactError(message, hint="store it as float32 or bfloat16")
    message = f"`{name}` has values that are NaN or infinite"
    raise ArtifactError(message, hint="the model overflowed: run it in float32 or bfloat16")


def _layout(
    shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, Any], dtype: str
) -> tuple[bytes, dict[str, Place], int]:
    """Return the header, where each array lies, and the size of the file."""
    entries: dict[str, Any] = {"__metadata__": {"circuit": canonical_json(metadata)}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + math.prod(shapes[name]) * STORED[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    places = {
        name: Place(dtype, tuple(shapes[name]), len(header) + entries[name]["data_offsets"][0])
        for name in shapes
    }
    return header, places, len(header) + end


def _reserve(file: int, size: int) -> None:
    """Make ``size`` bytes of disk belong to ``file``."""
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        try:
            return reserve(file, 0, size)  # type: ignore[no-any-return]
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
    # macOS and some network file systems cannot reserve: write zeros instead.
    for start in range(0, size, len(_ZEROS)):
        _write_at(file, _ZEROS[: size - start], start)
    return None


def _write_at(file: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, start)
        view, start = view[written:], start + written


def _spelled(dtype: str) -> str:
    if dtype not in SPELLINGS:
        message = f"an archive cannot be stored as `{dtype}`"
        raise UsageError(message, hint=f"choose one of {', '.join(SPELLINGS)}")
    return SPELLINGS[dtype]


def _name(spelling: str) -> str:
    return next(name for name, each in SPELLINGS.items() if each == spelling)
