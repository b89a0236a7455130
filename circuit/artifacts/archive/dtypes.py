"""How numbers are stored in an archive: little-endian, contiguous, floats finite.

    float32 F32 | float16 F16 | bfloat16 BF16        activations; read as float32
    int32 I32 | int64 I64                            token ids, indices, offsets; read as they are

Floats that are NaN or infinite are refused in reading and in writing, also when narrowing makes
them so.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuit.artifacts.archive.bfloat16 import from_bfloat16, to_bfloat16
from circuit.errors import ArtifactError, UsageError

Array = NDArray[np.generic]

FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
STORED: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}


def float_spelling(dtype: str) -> str:
    """Return how safetensors spells a type in which activations can be stored."""
    if dtype not in FLOATS:
        raise UsageError(
            "unknown-dtype",
            f"unknown archive type `{dtype}`",
            hint=f"choose one of {', '.join(FLOATS)}",
            dtype=dtype,
        )
    return FLOATS[dtype]


def to_stored(name: str, values: ArrayLike, spelling: str) -> Array:
    """Return ``values`` of the array ``name`` as they are stored in the file."""
    # ascontiguousarray makes a scalar one-dimensional.
    given = np.asarray(values)
    stored = (
        _integers(name, given, spelling)
        if _is_integer(spelling)
        else _floats(name, given, spelling)
    )
    return np.ascontiguousarray(stored).reshape(given.shape)


def from_stored(stored: Array, spelling: str) -> Array:
    """Return stored floats as float32, and stored integers unchanged."""
    if _is_integer(spelling):
        return stored
    return (
        from_bfloat16(stored.view(np.uint16))
        if spelling == "BF16"
        else stored.astype(np.float32, copy=False)
    )


def _is_integer(spelling: str) -> bool:
    return STORED[spelling].kind == "i"


def _integers(name: str, given: Array, spelling: str) -> Array:
    limits = np.iinfo(np.int32 if spelling == "I32" else np.int64)
    if given.size and not (
        given.dtype.kind in "iu" and limits.min <= given.min() <= given.max() <= limits.max
    ):
        message = f"`{name}` takes integers of type {spelling}"
        raise ValueError(message)
    return given.astype(STORED[spelling], copy=False)


def _floats(name: str, given: Array, spelling: str) -> Array:
    with np.errstate(over="ignore"):
        floats = given.astype(np.float32, copy=False)
        # Rounding to bfloat16 can turn the bits of a NaN into a number: check before it, too.
        if not np.isfinite(floats).all():
            raise ArtifactError(
                "not-finite",
                f"`{name}` has values that are NaN or infinite",
                hint="the model overflowed: run it in float32 or bfloat16",
                array=name,
            )
        if spelling == "F32":
            return floats.astype(STORED["F32"], copy=False)
        stored = to_bfloat16(floats) if spelling == "BF16" else floats.astype(STORED[spelling])
    if not np.isfinite(from_bfloat16(stored) if spelling == "BF16" else stored).all():
        dtype = next(name for name, each in FLOATS.items() if each == spelling)
        raise ArtifactError(
            "dtype-overflow",
            f"`{name}` has values too large for {dtype}",
            hint="store it as float32 or bfloat16",
            array=name,
            dtype=dtype,
        )
    return stored
