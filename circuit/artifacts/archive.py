"""The archive: named arrays in one safetensors file, read one at a time.

The header maps each name to ``{dtype, shape, data_offsets}``. Its one metadata key, ``circuit``, holds canonical
JSON: safetensors writes several keys in random order, which would make equal archives differ in their bytes.

Arrays are kept as float32, float16 or bfloat16 and read as float32. A value that is NaN or infinite is refused on the
way in and on the way out. This is the only module that calls safetensors, and it calls its reader alone: the
format is written by ``archive_writer``.

Format: https://huggingface.co/docs/safetensors.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from circuit.artifacts.archive_writer import STORED, ArchiveWriter
from circuit.artifacts.bfloat16 import from_bfloat16
from circuit.artifacts.documents import readable
from circuit.errors import ArtifactError

__all__ = ["Archive", "ArchiveWriter", "is_archive", "read_archive", "write_archive"]

Floats = NDArray[np.float32]


class Archive:
    """An archive that is open for reading; an array is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            self.metadata: dict[str, Any] = _metadata(file.metadata())
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            self._types = {name: str(part.get_dtype()) for name, part in slices.items()}
            self._shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}

    @property
    def names(self) -> list[str]:
        """The names of the arrays, sorted."""
        return sorted(self._types)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array without reading it."""
        self._require(name)
        return self._shapes[name]

    def dtype(self, name: str) -> str:
        """Return the type in which one array is stored: F32, F16, BF16 ..."""
        self._require(name)
        return self._types[name]

    def read(self, name: str) -> Floats:
        """Read one array as float32; a value that is not finite is an error."""
        self._require(name)
        if self._types[name] not in STORED:
            message = f"`{name}` in `{self.path}` is stored as {self._types[name]}"
            raise ArtifactError(message, hint=f"circuit reads {', '.join(STORED)}")
        values = self._bfloat16(name) if self._types[name] == "BF16" else self._native(name)
        if not np.isfinite(values).all():
            message = f"`{name}` in `{self.path}` has values that are NaN or infinite"
            raise ArtifactError(message, hint="collect it again, in float32 or bfloat16")
        return values

    def _require(self, name: str) -> None:
        if name not in self._types:
            message = f"`{self.path}` holds no array `{name}`"
            raise ArtifactError(message, hint=f"it holds {', '.join(self.names) or 'nothing'}")

    def _native(self, name: str) -> Floats:
        with _opened(self.path) as file:
            values: Floats = file.get_tensor(name).astype(np.float32)
            return values

    def _bfloat16(self, name: str) -> Floats:
        # safetensors has no numpy path for bfloat16; it has validated the header, so offsets are sound.
        with self.path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            begin, _ = json.loads(file.read(size))[name]["data_offsets"]
            file.seek(8 + size + begin)
            shape = self._shapes[name]
            bits = np.fromfile(file, STORED["BF16"], count=math.prod(shape))
        return from_bfloat16(bits).reshape(shape)


def write_archive(
    path: Path,
    tensors: Mapping[str, ArrayLike],
    metadata: Mapping[str, Any],
    *,
    dtype: str = "float32",
    force: bool = False,
) -> None:
    """Write arrays that are all in memory."""
    shapes = {name: np.shape(values) for name, values in tensors.items()}
    with ArchiveWriter(path, shapes, metadata, dtype=dtype, force=force) as writer:
        for name, values in tensors.items():
            writer.put(name, values)
        writer.finish()


def read_archive(path: Path) -> dict[str, Floats]:
    """Read every array of an archive as float32."""
    archive = Archive(path)
    return {name: archive.read(name) for name in archive.names}


def is_archive(path: Path) -> bool:
    """Tell whether ``path`` is an archive that circuit wrote, whole or not."""
    try:
        return bool(Archive(path).metadata)
    except ArtifactError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with readable(path), safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as error:
        message = f"`{path}` is not a whole safetensors file: {error}"
        raise ArtifactError(message, hint="it is damaged or of another kind") from error


def _metadata(entries: dict[str, str] | None) -> dict[str, Any]:
    try:
        return dict(json.loads((entries or {}).get("circuit", "{}")))
    except (ValueError, TypeError):
        return {}
