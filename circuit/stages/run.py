"""The one runner: a request becomes a result, an artifact and a document, for every command.

A command is a ``Command``: a request class, a function that makes a ``Plan`` of a request, and a
function that makes a document of its result. ``execute`` runs a plan:

    1. check    the plan is made: everything that can be refused without a model is refused; no
                output is an input or another output, and nothing that exists is replaced without
                ``force``
    2. load     the model, if the plan needs one
    3. begin    what depends on the model: formats, layers; the parameters of the run are then
                complete
    4. reuse    a manifest that holds this very run (schema, model, adapter, tokenizer with its chat
                template, inputs, parameters) is read
    5. compute  the result
    6. write    the manifest last, then the pictures

Pipeline stages and questions about a model run through it alike.
"""

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from circuit.artifacts.files.atomic import check_writable, refuse_overwrite
from circuit.artifacts.files.documents import plain, restored
from circuit.artifacts.files.measurements import Measurements, remove_finished_measurements
from circuit.artifacts.files.paths import manifest_path, refuse_input
from circuit.artifacts.manifest.manifest import (
    Manifest,
    Run,
    digest,
    may_be_equal,
    reusable,
    write_manifest,
)
from circuit.errors import UsageError
from circuit.present.document import Document
from circuit.present.notebook import notebook
from circuit.stages.options import ModelOptions
from circuit.values.identity import ModelIdentity, TokenizerIdentity

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

I = TypeVar("I")
R = TypeVar("R")
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Note: TypeAlias = Callable[[str], None]
REUSED = "this run exists already and is reused; --force repeats it"


class Track(Protocol):
    """A progress display."""

    def __call__(self, items: Iterable[I], description: str, total: int, /) -> Iterable[I]:
        """Iterate over ``items`` and show how many of ``total`` are done."""


def untracked(items: Iterable[I], description: str, total: int) -> Iterable[I]:  # noqa: ARG001
    """Iterate without showing progress."""
    return items


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Session:
    """Where a run shows what it does: notes, progress, and pieces of a text while it is written.

    ``measurements`` are those of a run that resumes.
    """

    note: Note = silent
    track: Track = untracked
    stream: Callable[[str], None] | None = None
    measurements: Measurements | None = None


SILENT = Session()


class Draw(Protocol[T_contra]):
    """A drawing of a result, written to ``path``; a text that it returns is the caption."""

    def __call__(self, result: T_contra, path: Path, /, *, force: bool) -> str | None:
        """Raise ``ArtifactError`` if ``path`` holds something else and ``force`` is not given."""


@dataclass(frozen=True, kw_only=True)
class Job(Generic[T]):
    """What is left when the model is loaded: the work, and all parameters of a run that is kept.

    ``write`` keeps the result where it is more than a manifest (an archive, say); it is given what
    the manifest has to say. ``about_model`` and ``about_tokenizer`` say whose numbers these are,
    where no model is loaded.
    """

    compute: Callable[[Session], T]
    parameters: Mapping[str, object] = field(default_factory=dict)
    write: "Callable[[T, Record], None] | None" = None
    about_model: ModelIdentity | None = None
    about_tokenizer: TokenizerIdentity | None = None


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[T]):
    """One run of a command, with everything checked that can be checked before a model is loaded.

    ``known`` are the parameters that do not depend on the model. ``files`` are written beside the
    manifest (an archive), ``pictures`` are drawn from the result, also from one that is reused;
    their captions are noted. ``read`` makes a result of a manifest; by default the results are
    validated as ``result``. ``exports`` are further files that ``Job.write`` writes: each with the
    schema of its manifest, or None for a file that does not name its run; a result is reused only
    where all of them exist. ``saved_as`` is where a person is told that the results are; by default
    the first file, else ``output``. ``resumes``: the session has ``measurements``, kept beside the
    output until it is written, from which an interrupted run resumes. ``notes`` are said of a
    reused result, too.
    """

    result: type[T]
    begin: "Callable[[LoadedModel], Job[T]]"
    schema: str | None = None
    model: ModelOptions | None = None
    inputs: Sequence[Path] = ()
    output: Path | None = None
    force: bool = False
    known: Mapping[str, object] = field(default_factory=dict)
    files: Sequence[Path] = ()
    pictures: Mapping[Path, Draw[T]] = field(default_factory=dict)
    read: Callable[[Manifest], T] | None = None
    tensor_parallel: bool = False
    exports: Mapping[Path, str | None] = field(default_factory=dict)
    saved_as: Path | None = None
    resumes: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a manifest says about a run, for writers of more than a manifest."""

    schema: str
    parameters: Mapping[str, object]
    inputs: Sequence[Path]
    model: ModelIdentity | None
    tokenizer: TokenizerIdentity | None
    run: Run
    force: bool


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[T]):
    """The result, whether it existed already, and the file that holds it (the archive, if any)."""

    result: T
    reused: bool = False
    output: Path | None = None


def without_model(job: Job[T]) -> "Callable[[LoadedModel], Job[T]]":
    """Return the ``begin`` of a plan that needs no model."""
    return lambda _: job


@dataclass(frozen=True, kw_only=True)
class Command(Generic[R, T]):
    """A command: what it is asked, how a run of it is planned, and how its result is presented.

    ``present`` gives None where there is nothing to print. ``data`` is what ``--json`` prints,
    ``failed`` says whether the exit code is 1 although the work was done (a check that failed),
    ``streams`` whether the text of this request is shown while it is written, given whether stdout
    is a terminal. ``display`` are the options that change nothing but what is shown: ``present``
    takes them as keywords. ``result`` says what its artifact holds, where another command
    (``report``, ``visualize``) reads it.
    """

    request: type[R]
    plan: Callable[[R], Plan[T]]
    present: Callable[..., Document | None]
    data: Callable[[T], object] = plain
    failed: Callable[[T], bool] = lambda _: False
    streams: Callable[[R, bool], bool] | None = None
    display: Callable[[R], Mapping[str, object]] = lambda _: {}
    result: type[T] | None = None
    read: Callable[[Manifest], T] | None = None

    def document(self, request: R, result: T) -> Document | None:
        """Present a result as the request asks for it."""
        return self.present(result, **self.display(request))

    def run(self, request: R, session: Session = SILENT) -> Outcome[T]:
        """Run a request."""
        return execute(self.plan(request), session)

    def restored(self, manifest: Manifest) -> T:
        """Make the result of its artifact again."""
        if self.read is not None:
            return self.read(manifest)
        assert self.result is not None
        return restored(self.result, manifest.results)


class Result:
    """A result that a notebook shows as its document; ``COMMAND`` names the command."""

    def document(self) -> Document | None:
        """Present the result."""
        return command_of(self).present(self)

    def _repr_html_(self) -> str | None:
        document = self.document()
        return None if document is None else notebook(document)


def command_at(place: str) -> "Command[Any, Any]":
    """Import the command at ``module:NAME``; the name is ``COMMAND`` if the colon is missing."""
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name or "COMMAND")
    assert isinstance(found, Command)
    return found


def command_of(request: object) -> "Command[Any, Any]":
    """Return the command of a request or result: ``COMMAND`` of its class, or of its module."""
    return command_at(getattr(type(request), "COMMAND", type(request).__module__))


def run(request: object, session: Session = SILENT) -> Any:
    """Run any request and return its result: what a notebook calls."""
    return command_of(request).run(request, session).result


def execute(plan: Plan[T], session: Session = SILENT) -> Outcome[T]:
    """Run a plan: reuse what is there, else load, compute and write."""
    started = time.perf_counter()
    _refuse(plan)
    # A plan without a model ignores what it is given here.
    model: LoadedModel = None  # type: ignore[assignment]
    if plan.model is not None:
        session.note(f"Loading model: {plan.model.model}")
        model = plan.model.load(tensor_parallel=plan.tensor_parallel)
    job = plan.begin(model)
    for text in plan.notes:
        session.note(text)
    found = _existing(plan, job, model)
    if found is not None:
        session.note(REUSED)
        result = _restored(plan, found)
        if plan.resumes and plan.output is not None:
            remove_finished_measurements(plan.output)
    else:
        with _measurements(plan, job, model) as measurements:
            result = job.compute(replace(session, measurements=measurements))
            _write(plan, job, model, result, started)
            measurements.discard()
    for path, draw in plan.pictures.items():
        caption = draw(result, path, force=plan.force)
        if caption is not None:
            session.note(f"{path}: {caption}")
    kept = plan.saved_as or next(iter(plan.files), plan.output)
    return Outcome(result=result, reused=found is not None, output=kept)


def _measurements(plan: Plan[T], job: Job[T], model: "LoadedModel") -> Measurements:
    """Open the measurements of a run that resumes; of another run they are kept in memory only."""
    if not plan.resumes or plan.output is None:
        return Measurements(None, {})
    covers = {
        "schema": plan.schema,
        "parameters": job.parameters,
        "inputs": [digest(path) for path in _described(plan.inputs)],
        "model": None if model is None else model.identity,
        "tokenizer": None if model is None else model.tokenizer_identity,
    }
    return Measurements(plan.output, plain(covers), force=plan.force)


def _refuse(plan: Plan[T]) -> None:
    """Raise for outputs that are inputs or other outputs, and for files that must stay."""
    beside = [*plan.files, *plan.pictures, *plan.exports]
    outputs = [*([] if plan.output is None else [plan.output]), *beside]
    for number, path in enumerate(outputs):
        refuse_input(path, plan.inputs)
        if path.resolve() in [other.resolve() for other in outputs[:number]]:
            message = f"`{path}` is named for two outputs"
            raise UsageError("output-named-twice", message, hint="give each a name of its own")
    again = _may_be_reused(plan)
    if plan.schema is not None and plan.output is not None:
        refuse_overwrite(plan.output, force=plan.force or again)
    for path in beside:
        refuse_overwrite(path, force=plan.force or again)
    if plan.output is not None and not again:
        check_writable(plan.output)


def _may_be_reused(plan: Plan[T]) -> bool:
    """Say whether the output can hold this run, as far as is known before the model is loaded."""
    manifests = (
        dict(plan.exports) if plan.output is None else {plan.output: plan.schema, **plan.exports}
    )
    inputs = _described(plan.inputs)
    return any(
        schema is not None and may_be_equal(path, schema, plan.known, inputs)
        for path, schema in manifests.items()
    )


def _existing(plan: Plan[T], job: Job[T], model: "LoadedModel") -> Manifest | None:
    if plan.output is None or plan.schema is None:
        return None
    found = reusable(
        plan.output,
        schema=plan.schema,
        parameters=job.parameters,
        inputs=_described(plan.inputs),
        model=job.about_model if model is None else model.identity,
        tokenizer=job.about_tokenizer if model is None else model.tokenizer_identity,
        force=plan.force,
    )
    return found if all(path.exists() for path in plan.exports) else None


def _restored(plan: Plan[T], manifest: Manifest) -> T:
    if plan.read is not None:
        return plan.read(manifest)
    return restored(plan.result, manifest.results)


def _write(plan: Plan[T], job: Job[T], model: "LoadedModel", result: T, started: float) -> None:
    if plan.output is None and not plan.exports:
        return
    record = Record(
        schema=plan.schema or "",
        parameters=job.parameters,
        inputs=_described(plan.inputs),
        model=job.about_model if model is None else model.identity,
        tokenizer=job.about_tokenizer if model is None else model.tokenizer_identity,
        run=Run.since(started),
        force=plan.force,
    )
    if job.write is not None:
        job.write(result, record)
    if plan.output is not None and plan.schema is not None and (job.write is None or plan.exports):
        write_manifest(plan.output, **vars(record), results=plain(result))


def _described(inputs: Sequence[Path]) -> list[Path]:
    """Return the files that are read: an archive named by its stem is read by its manifest."""
    return [path if path.is_file() else manifest_path(path) for path in inputs]
