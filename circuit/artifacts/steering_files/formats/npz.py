"""``.npz``: one direction as a NumPy archive.

Keys: ``direction`` (d,) float32, ``layer``, ``positive_prompt``, ``negative_prompt``, ``model_id``,
``norm``, ``cosine_similarity``; see ``flat_fields`` for the others that circuit adds. The array is
loaded without pickle, so a file cannot run code, and not at all if it would fill the memory.
Entries carry no time, so equal directions give equal bytes.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.directions.flat_fields import (
    LAYER,
    direction_fields,
    direction_from_fields,
    only_direction,
)
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import read_bytes
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError

NAME, SUFFIX, SEVERAL = "npz", ".npz", False
CONVENTION = LAYER
LARGEST = 1 << 28  # bytes of all arrays, unpacked: a direction takes 4 for each dimension


def read(path: Path) -> list[Direction]:
    """Read one direction; arrays of Python objects are refused."""
    return [direction_from_fields(_fields(path), path)]


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write one direction."""
    direction = only_direction(directions, length, path)
    buffer = io.BytesIO()
    arrays = {key: np.asarray(value) for key, value in direction_fields(direction).items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getvalue(), force=force)
    return WriteResult({direction.layer: direction.norm})


def _check_size(content: io.BytesIO, path: Path) -> None:
    """Raise ``ArtifactError`` for arrays that take far more memory than a direction, unpacked.

    No entry is unpacked beyond the size that it gives.
    """
    with zipfile.ZipFile(content) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST:
        raise ArtifactError(
            "npz-too-large",
            f"`{path}` unpacks to {size:,} bytes, which is no direction",
            hint=f"a file of one direction takes less than {LARGEST:,}",
            path=str(path),
            size=size,
        )


def _fields(path: Path) -> dict[str, object]:
    content = io.BytesIO(read_bytes(path))
    damaged = ArtifactError(
        "not-npz",
        f"`{path}` is not a NumPy archive",
        hint="it is damaged or of another kind",
        path=str(path),
    )
    if not zipfile.is_zipfile(content):
        raise damaged
    try:
        _check_size(content, path)
        with np.load(content, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except ArtifactError:
        raise
    except Exception as error:
        # The file is foreign input, so whatever its reading raises is about the file.
        if "allow_pickle" not in str(error):
            raise damaged from error
        raise ArtifactError(
            "pickle-refused",
            f"`{path}` holds pickled Python objects",
            hint="pickled data can run code and is never loaded: save plain arrays instead",
            path=str(path),
        ) from error
    return {key: array if array.ndim else array.item() for key, array in arrays.items()}
