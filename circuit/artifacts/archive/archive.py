"""The archive: named arrays in one safetensors file, read one at a time.

Activations are stored as float32, float16 or bfloat16 and read as float32, a few megabytes at a
time into the result, so that reading needs no other memory. Values that are NaN or infinite are
refused. Integers are read as integers.

This is the only module that calls safetensors, and only to check a header: the format is written by
``writer`` and laid out by ``layout``.

Format: https://huggingface.co/docs/safetensors.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from circuit.artifacts.archive.dtypes import (
    FLOATS,
    STORED,
    Array,
    float_spelling,
    from_stored,
    to_stored,
)
from circuit.artifacts.archive.layout import Layout, Tensor
from circuit.artifacts.archive.writer import ArchiveWriter
from circuit.artifacts.files.documents import read_errors
from circuit.errors import ArtifactError
from circuit.values.json_values import JsonMapping, JsonObject, parse_json

Floats = NDArray[np.float32]
Integers = NDArray[np.int32 | np.int64]

_CHUNK = 1 << 19


class Archive:
    """An archive that is open for reading, array by array."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.strings = _strings(path)
        self.metadata: JsonObject = _metadata(self.strings)
        with read_errors(path), path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            entries = parse_json(file.read(size))
        entries.pop("__metadata__", None)
        self._tensors = {name: Tensor(e["dtype"], tuple(e["shape"])) for name, e in entries.items()}
        self._starts = {name: 8 + size + e["data_offsets"][0] for name, e in entries.items()}

    @property
    def names(self) -> list[str]:
        """The names of the arrays, sorted."""
        return sorted(self._tensors)

    @property
    def size(self) -> int:
        """The bytes of all arrays together."""
        return sum(tensor.size for tensor in self._tensors.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array without reading it."""
        return self._tensor(name).shape

    def dtype(self, name: str) -> str:
        """Return the type in which one array is stored: F32, F16, BF16, I32 ..."""
        return self._tensor(name).dtype

    def read(self, name: str) -> Floats:
        """Read one array as float32; a value that is not finite is an error."""
        out = np.empty(self.shape(name), np.float32)
        self.read_into(out.reshape(-1), name)
        return out

    def rows(self, name: str, first: int, end: int) -> Floats:
        """Read the rows ``first:end`` of one array as float32."""
        out = np.empty((end - first, *self.shape(name)[1:]), np.float32)
        self.read_into(out.reshape(-1), name, first)
        return out

    def integers(self, name: str) -> Integers:
        """Read one array of integers."""
        tensor = self._tensor(name)
        if tensor.dtype not in ("I32", "I64"):
            raise ArtifactError(
                "wrong-dtype",
                f"`{name}` in `{self.path}` is stored as {tensor.dtype}, not as integers",
                hint="the file is damaged or of another kind",
                path=str(self.path),
                array=name,
                dtype=tensor.dtype,
            )
        values = cast("Integers", next(self._stored(name, 0, math.prod(tensor.shape), None)))
        return values.reshape(tensor.shape)

    def read_into(self, out: Floats, name: str, first: int = 0) -> None:
        """Fill the one-dimensional ``out`` with the values from the row ``first`` on."""
        tensor, done = self._tensor(name), 0
        if tensor.dtype not in FLOATS.values():
            raise ArtifactError(
                "wrong-dtype",
                f"`{name}` in `{self.path}` is stored as {tensor.dtype}",
                hint=f"circuit reads {', '.join(FLOATS.values())}",
                path=str(self.path),
                array=name,
                dtype=tensor.dtype,
            )
        for chunk in self._stored(name, first, out.size, _CHUNK):
            part = out[done : done + len(chunk)]
            part[:] = from_stored(chunk, tensor.dtype)
            if not np.isfinite(part).all():
                raise ArtifactError(
                    "not-finite",
                    f"`{name}` in `{self.path}` has values that are NaN or infinite",
                    hint="make it again, in float32 or bfloat16",
                    path=str(self.path),
                    array=name,
                )
            done += len(chunk)

    def _stored(self, name: str, first: int, count: int, size: int | None) -> Iterator[Array]:
        """Yield ``count`` values as they are stored, ``size`` at a time, from a row on."""
        tensor = self._tensor(name)
        with read_errors(self.path), self.path.open("rb") as file:
            file.seek(self._starts[name] + first * tensor.stride)
            for done in range(0, max(count, 1), size or max(count, 1)):
                wanted = min(count - done, size or count)
                yield np.fromfile(file, STORED[tensor.dtype], count=wanted)

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise ArtifactError(
                "array-not-in-archive",
                f"`{self.path}` holds no array `{name}`",
                hint=f"it holds {_few(self.names)}",
                path=str(self.path),
                array=name,
            )
        return self._tensors[name]


def write_archive(
    path: Path,
    tensors: Mapping[str, ArrayLike],
    metadata: JsonMapping,
    *,
    dtype: str = "float32",
    force: bool = False,
) -> None:
    """Write arrays of floats that are all in memory."""
    spelling = float_spelling(dtype)
    shapes = {name: Tensor(spelling, np.shape(values)) for name, values in tensors.items()}
    with ArchiveWriter(path, Layout.of(shapes, metadata)) as writer:
        for name, values in tensors.items():
            writer.put(name, values)
        writer.finish(force=force)


def archive_bytes(tensors: Mapping[str, ArrayLike], strings: Mapping[str, str]) -> bytes:
    """Return a safetensors file of float32 for another program, with ``strings`` in its header."""
    shapes = {name: Tensor("F32", np.shape(values)) for name, values in tensors.items()}
    layout = Layout.of(shapes, {}, strings=strings)
    content = bytearray(layout.header.ljust(layout.size, b"\0"))
    for name, values in tensors.items():
        start = layout.starts[name]
        content[start : start + shapes[name].size] = to_stored(name, values, "F32").tobytes()
    return bytes(content)


def read_archive(path: Path) -> dict[str, Floats]:
    """Read every array of an archive as float32."""
    archive = Archive(path)
    return {name: archive.read(name) for name in archive.names}


def is_archive(path: Path) -> bool:
    """Return whether ``path`` is an archive that circuit wrote."""
    try:
        return bool(Archive(path).metadata)
    except ArtifactError:
        return False


def _strings(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, whose header is checked."""
    try:
        with read_errors(path), safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ArtifactError(
            "not-safetensors",
            f"`{path}` is not a whole safetensors file: {error}",
            hint="it is damaged or of another kind",
            path=str(path),
        ) from error


def _metadata(entries: dict[str, str]) -> JsonObject:
    try:
        return dict(parse_json(entries.get("circuit", "{}")))
    except (ValueError, TypeError):
        return {}


def _few(names: list[str]) -> str:
    return (
        ", ".join(names[:12]) + (f" and {len(names) - 12} more" if names[12:] else "") or "nothing"
    )
