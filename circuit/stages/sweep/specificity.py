"""Specificity: k directions on the test prompts and read-outs of all k, each at its own c*.

    s_ij    slope of read-out j on the dose of direction i
            (``circuit.methods.steering.dose_response``), doses −1 to 1 in units of c*_i
    share   |s_ij| / |s_jj|, within a column, whose unit is that of read-out j: how far direction i
            moves what direction j is for

A direction that moves everything is specific to nothing. Directions, strengths, test prompts,
formats and read-outs come from finished sweeps. No intervals beyond those of the sweeps' own
slopes; with k directions there are k (k − 1) comparisons. Writes ``circuit.specificity/1``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.artifacts.files.documents import restored
from circuit.artifacts.manifest.manifest import Manifest, digest
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import ArtifactError, UsageError
from circuit.methods.steering.dose_response import response
from circuit.present.document import Document, Table
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompting import encode
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.run import SILENT, Command, Job, Plan, Result, Session
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.readout import Reader, ReadoutSummary, reader
from circuit.stages.sweep.request import SpecificityRequest
from circuit.stages.sweep.result import SweepResult, read_sweep
from circuit.stages.sweep.table import named_sweeps
from circuit.values import schemas
from circuit.values.intervals import Interval
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

DOSES = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class SpecificityResult(Result):
    """Slopes of direction i (row) on read-out j (column), and as shares of the column's own."""

    COMMAND: ClassVar[str] = "circuit.stages.sweep.specificity:SPECIFICITY"

    names: list[str]
    slopes: list[list[Interval]]
    share: list[list[float | None]]


@dataclass(frozen=True, eq=False)
class FinishedSweep:
    """A finished sweep, ready for other prompts: its direction at c*, and its test prompts."""

    intervention: Intervention
    prompts: PromptSet
    reader: Reader


@dataclass(frozen=True)
class RecordedIntervention:
    """The manifest entry of an intervention (``Intervention.described``)."""

    rule: str
    operator: str
    scope: str
    factor: float
    directions: "list[RecordedTerm]"


@dataclass(frozen=True)
class RecordedTerm:
    """The manifest entry of one of its directions."""

    direction: str
    vector_sha256: str
    weight: float
    unit: float | None
    plane_sha256: str | None


def plan(request: SpecificityRequest) -> Plan[SpecificityResult]:
    """Read the sweeps."""
    files = named_sweeps(request.sweeps)
    if len(files) < 2:
        message = f"specificity needs at least 2 sweeps, got {len(files)}"
        raise UsageError("too-few-sweeps", message, hint="give several files", n=len(files))
    sweeps = {name: (path, *read_sweep(path)) for name, path in files.items()}
    known = {"sweeps": list(files), "doses": DOSES}

    def begin(model: "LoadedModel") -> Job[SpecificityResult]:
        for path, manifest, _ in sweeps.values():
            _check_model(model, manifest, path)

        def compute(session: Session) -> SpecificityResult:
            ready = {name: _ready(model, *found) for name, found in sweeps.items()}
            return specificity(ready, session)

        return Job(parameters=known, compute=compute)

    return Plan(
        result=SpecificityResult,
        schema=schemas.SPECIFICITY,
        model=request.model,
        inputs=list(files.values()),
        output=request.output.output,
        force=request.output.force,
        known=known,
        begin=begin,
    )


def specificity(
    sweeps: Mapping[str, FinishedSweep], session: Session = SILENT
) -> SpecificityResult:
    """Run the direction of every sweep on the test prompts of every sweep."""
    cells = [(i, j) for i in sweeps for j in sweeps]
    slopes = {
        (i, j): _slope(sweeps[i].intervention, sweeps[j])
        for i, j in session.track(cells, "Measuring", len(cells))
    }
    own = {j: abs(slopes[j, j][0]) for j in sweeps}
    return SpecificityResult(
        names=list(sweeps),
        slopes=[[slopes[i, j] for j in sweeps] for i in sweeps],
        share=[
            [abs(slopes[i, j][0]) / own[j] if own[j] > 0 else None for j in sweeps] for i in sweeps
        ],
    )


def _check_model(model: "LoadedModel", manifest: Manifest, path: Path) -> None:
    theirs = manifest.model
    if theirs is not None and other_weights(theirs, model.identity):
        message = f"`{path}` was measured on `{theirs.id}`, not on `{model.id}`"
        raise UsageError("other-model", message, hint="compare sweeps of one model")


def _ready(
    model: "LoadedModel", path: Path, manifest: Manifest, result: SweepResult
) -> FinishedSweep:
    """Read the test prompts and directions of a sweep, which are its first inputs."""
    files = []
    for ref in manifest.inputs:
        file = path.parent / ref.path
        if not file.is_file() or digest(file) != ref.sha256:
            message = f"`{file}` is missing or has changed since `{path}` was measured with it"
            raise ArtifactError("input-changed", message, hint="run the sweep again")
        files.append(file)
    prompts = read_prompts(files[0])
    form = restored(PromptFormat, manifest.parameters["format"])
    readout = restored(ReadoutSummary, manifest.parameters["readout"]).readout
    encoded = encode(model, prompts.texts, form)
    return FinishedSweep(
        intervention=_intervention(manifest, files[1:], result.c_star),
        prompts=prompts,
        reader=reader(model, readout, prompts.prompts, encoded),
    )


def _intervention(manifest: Manifest, files: list[Path], c_star: float) -> Intervention:
    recorded = restored(RecordedIntervention, manifest.parameters["intervention"])
    held = [d for file in files if file.suffix != ".json" for d in read_steering_file(file)]
    terms = []
    for one in recorded.directions:
        same = [direction for direction in held if direction.tensor == one.direction]
        if not same or one.plane_sha256 is not None:
            message = f"direction `{one.direction}` cannot be read from the sweep's own files"
            hint = "run the sweep on the steering file itself"
            raise ArtifactError("direction-not-in-sweep", message, hint=hint)
        terms.append(Term(same[0], one.weight, one.unit))
    action = ActionOptions(rule=recorded.rule, operator=recorded.operator, scope=recorded.scope)
    return Intervention(tuple(terms), action, recorded.factor * c_star)


def _slope(intervention: Intervention, on: FinishedSweep) -> Interval:
    measured = on.reader.measure_each([intervention.at(dose) for dose in DOSES])
    m = np.stack([values.m for values in measured], axis=1)
    answer = response(np.array(DOSES), m, on.prompts.groups())
    return answer.mean(answer.slopes).as_triple()


def present(result: SpecificityResult) -> Document:
    """Show slopes, and each as a share of the column's own."""
    rows = [
        [name, *(_cell(slope[0], share) for slope, share in zip(slopes, shares, strict=True))]
        for name, slopes, shares in zip(result.names, result.slopes, result.share, strict=True)
    ]
    title = (
        "Slope of each read-out (column) on the dose of each direction (row), and in brackets as a "
        "share of the column's own direction"
    )
    return Document(title, [Table(header=["direction", *result.names], rows=rows)])


def _cell(slope: float, share: float | None) -> str:
    return f"{slope:+.2f} ({'-' if share is None else f'{share:.0%}'})"


SPECIFICITY = Command(
    request=SpecificityRequest,
    plan=plan,
    present=present,
    result=SpecificityResult,
)
