"""A direction as a flat set of keys, the same in ``.npz`` and in ``.json``.

    direction            (d,) float32
    layer                0-based index of the block after which it was taken
    positive_prompt, negative_prompt, model_id
    norm                 length of h_positive - h_negative, when known
    cosine_similarity    of h_positive and h_negative, when known

These are the keys that the steering files of other programs have. Circuit adds ``name``, ``site``, ``method``,
``positive_label``, ``negative_label`` and ``format``, and needs none but ``direction`` and ``layer`` to read one.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit.artifacts.directions.direction import Direction, unit
from circuit.errors import ArtifactError, UsageError
from circuit.values.identity import ModelIdentity

_IN_EXTRA = ("positive_prompt", "negative_prompt", "cosine_similarity")
_OWN = ("name", "site", "method", "positive_label", "negative_label", "format")


LAYER = "`layer` counts blocks from 0, and the vector is added after that block"


def the_one(directions: Sequence[Direction], length: float | None, path: Path) -> Direction:
    """Return the only direction; such a file keeps its unit vector and its own length beside it."""
    if len(directions) != 1:
        message = f"`{path}` takes one direction, not {len(directions)}"
        raise UsageError(message, hint="choose it with --name and --layers")
    if length is not None:
        message = f"--scale has no use for `{path}`, which keeps the unit vector and its own length"
        raise UsageError(message, hint="leave out --scale")
    return directions[0]


def fields_of(direction: Direction) -> dict[str, Any]:
    """Return the keys of one direction; what is not known is left out, prompts are empty."""
    fields = {
        "direction": direction.vector,
        "layer": direction.layer,
        "positive_prompt": direction.extra.get("positive_prompt", ""),
        "negative_prompt": direction.extra.get("negative_prompt", ""),
        "model_id": direction.model.id if direction.model else "",
        "norm": direction.norm,
        "cosine_similarity": direction.extra.get("cosine_similarity"),
        **{name: getattr(direction, name) for name in _OWN},
    }
    return {key: value for key, value in fields.items() if value is not None}


def direction_of(fields: Mapping[str, Any], path: Path) -> Direction:
    """Make a direction of its keys; its vector is brought to unit length."""
    absent = [key for key in ("direction", "layer") if key not in fields]
    if absent:
        message = f"`{path}` has no `{absent[0]}`"
        raise ArtifactError(message, hint="a steering file has the keys `direction` and `layer`")
    vector, length = unit(_numbers(fields["direction"], path), f"`direction` in `{path}`")
    model_id = str(fields.get("model_id") or "")
    own = {name: str(fields[name]) for name in _OWN if fields.get(name) is not None}
    return Direction(
        **{"name": path.stem, "site": "resid_post", **own},  # type: ignore[arg-type]
        layer=_layer(fields["layer"], path),
        vector=vector,
        norm=_norm(fields.get("norm"), length, path),
        model=ModelIdentity(id=model_id, d_model=vector.size) if model_id else None,
        extra={key: fields[key] for key in _IN_EXTRA if fields.get(key) not in (None, "")},
    )


def _numbers(values: Any, path: Path) -> Any:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"`direction` in `{path}` does not consist of numbers"
        raise ArtifactError(message, hint="it must be a list of numbers") from error


def _layer(value: Any, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        message = f"`layer` in `{path}` is {value!r}"
        raise ArtifactError(message, hint="a layer is the index of a block, from 0")
    return value


def _norm(value: Any, length: float, path: Path) -> float:
    if value is None:
        return length
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        message = f"`norm` in `{path}` is {value!r}"
        raise ArtifactError(message, hint="it is the length of the vector before it was normalised")
    return float(value)
