"""``.svec``: one vector per block as a JSON object, of IBM's activation-steering and AISteer360.

    {"model_type": "llama", "directions": {"12": [d floats]}, "explained_variances": {"12": 0.4}}

AISteer360 writes each direction as a list of K lists. K = 1 is one vector; K positions, heads or
planes are refused. Keys count blocks from 0. activation-steering fits its vectors to the output of
a block and adds them to the input, one block earlier than fitted; here, block b is the one whose
output was fitted.

Circuit writes the first form, which both read, with its record in the key ``circuit``.

Source: https://github.com/IBM/activation-steering (steering_vector.py),
https://github.com/IBM/AISteer360 (state_control/_common/steering_vector.py).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from circuit.artifacts.archive.dtypes import Array
from circuit.artifacts.directions.block_vectors import (
    block_lengths,
    by_block,
    model_type,
    pack_directions,
    unpack_directions,
)
from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import as_object, document_bytes, read_json
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError

NAME, SUFFIX, SEVERAL = "svec", ".svec", True
CONVENTION = "keys count blocks from 0, and the vector belongs to that block's output"


def read(path: Path) -> list[Direction]:
    """Read the vector of each block."""
    document = as_object(read_json(path))
    directions = document.get("directions")
    if not isinstance(directions, dict):
        raise ArtifactError(
            "missing-field",
            f"`{path}` has no `directions`",
            hint="a .svec file maps blocks to vectors in `directions`",
            path=str(path),
            field="directions",
        )
    vectors = {_block(key, path): _vector(key, values, path) for key, values in directions.items()}
    extra = {"model_hint": str(document["model_type"])} if document.get("model_type") else {}
    return unpack_directions(path, vectors, document.get("circuit"), extra=extra)


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write the vector of each block."""
    placed = by_block(directions)
    vectors, record = pack_directions(placed, length)
    document = {
        "model_type": model_type(placed),
        "directions": {str(block): vector.tolist() for block, vector in vectors.items()},
        "explained_variances": {},
        "circuit": record,
    }
    write_file(path, document_bytes(document), force=force)
    return WriteResult(block_lengths(record))


def _block(key: str, path: Path) -> int:
    if not (key.isascii() and key.isdecimal()):
        raise ArtifactError(
            "invalid-field",
            f"`{path}` has a direction for `{key}`",
            hint="keys of `directions` are blocks, counted from 0",
            path=str(path),
            field=key,
        )
    return int(key)


def _vector(key: str, values: object, path: Path) -> Array:
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(
            "invalid-field",
            f"the direction of block {key} in `{path}` is not a list of numbers",
            hint="write a list of d numbers",
            path=str(path),
            field=key,
        ) from error
    if vector.ndim == 2 and len(vector) > 1:
        raise ArtifactError(
            "several-vectors",
            f"block {key} in `{path}` has {len(vector)} vectors",
            hint="one for each position, head or axis: circuit steers with one vector per block",
            path=str(path),
            block=key,
        )
    return vector[0] if vector.ndim == 2 and len(vector) else vector
