"""A direction as a flat set of keys, the same in ``.npz`` and in ``.json``.

    direction            (d,) float32
    layer                0-based index of the block after which it was taken
    positive_prompt, negative_prompt, model_id
    norm                 length of h_positive - h_negative, when known
    cosine_similarity    of h_positive and h_negative, when known

These are the keys in the steering files of other programs. Circuit adds ``name``, ``site``,
``method``, ``positive_label``, ``negative_label`` and ``format``. Only ``direction`` and ``layer``
are required.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.directions.direction import Direction, unit
from circuit.errors import ArtifactError, UsageError
from circuit.values.identity import ModelIdentity

_IN_EXTRA = ("positive_prompt", "negative_prompt", "cosine_similarity")
_OWN = ("name", "site", "method", "positive_label", "negative_label", "format")


LAYER = "`layer` counts blocks from 0, and the vector is added after that block"


def only_direction(directions: Sequence[Direction], length: float | None, path: Path) -> Direction:
    """Return the only direction; such a file holds a unit vector and its natural length."""
    if len(directions) != 1:
        raise UsageError(
            "one-direction-expected",
            f"`{path}` takes one direction, not {len(directions)}",
            hint="choose it with --name and --layers",
            path=str(path),
            count=len(directions),
        )
    if length is not None:
        raise UsageError(
            "option-not-applicable",
            f"`--scale` does not apply to `{path}`, which holds a unit vector and its length",
            hint="leave out `--scale`",
            option="--scale",
            path=str(path),
        )
    return directions[0]


def direction_fields(direction: Direction) -> dict[str, object]:
    """Return the keys of one direction, without unknown ones; unknown prompts are empty."""
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


def direction_from_fields(fields: Mapping[str, object], path: Path) -> Direction:
    """Make a direction from its keys; its vector is scaled to unit length."""
    absent = [key for key in ("direction", "layer") if key not in fields]
    if absent:
        raise ArtifactError(
            "missing-field",
            f"`{path}` has no `{absent[0]}`",
            hint="a steering file has the keys `direction` and `layer`",
            path=str(path),
            field=absent[0],
        )
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


def _numbers(values: object, path: Path) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            return np.array(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(
            "invalid-field",
            f"`direction` in `{path}` is not a list of numbers",
            hint="write a list of d numbers",
            path=str(path),
            field="direction",
        ) from error


def _layer(value: object, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArtifactError(
            "invalid-field",
            f"`layer` in `{path}` is {value!r}",
            hint="a layer is the index of a block, from 0",
            path=str(path),
            field="layer",
        )
    return value


def _norm(value: object, length: float, path: Path) -> float:
    if value is None:
        return length
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ArtifactError(
            "invalid-field",
            f"`norm` in `{path}` is {value!r}",
            hint="it is the length of the vector before it was normalised",
            path=str(path),
            field="norm",
        )
    return float(value)
