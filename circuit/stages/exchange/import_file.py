"""Steering files of other programs, kept as an archive of circuit's own with a manifest.

The manifest (``circuit.directions/1``) names the file with its digest, the format, and how its
numbers were counted: a direction of layer n in the archive had the number n - ``layer_offset`` in
the file. With a model, its width and depth must be those of the vectors; no weight is read for
that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from circuit.artifacts.files.documents import plain
from circuit.artifacts.files.paths import archive_path
from circuit.artifacts.manifest.manifest import manifest_path
from circuit.artifacts.steering_files.files import (
    Direction,
    format_of,
    read_steering_file,
    write_directions,
)
from circuit.artifacts.steering_files.formats import files_beside
from circuit.errors import ModelError, UsageError
from circuit.present.document import Document, Text
from circuit.stages.exchange.request import ImportRequest
from circuit.stages.run import Command, Job, Plan, Record, without_model
from circuit.values import schemas
from circuit.values.identity import ModelIdentity


@dataclass(frozen=True, kw_only=True)
class ImportedDirection:
    """A direction of the archive."""

    name: str
    site: str
    layer: int


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What is in the archive: ``d`` is the width of the vectors."""

    format: str
    convention: str
    n_directions: int
    d: int
    directions: list[ImportedDirection]
    model: ModelIdentity | None
    output: Path


def plan(request: ImportRequest) -> Plan[ImportResult]:
    """Read the file, and check that its vectors fit the model."""
    file, out = request.file, request.output.output
    file_format = format_of(file)
    if file_format is None:
        read_steering_file(file)
        message = f"`{file}` is an archive of circuit"
        hint = "use it as it is; `circuit export` writes other formats"
        raise UsageError("own-archive", message, hint=hint)
    notes: list[str] = []
    held = [_counted(each, request.layer_offset, notes.append) for each in read_steering_file(file)]
    model = _model(file, held, request, notes.append)
    result = ImportResult(
        format=file_format.NAME,
        convention=file_format.CONVENTION,
        n_directions=len(held),
        d=held[0].vector.size,
        directions=[ImportedDirection(name=e.name, site=e.site, layer=e.layer) for e in held],
        model=model,
        output=archive_path(out),
    )

    job = Job(
        parameters={
            "format": file_format.NAME,
            "layer_offset": request.layer_offset,
            "model": request.model or request.model_id,
        },
        compute=lambda _: result,
        write=lambda _, record: _write(out, held, result, record),
        about_model=model,
    )
    return Plan(
        result=ImportResult,
        begin=without_model(job),
        schema=schemas.DIRECTIONS,
        inputs=[file, *files_beside(file_format, file)],
        output=manifest_path(out),
        files=[archive_path(out)],
        force=request.output.force,
        known=job.parameters,
        read=lambda _: result,
        notes=notes,
    )


def _write(out: Path, held: Sequence[Direction], result: ImportResult, record: Record) -> None:
    about = ("format", "convention", "n_directions", "d")
    write_directions(
        out,
        held,
        parameters=record.parameters,
        inputs=record.inputs,
        model=record.model,
        results={name: getattr(result, name) for name in about},
        run=record.run,
        force=record.force,
    )


def _counted(direction: Direction, offset: int, note: Callable[[str], None]) -> Direction:
    """Count the layer as circuit does, and pass on the note of the file's reader."""
    extra = {key: value for key, value in direction.extra.items() if key != "note"}
    if "note" in direction.extra and not offset:
        note(str(direction.extra["note"]))
    layer = direction.layer + offset
    if layer < 0:
        message = f"with --layer-offset {offset} layer {direction.layer} would be layer {layer}"
        raise UsageError("layer-out-of-range", message, hint="layers are counted from 0")
    return replace(direction, layer=layer, extra=extra)


def _model(
    file: Path, held: Sequence[Direction], request: ImportRequest, note: Callable[[str], None]
) -> ModelIdentity | None:
    """Return the model of the vectors: the file's own, else the one that is named."""
    own = held[0].model
    if request.model is not None and request.model_id is not None:
        message = "`-m` and `--model-id` both name the model"
        raise UsageError("model-named-twice", message, hint="give one of them")
    if own is not None and request.model_id not in (None, own.id):
        message = f"`{file}` says that it was made with `{own.id}`"
        raise UsageError("other-model", message, hint="leave out --model-id", model=own.id)
    if request.model is None:
        if own is None and request.model_id is None:
            note(
                "no model is named, so that steering another model cannot be detected: name it "
                "with -m MODEL"
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
            raise ModelError("vector-does-not-fit", message, hint=hint, name=each.name)


def present(result: ImportResult) -> Document:
    """Say what is in the archive."""
    names = ", ".join(dict.fromkeys(each.name for each in result.directions))
    layers = "; ".join(
        f"{site} {', '.join(str(each.layer) for each in result.directions if each.site == site)}"
        for site in dict.fromkeys(each.site for each in result.directions)
    )
    model = result.model
    known = [] if model is None else [(model.n_layers, "layers"), (model.d_model, "wide")]
    about = ", ".join(f"{n} {word}" for n, word in known if n is not None)
    named = "unknown" if model is None else model.id
    lines = [
        f"Imported: {names} (d = {result.d}) at {layers}",
        f"  Format: {result.format}; {result.convention}",
        f"  Model: {named}{f' ({about})' if about else ''}",
    ]
    return Document("", [Text(lines)])


def data(result: ImportResult) -> dict[str, object]:
    """Return the result; of the model only what is known."""
    document: dict[str, object] = plain(result)
    if result.model is not None:
        document["model"] = {k: v for k, v in plain(result.model).items() if v is not None}
    return document


IMPORT = Command(request=ImportRequest, plan=plan, present=present, data=data)
