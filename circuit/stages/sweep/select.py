"""``steer select``: direction, layer and strength, chosen under a bound on the damage.

    candidates   every direction of the given files at every layer, at given fractions of its own
                 c*, where the divergence on neutral prompts meets the bound κ
                 (``circuit.stages.steering.strength``)
    effect       Δ = mean over validation prompts of m(c) − m(0), with its interval over groups
                 (``circuit.stages.steering.readout``)
    chosen       the largest Δ, signed, among those whose divergence is at most κ (5 % more, the
                 tolerance of the calibration), whose answers hold half of the probability at half
                 of the prompts or more, and whose layer lies below 80 % of the depth: later ones
                 write the answer's tokens into the output rather than change what the model decides

Arditi et al. 2024 (2406.11717), generalised: they bound the divergence on harmless prompts by 0.1
and leave out the last fifth of the layers. The effect of the chosen one is the largest of many and
therefore too large: report that of ``steer sweep``, on test prompts.

Writes ``circuit.selection/1``, and the chosen direction as a steering file whose manifest says how
many configurations were tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import digest, write_manifest
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.steering_files.files import read_steering_file, write_directions
from circuit.present.document import Cell, Document, Estimate, Number, Table, Text
from circuit.stages.rows.holdout import check_size
from circuit.stages.rows.prompting import format_for
from circuit.stages.rows.provenance import fit_of
from circuit.stages.rows.same_weights import check_model
from circuit.stages.run import Command, Job, Plan, Record
from circuit.stages.steering.readout import Readout
from circuit.stages.steering.rules import check_action, check_uncalibrated
from circuit.stages.steering.source import Source, named, parse_numbers, sources_of
from circuit.stages.sweep.experiment import check_training
from circuit.stages.sweep.request import SelectRequest
from circuit.stages.sweep.selection import Selection, SelectResult, check_bounds, select
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


def plan(request: SelectRequest) -> Plan[SelectResult]:
    """Read the validation prompts and the files of the candidates."""
    validation, readout = read_prompts(request.validation), Readout.of(request.readout)
    shares = parse_numbers(request.strengths, "--strengths")
    readout.check(validation.prompts)
    check_size(validation)
    check_bounds(request.kl, shares, request.max_depth)
    check_action(request.action)
    check_uncalibrated(request.action.rule)
    sources = sources_of(request.directions)
    check_training([fit_of(each.file) for each in sources], "validation", validation)
    known = {
        "kl": request.kl,
        "shares": shares,
        "max_depth": request.max_depth,
        "seed": request.seed.seed,
        **vars(request.action),
    }

    def begin(model: "LoadedModel") -> Job[SelectResult]:
        allow = request.directions.allow_other_model
        directions = candidates_of(model, sources, allow_other_model=allow)
        selection = Selection(
            directions=directions,
            validation=validation,
            readout=readout,
            form=format_for(
                validation, request.prompt_format, made_in=directions[0].format, model=model
            ),
            action=request.action,
            kl=request.kl,
            shares=shares,
            max_depth=request.max_depth,
            seed=request.seed.seed,
        )

        def write(result: SelectResult, record: Record) -> None:
            write_selection(request.output.output, selection, result, record)

        return Job(
            parameters=selection.parameters(),
            compute=lambda session: select(model, selection, session),
            write=write,
        )

    return Plan(
        result=SelectResult,
        schema=schemas.SELECTION,
        model=request.model,
        inputs=[*(source.file for source in sources), request.validation],
        output=request.output.output,
        force=request.output.force,
        known=known,
        begin=begin,
    )


def candidates_of(
    model: "LoadedModel", sources: Sequence[Source], *, allow_other_model: bool
) -> list[Direction]:
    """Read every source's directions, at the layers that it names or else at all of its file."""
    found: list[Direction] = []
    for source in sources:
        if source.layer is None:
            found += named(read_steering_file(source.file), source.name, source.file)
        else:
            found += [term.direction for term in source.terms(model.n_layers)]
    for direction in found:
        check_model(direction, model, allow_other=allow_other_model)
    return found


def chosen_path(out: Path) -> Path:
    """Return where the chosen direction goes: ``x.direction.json`` for ``x.json``."""
    return out.with_name(f"{out.name.removesuffix('.json')}.direction.json")


def write_selection(out: Path, selection: Selection, result: SelectResult, record: Record) -> None:
    """Write the chosen direction as a steering file, and the selection after it."""
    chosen, path = result.chosen, chosen_path(out)
    direction = next(
        each
        for each in selection.directions
        if (each.tensor, each.method) == (chosen.direction, chosen.method)
    )
    validation = [digest(each) for each in record.inputs if each.suffix == ".json"][-1:]
    about = {
        "configs_tried": result.configs_tried,
        "coefficient": chosen.coefficient,
        "kl": chosen.kl,
        "effect": chosen.effect,
        "validation_sha256": validation[0] if validation else None,
    }
    extra: Mapping[str, object] = {**direction.extra, "recommended": True, "selection": about}
    write_directions(
        path,
        [replace(direction, extra=extra)],
        parameters={"selection": about, **record.parameters},
        inputs=record.inputs,
        model=record.model,
        tokenizer=record.tokenizer,
        run=record.run,
        force=record.force,
    )
    outputs = [path.with_suffix(".safetensors"), path]
    write_manifest(out, **vars(record), outputs=outputs, results=plain(result))


def present(
    result: SelectResult, *, kl: float | None = None, direction: Path | None = None
) -> Document:
    """Show the candidates, the chosen one marked.

    ``kl`` is the bound on the divergence, ``direction`` the steering file of the chosen one.
    """
    chosen = result.chosen
    rows: list[list[Cell]] = [
        [
            f"{each.name}{' *' if each == chosen else ''}",
            each.layer,
            each.method or "",
            Number(each.coefficient),
            Estimate(*each.effect, form="+.2f"),
            Number(each.kl, ".2f"),
            Number(each.valid, ".0%"),
            "" if each.allowed else "no",
        ]
        for each in result.candidates
    ]
    header = ["direction", "layer", "method", "c", "effect", "KL p95", "valid", "allowed"]
    title = (
        f"{result.configs_tried} configurations on {result.n_validation} validation prompts in "
        f"{result.n_groups} "
        f"groups{'' if kl is None else f', KL p95 on neutral prompts <= {kl:g} nats'}"
    )
    summary = Text(
        [
            f"Chosen: {chosen.name} at layer {chosen.layer}, c = {chosen.coefficient:.3f}. Its "
            f"effect is the largest of {result.configs_tried}: measure it on test prompts "
            "(circuit steer sweep).",
            *([] if direction is None else [f"Direction: {direction}"]),
        ]
    )
    note = "effect: change of m, with its 95 % interval over groups. The chosen one has a star."
    return Document(title, [Table(header=header, rows=rows, note=note), summary])


SELECT = Command(
    request=SelectRequest,
    plan=plan,
    present=present,
    display=lambda request: {
        "kl": request.kl,
        "direction": chosen_path(request.output.output).with_suffix(".safetensors"),
    },
    result=SelectResult,
)
