"""``.json``: one direction as a JSON object.

Keys: ``direction`` (a list of d numbers), ``layer``, ``positive_prompt``, ``negative_prompt``,
``model_id``; see ``flat_fields`` for the others that circuit adds. Numbers are written so that
float32 comes back to the bit.
"""

from collections.abc import Sequence
from pathlib import Path

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.directions.flat_fields import LAYER, direction_of, fields_of, the_one
from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import read_json, written_json
from circuit.artifacts.steering_files.formats import Written
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
            hint="it must be a JSON object with `direction` and `layer`",
            path=str(path),
        )
    return [direction_of(fields, path)]


def write(
    path: Path,
    directions: Sequence[Direction],
    *,
    length: float | None = None,
    force: bool = False,
) -> Written:
    """Write one direction."""
    direction = the_one(directions, length, path)
    write_file(path, written_json(fields_of(direction)), force=force)
    return Written({direction.layer: direction.norm})
