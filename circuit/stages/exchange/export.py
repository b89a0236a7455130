"""Directions for other programs: one steering file of any format out of another.

Vectors have their natural length (the distance between the class means), unit length, or one that
is given; formats that keep a unit vector with its length beside it take neither. What a format
cannot hold, such as block 0 in a GGUF file, is said and left out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import manifest_path
from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.artifacts.steering_files.formats import SteeringFormat, formats
from circuit.errors import UsageError
from circuit.present.document import Document, Text
from circuit.stages.directions.show import chosen_directions
from circuit.stages.exchange.request import ExportRequest
from circuit.stages.run import Command, Job, Plan, Session, without_model


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written: the directions of one name, each after a block."""

    file: Path
    output: Path
    format: str
    convention: str
    name: str
    blocks: list[int]
    d: int
    length: Literal["natural"] | float
    lengths: list[float]
    commands: list[str]


def export_directions(request: ExportRequest, note: Callable[[str], None]) -> ExportResult:
    """Write directions of a steering file in another format, and say what was written."""
    file, out = request.file, request.output
    file_format = _format(out, request.format_name)
    length = length_of(request.scale)
    held = _of_one_name(file, read_steering_file(file), request.name, note)
    chosen = chosen_directions(file, held, None, request.layers or "all")
    if request.layers is None and not file_format.SEVERAL:
        chosen = _recommended(chosen) or chosen
    written = file_format.write(out, chosen, length=length, force=request.force)
    for text in written.notes:
        note(text)
    return ExportResult(
        file=file,
        output=out,
        format=file_format.NAME,
        convention=file_format.CONVENTION,
        name=chosen[0].name,
        blocks=list(written.blocks),
        d=chosen[0].vector.size,
        length="natural" if length is None else length,
        lengths=list(written.blocks.values()),
        commands=list(written.commands),
    )


def plan(request: ExportRequest) -> Plan[ExportResult]:
    """Check that no file is written over its own source."""
    for each in (request.output, manifest_path(request.output)):
        refuse_input(each, [request.file])

    def compute(session: Session) -> ExportResult:
        return export_directions(request, session.note)

    return Plan(result=ExportResult, begin=without_model(Job(compute=compute)))


def present(result: ExportResult) -> Document:
    """Say which directions were written, and how llama.cpp takes them."""
    blocks = ", ".join(map(str, result.blocks))
    lines = [
        f"Exported: {result.name} (d = {result.d}), after "
        f"{'blocks' if len(result.blocks) > 1 else 'block'} {blocks}",
        f"  Format: {result.format}; {result.convention}",
        f"  Length: {_length(result)}",
        f"  Saved to: {result.output}",
    ]
    if result.commands:
        now, before = result.commands
        lines += ["", "llama.cpp:", f"  {now}", "its older builds:", f"  {before}"]
    return Document("", [Text(lines)])


def _length(result: ExportResult) -> str:
    if result.length != "natural":
        return f"{result.length:g}"
    low, high = min(result.lengths), max(result.lengths)
    return f"natural, {low:.4g}" if low == high else f"natural, {low:.4g} to {high:.4g}"


def length_of(scale: str | None) -> float | None:
    """Return the length of ``natural``, ``unit`` or a number; ``None`` is each vector's own."""
    if scale in (None, "natural"):
        return None
    try:
        length = 1.0 if scale == "unit" else float(str(scale))
    except ValueError:
        length = math.nan
    if not 0 < length < math.inf:
        message = f"`--scale` must be natural, unit or a number above 0, got `{scale}`"
        raise UsageError("bad-scale", message, hint="write for example --scale unit", scale=scale)
    return length


def _format(out: Path, name: str | None) -> SteeringFormat:
    known = formats()
    if name is not None and name not in known:
        message = f"unknown format `{name}`"
        raise UsageError(
            "unknown-format", message, hint=f"use one of {', '.join(known)}", name=name
        )
    fitting = [each for each in known.values() if out.suffix == each.SUFFIX]
    if name is not None:
        if known[name] not in fitting:
            message = f"a {name} file ends in {known[name].SUFFIX}, not `{out.name}`"
            raise UsageError("suffix-of-another-format", message, hint="change the name after -o")
        return known[name]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(each.NAME for each in fitting or known.values())
    suffixes = ", ".join(dict.fromkeys(each.SUFFIX for each in known.values()))
    if fitting:
        message = f"several formats end in `{out.suffix}`"
        raise UsageError("ambiguous-format", message, hint=f"choose --format: {names}")
    raise UsageError("unknown-format", f"no format ends in `{out.suffix}`", hint=f"use {suffixes}")


def _of_one_name(
    file: Path, held: Sequence[Direction], name: str | None, note: Callable[[str], None]
) -> list[Direction]:
    """Return the directions of one name: the recommended one's, where none is given."""
    if name is None:
        names = list(dict.fromkeys(each.name for each in held))
        best = _recommended(held)
        if len(names) > 1 and not best:
            message = f"`{file}` holds directions of {len(names)} names"
            hint = f"choose with --name: {', '.join(names)}"
            raise UsageError("several-directions", message, hint=hint, names=names)
        name = best[0].name if best else names[0]
        if len(names) > 1:
            note(f"`{name}` is exported; --name chooses another: {', '.join(names)}")
    return chosen_directions(file, held, name, "all")


def _recommended(held: Sequence[Direction]) -> list[Direction]:
    return [each for each in held if each.extra.get("recommended")][:1]


EXPORT = Command(request=ExportRequest, plan=plan, present=present)
