"""``probes list`` and ``probes init``: the probes of a battery, and the built-in ones as files."""

from dataclasses import dataclass
from pathlib import Path

from circuit.artifacts.prompts.prompts import save_all
from circuit.present.document import Cell, Document, Table, Text
from circuit.present.numbers import counted
from circuit.stages.probes.battery import load_battery, summary
from circuit.stages.probes.request import InitRequest, ListRequest
from circuit.stages.probes.results import ProbeSummary
from circuit.stages.run import Command, Job, Plan, without_model


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """The prompt sets that were written."""

    folder: Path
    files: list[str]


@dataclass(frozen=True, kw_only=True)
class ListResult:
    """The probes of a battery."""

    probes: list[ProbeSummary]


def plan_init(request: InitRequest) -> Plan[InitResult]:
    """Write the built-in battery as prompt sets."""
    sets = {
        request.output / probe.stratum / f"{probe.name}.json": probe.prompts
        for probe in load_battery(strata=request.category.strata)
    }
    result = InitResult(folder=request.output, files=list(map(str, sets)))
    job = Job(
        compute=lambda _: result,
        write=lambda _, record: save_all(sets, force=record.force),
    )
    begin = without_model(job)
    return Plan(
        result=InitResult,
        begin=begin,
        output=next(iter(sets)),
        saved_as=request.output,
        force=request.force,
    )


def present_init(result: InitResult) -> Document:
    """Name the files."""
    said = f"{counted(len(result.files), 'probe')}: edit them, then give `--datasets`"
    return Document("", [Text([*result.files, f"{said} {result.folder}"])])


def plan_list(request: ListRequest) -> Plan[ListResult]:
    """Read a battery."""
    strata = request.battery.category.strata
    probes = [summary(probe) for probe in load_battery(request.battery.datasets, strata)]
    result = ListResult(probes=probes)
    return Plan(result=ListResult, begin=without_model(Job(compute=lambda _: result)))


def present_list(result: ListResult) -> Document:
    """Show the numbers that decide what each probe can show."""
    header = ["probe", "category", "format", "prompts", "groups", "labels"]
    rows: list[list[Cell]] = [
        [p.name, p.category, p.format, p.prompts, p.groups, "/".join(p.labels)]
        for p in result.probes
    ]
    return Document("", [Table(header=header, rows=rows)])


INIT = Command(
    request=InitRequest,
    plan=plan_init,
    present=present_init,
    data=lambda result: {"files": result.files},
)
LIST = Command(
    request=ListRequest,
    plan=plan_list,
    present=present_list,
    data=lambda result: [vars(probe) for probe in result.probes],
)
