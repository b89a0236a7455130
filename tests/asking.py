"""Run requests in tests from flat values by field name, as the command line does."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from circuit.stages.analyze.request import AnalyzeRequest
from circuit.stages.analyze.results import AnalysisResult
from circuit.stages.directions.request import DirectionsRequest, TransferRequest
from circuit.stages.directions.results import DirectionsResult
from circuit.stages.directions.transfer import TransferResult
from circuit.stages.figures.request import VisualizeRequest
from circuit.stages.figures.visualize import PicturesResult
from circuit.stages.run import Note, Outcome, Session, command_of, silent
from circuit.values.requests import assembled


def ask(kind: type[Any], note: Note = silent, **values: object) -> Outcome[Any]:
    """Run a request of ``kind``; ``values`` may also set fields that are no options."""
    request = assembled(kind, values)
    own = {each.name for each in fields(kind) if not each.metadata}
    request = replace(request, **{key: values[key] for key in own & values.keys()})
    return command_of(request).run(request, Session(note=note))


def analyze(
    archive: Path, out: Path | None = None, *, note: Note = silent, **values: object
) -> tuple[AnalysisResult, bool]:
    """Return the results of ``circuit analyze``, and whether they were reused."""
    done = ask(AnalyzeRequest, note, activations=archive, output=out, **values)
    return done.result, done.reused


def directions(
    archive: Path, out: Path, *, note: Note = silent, **values: object
) -> tuple[DirectionsResult, bool]:
    """Return the results of ``circuit directions``, and whether they were reused."""
    done = ask(DirectionsRequest, note, activations=archive, output=out, **values)
    return done.result.result, done.reused


def transfer(
    directions: Path, archive: Path, *, note: Note = silent, **values: object
) -> TransferResult:
    """Return the results of ``circuit directions transfer``."""
    result: TransferResult = ask(
        TransferRequest, note, direction=directions, activations=archive, **values
    ).result
    return result


def visualize(
    archive: Path, out: Path, *kinds: str, note: Note = silent, **values: object
) -> tuple[PicturesResult, bool]:
    """Return the pictures of ``circuit visualize`` of some kinds, and whether they were reused."""
    chosen = dict.fromkeys(kinds, True)
    done = ask(VisualizeRequest, note, activations=archive, output=out, **chosen, **values)
    return done.result, done.reused


def visualize_report(report: Path, out: Path) -> tuple[PicturesResult, bool]:
    """Return the pictures of ``circuit visualize --report``, and whether they were reused."""
    done = ask(VisualizeRequest, report=report, output=out)
    return done.result, done.reused
