"""The direction of two prompts, and ``circuit steer --extract``, which saves it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.manifest.run import Run
from circuit.artifacts.steering_files.files import write_directions, write_steering_file
from circuit.errors import UsageError
from circuit.stages.options import ActionOptions
from circuit.stages.rows.prompting import format_for
from circuit.stages.run import Job, Plan, Record, Session
from circuit.stages.steering.from_prompts import extract_direction
from circuit.stages.steering.request import SteerRequest
from circuit.stages.steering.result import ExtractResult, SteerOrExtract
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

Extract: TypeAlias = Callable[["LoadedModel", PromptFormat], Direction]


def pair_of(request: SteerRequest) -> Extract | None:
    """Return what makes the direction of the request's two prompts; None where none are given."""
    pair, named = request.pair, request.directions
    positive, negative = pair.positive, pair.negative
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        message = "`--positive` and `--negative` need each other"
        raise UsageError("option-needed", message, hint="give both prompts of the pair")
    if named.direction:
        message = "a direction is given by `-d` and by `--positive`"
        raise UsageError("option-given-twice", message, hint="give one of them")

    def extract(model: "LoadedModel", form: PromptFormat) -> Direction:
        return extract_direction(
            model,
            positive,
            negative,
            layer=named.layer,
            form=form,
            name=named.name or "direction",
            labels=(pair.positive_label, pair.negative_label),
        )

    return extract


def plan_extraction(request: SteerRequest) -> Plan[SteerOrExtract]:
    """Plan to make a direction of two prompts and to save it."""
    if request.action != ActionOptions() or request.when is not None:
        message = "`--extract` does not accept `--rule`, `--operator`, `--scope` or `--when`"
        hint = "they say how a direction acts: give them when it steers"
        raise UsageError("option-not-applicable", message, hint=hint)
    extract, output = pair_of(request), request.output.output
    if extract is None or output is None or request.prompts is not None:
        message = "`--extract` needs `--positive`, `--negative` and `-o`, and takes no prompts"
        raise UsageError("option-needed", message, hint="leave out --extract to generate")

    def begin(model: "LoadedModel") -> Job[SteerOrExtract]:
        form = format_for([], request.prompt_format)

        def compute(_: Session) -> SteerOrExtract:
            return ExtractResult(extract(model, form), output)

        def write(result: SteerOrExtract, record: Record) -> None:
            assert isinstance(result, ExtractResult)
            save_direction(output, result.direction, run=record.run, force=record.force)

        return Job(compute=compute, write=write)

    return Plan(
        result=ExtractResult,
        model=request.model,
        output=output,
        force=request.output.force,
        begin=begin,
    )


def save_direction(path: Path, direction: Direction, *, run: Run, force: bool) -> None:
    """Write one direction: an archive with its manifest for ``.safetensors``, else by suffix."""
    if path.suffix != ".safetensors":
        write_steering_file(path, direction, force=force)
        return
    write_directions(
        path,
        [direction],
        parameters={"method": direction.method, "layer": direction.layer, **direction.extra},
        inputs=[],
        run=run,
        model=direction.model,
        force=force,
    )
