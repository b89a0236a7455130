"""A direction: a unit vector at a site and layer, with its quality and its provenance.

It has unit norm; ``norm`` is its natural length, the distance between the class means. Vectors are
float32, and ``unit`` leaves a vector of unit norm unchanged.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from circuit.artifacts.archive.dtypes import Array
from circuit.artifacts.files.documents import plain
from circuit.errors import ArtifactError, DataError
from circuit.values.identity import ModelIdentity
from circuit.values.json_values import JsonMapping, JsonObject


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector ``(d,)`` that points from the negative class to the positive one."""

    name: str
    site: str
    layer: int
    vector: NDArray[np.float32]
    norm: float
    method: str | None = None
    positive_label: str | None = None
    negative_label: str | None = None
    quality: JsonMapping = field(default_factory=dict)
    model: ModelIdentity | None = None
    format: str | None = None
    extra: JsonMapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        vector = np.ascontiguousarray(self.vector, np.float32)
        require_direction(vector, f"direction `{self.name}`")
        if not np.isclose(np.linalg.norm(vector.astype(np.float64)), 1, atol=1e-4):
            raise DataError(
                "not-unit-length",
                f"direction `{self.name}` has length {np.linalg.norm(vector):.4g}, not 1",
                hint="divide it by its length, and keep that as `norm`",
                direction=self.name,
            )
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    @property
    def tensor(self) -> str:
        """The name of the vector in an archive."""
        return f"{self.name}.{self.site}.{self.layer}"


class Entry(BaseModel):
    """The part of a manifest about one direction: everything but the vector and the model."""

    tensor: str
    name: str
    site: str
    layer: int
    norm: float
    method: str | None
    positive_label: str | None
    negative_label: str | None
    format: str | None
    quality: JsonObject
    extra: JsonObject


def unit(vector: ArrayLike, source: str) -> tuple[NDArray[np.float32], float]:
    """Return ``vector`` ``(d,)`` at unit length, and the length that it had."""
    values = np.asarray(vector)
    require_direction(values, source)
    length = float(np.linalg.norm(values.astype(np.float64)))
    if abs(length - 1) < 1e-6:
        # As exact as float32 can be: dividing again would only change the last bits.
        return values.astype(np.float32), length
    return (values.astype(np.float64) / length).astype(np.float32), length


def require_direction(vector: Array, source: str) -> None:
    """Raise unless ``vector`` is one finite, non-zero vector of numbers."""
    problem = None
    if vector.ndim != 1 or not vector.size:
        problem = f"has shape {vector.shape}"
    elif not np.issubdtype(vector.dtype, np.number) or np.iscomplexobj(vector):
        problem = "has values that are not numbers"
    elif not np.isfinite(vector).all():
        problem = "has values that are NaN or infinite"
    elif not vector.any():
        problem = "is zero"
    if problem:
        raise ArtifactError(
            "not-a-direction",
            f"{source} {problem}",
            hint="a direction is one finite vector that is not zero",
            source=source,
            problem=problem,
        )


def entry_fields(direction: Direction) -> JsonObject:
    """Return the fields of an ``Entry`` of a direction, as JSON values."""
    return {name: plain(getattr(direction, name)) for name in Entry.model_fields}
