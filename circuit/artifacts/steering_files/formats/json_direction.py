"""``.json``: one direction as a JSON object.

Keys: ``direction`` (a list of d numbers), ``layer``, ``positive_prompt``, ``negative_prompt``,
``model_id``; see ``flat_fields`` for the others that circuit adds. Numbers are written so that
float32 comes back to the bit.
"""

from collections.abc import Sequence
from pathlib import Path

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.directions.flat_fields import (
    LAYER,
    direction_fields,
    direction_from_fields,
    only_direction,
)
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import document_bytes, read_json
from circuit.artifacts.steering_files.formats import WriteResult
from circuit.errors import ArtifactError

NAME, SUFFIX, SEVERAL = "json", ".json", False
CONVENTION = LAYER


def read(path: Path) -> list[Direction]:
    """Read one direction."""
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ArtifactError(
            "not-a-direction",
            f"`{path}` holds no direction",
            hint="write a JSON object with `direction` and `layer`",
            path=str(path),
        )
    return [direction_from_fields(fields, path)]


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> WriteResult:
    """Write one direction."""
    direction = only_direction(directions, length, path)
    write_file(path, document_bytes(direction_fields(direction)), force=force)
    return WriteResult({direction.layer: direction.norm})
