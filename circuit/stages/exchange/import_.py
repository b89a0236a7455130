"""Steering files of other programs, kept as an archive of circuit's own with a manifest.

The manifest (``circuit.directions/1``) names the file with its digest, the format, and how its numbers were counted: a
direction of layer n in the archive had the number n - ``layer_offset`` in the file. With a model, its width and depth must be
those of the vectors; no weight is read for that.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.manifest.manifest import Run, manifest_path, reusable
from circuit.artifacts.steering_files.files import (
    Direction,
    format_of,
    read_steering_file,
    write_directions,
)
from circuit.errors import ModelError, UsageError
from circuit.stages.run import Note, silent
from circuit.values import schemas
from circuit.values.identity import ModelIdentity


@dataclass(frozen=True)
class Request:
    """The model that the vectors are for, and what is added to the layers' numbers."""

    model: str | None = None
    revision: str | None = None
    model_id: str | None = None
    layer_offset: int = 0


def import_directions(
    file: Path, out: Path, request: Request = Request(), *, force: bool = False, note: Note = silent
) -> tuple[dict[str, Any], bool]:
    """Return what is in the archive ``out``, and whether it was there already."""
    started = time.perf_counter()
    format_ = format_of(file)
    if format_ is None:
        read_steering_file(file)
        message = f"`{file}` is an archive of circuit's own"
        raise UsageError(
            message, hint="it can be used as it is; `circuit export` writes other formats"
        )
    held = [_plain(each, request.layer_offset, note) for each in read_steering_file(file)]
    model = _model(file, held, request, note)
    described: dict[str, Any] = {
        "parameters": {
            "format": format_.NAME,
            "layer_offset": request.layer_offset,
            "model": request.model or request.model_id,
        },
        "inputs": [file, *(format_.beside(file) if hasattr(format_, "beside") else [])],
        "model": model,
    }
    results = {
        "format": format_.NAME,
        "convention": format_.CONVENTION,
        "n_directions": len(held),
        "d": held[0].vector.size,
    }
    found = reusable(manifest_path(out), schema=schemas.DIRECTIONS, **described, force=force)
    if found is None:
        write_directions(
            out, held, **described, results=results, run=Run.since(started), force=force
        )
    layers = [{"name": each.name, "site": each.site, "layer": each.layer} for each in held]
    said = model and {key: value for key, value in vars(model).items() if value is not None}
    return {**results, "directions": layers, "model": said}, found is not None


def _plain(direction: Direction, offset: int, note: Note) -> Direction:
    """Count the layer as circuit does, and say what the reader of the file had to say."""
    extra = {key: value for key, value in direction.extra.items() if key != "note"}
    if "note" in direction.extra and not offset:
        note(str(direction.extra["note"]))
    layer = direction.layer + offset
    if layer < 0:
        message = f"with --layer-offset {offset} layer {direction.layer} would be layer {layer}"
        raise UsageError(message, hint="layers are counted from 0")
    return replace(direction, layer=layer, extra=extra)


def _model(
    file: Path, held: Sequence[Direction], request: Request, note: Note
) -> ModelIdentity | None:
    """Return the model of the vectors: the file's own, else the one that is named."""
    own = held[0].model
    if request.model is not None and request.model_id is not None:
        raise UsageError("-m and --model-id both name the model", hint="give one of them")
    if own is not None and request.model_id not in (None, own.id):
        message = f"`{file}` says that it was made with `{own.id}`"
        raise UsageError(message, hint="leave out --model-id")
    if request.model is None:
        if own is None and request.model_id is None:
            note(
                "no model is named, so nothing will notice when it is steered with another: -m MODEL"
            )
        width = held[0].vector.size
        return (
            own or (request.model_id and ModelIdentity(id=request.model_id, d_model=width)) or None
        )
    wanted = _identity(request.model, request.revision)
    _check(file, held, wanted)
    if own is None or (own.id == wanted.id and own.weights_sha256 is None):
        return wanted
    if own.id != wanted.id:
        note(f"`{file}` says that it was made with `{own.id}`: that is kept")
    return own


def _identity(model: str, revision: str | None) -> ModelIdentity:
    from circuit.model.checkpoint.loading import shape_of
    from circuit.model.machine.runtime import require_mlx

    require_mlx()
    shape = shape_of(model, revision=revision)
    return ModelIdentity(
        id=model,
        requested_revision=revision,
        **{field.name: getattr(shape, field.name) for field in fields(shape)},
    )


def _check(file: Path, held: Sequence[Direction], model: ModelIdentity) -> None:
    """Refuse vectors that cannot be of this model."""
    for each in held:
        made = each.model
        problem = None
        if each.vector.size != model.d_model:
            problem = f"{each.vector.size} entries, `{model.id}` has width {model.d_model}"
        elif made and made.n_layers is not None and made.n_layers != model.n_layers:
            problem = f"a model of {made.n_layers} layers, `{model.id}` has {model.n_layers}"
        elif model.n_layers is not None and each.layer >= model.n_layers:
            problem = f"layer {each.layer}, `{model.id}` has layers 0 to {model.n_layers - 1}"
        if problem:
            message = f"`{each.name}` in `{file}` has {problem}"
            hint = "a vector fits the model that it was made with; --layer-offset shifts its layers"
            raise ModelError(message, hint=hint)
