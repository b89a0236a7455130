"""``steer table``: several sweeps as one table and one figure."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from circuit.artifacts.files.documents import plain
from circuit.errors import UsageError
from circuit.methods.uncertainty.p_values import family_control_p
from circuit.present.document import Cell, Document, Notice, Number, Table, Text
from circuit.stages.figures.pictures import PLOTS, Picture, write_pictures
from circuit.stages.run import Command, Job, Plan, Record, without_model
from circuit.stages.sweep.document import band, slope_of
from circuit.stages.sweep.figures import multiples_figure, unit_of
from circuit.stages.sweep.request import TableRequest
from circuit.stages.sweep.result import ControlSlopes, SweepResult, read_sweep
from circuit.stages.sweep.verdict import STEERS, verdict
from circuit.values import schemas

Sweeps = dict[str, SweepResult]
HEADER = (
    "",
    "read-out",
    "n (groups)",
    "layer",
    "c*",
    "KL at c*",
    "slope [95% interval]",
    "anti-steerable",
    "random: band",
    "p",
    "shuffled: band",
    "p",
    "ΔNLL at -1, +1",
    "verdict",
)


def named_sweeps(sweeps: list[str]) -> dict[str, Path]:
    """Read FILE or NAME=FILE; a file without a name is named after its folder or itself."""
    files: dict[str, Path] = {}
    for each in sweeps:
        name, is_named, file = each.partition("=")
        path = Path(file if is_named else each)
        own = path.stem if path.stem != "sweep" else path.parent.name or "sweep"
        key = name if is_named else own
        if key in files:
            message = f"two sweeps are named `{key}`"
            raise UsageError("duplicate-name", message, hint="name them: NAME=FILE", name=key)
        files[key] = path
    return files


def plan(request: TableRequest) -> Plan[Sweeps]:
    """Read the sweeps, and draw them where that is asked for."""
    files = named_sweeps(request.sweeps)
    read = {name: read_sweep(path) for name, path in files.items()}
    found = with_family_p({name: result for name, (_, result) in read.items()})
    if request.plots is None:
        return Plan(result=dict, begin=without_model(Job(compute=lambda _: found)))
    folder, parameters = request.plots, {"sweeps": list(files)}

    def write(result: Sweeps, record: Record) -> None:
        write_pictures([Picture.of(multiples_figure(result))], folder, record)

    job = Job(
        parameters=parameters,
        compute=lambda _: found,
        write=write,
        about_model=next(iter(read.values()))[0].model,
    )
    return Plan(
        result=dict,
        schema=schemas.PLOTS,
        inputs=list(files.values()),
        output=folder / PLOTS,
        saved_as=folder / "steering.png",
        force=request.force,
        known=parameters,
        begin=without_model(job),
        read=lambda _: found,
    )


def with_family_p(sweeps: Sweeps) -> Sweeps:
    """Take the p of each kind of controls over all sweeps, and the verdict that follows from it.

    Control i of each sweep is drawn on its own: that the largest of independent slopes is not
    smaller than that of dependent ones keeps the p valid.
    """
    slopes = {name: each.slope for name, each in sweeps.items()}
    random = _together(slopes, {name: each.random for name, each in sweeps.items()})
    shuffled = _together(slopes, {name: each.shuffled for name, each in sweeps.items()})
    found = {
        name: replace(each, random=random[name], shuffled=shuffled[name])
        for name, each in sweeps.items()
    }
    return {name: replace(each, verdict=verdict(each)) for name, each in found.items()}


def _together(
    slopes: Mapping[str, float], controls: Mapping[str, ControlSlopes]
) -> dict[str, ControlSlopes]:
    """Add the p over all sweeps to the controls of one kind, as many as every sweep has."""
    k = min(each.n for each in controls.values())
    drawn = np.array([each.slopes[:k] for each in controls.values()]).T
    p = family_control_p([slopes[name] for name in controls], drawn)
    return {
        name: replace(each, p_all=p_all)
        for (name, each), p_all in zip(controls.items(), p, strict=True)
    }


def present(result: Sweeps) -> Document:
    """Show one row for each sweep, and the notes below."""
    unit = next(iter(result.values())).dose_unit
    notes = [
        f"Dose 1: {unit}. anti-steerable: share of prompts that move the wrong way. ΔNLL: nats "
        "per token",
        "by which the steered text is less likely to the unsteered model. p: that a direction of a",
        "kind has as steep a slope, of either sign, over all sweeps.",
    ]
    verdicts = [
        f"{name}: {each.verdict.text}"
        for name, each in result.items()
        if each.verdict.word != STEERS
    ]
    warnings = [f"{name}: {text}." for name, each in result.items() for text in each.warnings]
    title = (
        "Held-out dose-response in units of c*, at which neutral text changes by the same KL "
        "divergence"
    )
    table = Table(header=HEADER, rows=[_row(name, each) for name, each in result.items()])
    return Document(title, [table, Text(["", *notes, *verdicts]), *map(Notice, warnings)])


def _row(name: str, result: SweepResult) -> list[Cell]:
    calibration, ends = result.calibration, []
    for dose in (-1.0, 1.0):
        at = result.nll_delta[result.doses.index(dose)] if dose in result.doses else None
        ends.append("-" if at is None else f"{at:.2f}")
    return [
        name,
        unit_of(result.readout),
        f"{result.n_test} ({result.n_groups})",
        "+".join(str(each.layer) for each in result.directions),
        Number(result.c_star),
        Number(None if calibration is None else calibration.kl, ".2f"),
        slope_of(result),
        Number(result.anti_steerable_frac, ".0%"),
        band(result.random),
        Number(result.random.p, ".3f"),
        band(result.shuffled),
        Number(result.shuffled.p, ".3f"),
        ", ".join(ends),
        result.verdict.word,
    ]


def data(result: Mapping[str, SweepResult]) -> object:
    """Return the results without the read-outs of single prompts."""
    return {
        name: {key: value for key, value in plain(each).items() if key != "m"}
        for name, each in result.items()
    }


TABLE = Command(request=TableRequest, plan=plan, present=present, data=data)
