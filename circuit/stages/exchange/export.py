"""Directions for other programs: one steering file of any format out of another.

Vectors have their natural length (the distance between the class means), unit length, or one that is given; formats that keep
a unit vector with its length beside it take neither. What a format cannot hold, such as block 0 in a GGUF file, is
said and left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import manifest_path
from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.artifacts.steering_files.formats import Written, formats
from circuit.errors import UsageError
from circuit.stages.directions.show import chosen_directions
from circuit.stages.run import Note, silent


@dataclass(frozen=True)
class Request:
    """Which directions, in which format, how long: ``None`` leaves it to the file, its name and its directions."""

    name: str | None = None
    layers: str | None = None
    format: str | None = None
    scale: str | None = None


def export_directions(
    file: Path, out: Path, request: Request = Request(), *, force: bool = False, note: Note = silent
) -> dict[str, Any]:
    """Write directions of the steering file ``file`` to ``out``; return what was written."""
    format_ = _format(out, request.format)
    length = length_of(request.scale)
    for each in (out, manifest_path(out)):
        refuse_input(each, [file])
    held = _of_one_name(file, read_steering_file(file), request.name, note)
    chosen = chosen_directions(file, held, None, request.layers or "all")
    if request.layers is None and not format_.SEVERAL:
        chosen = _recommended(chosen) or chosen
    written: Written = format_.write(out, chosen, length=length, force=force)
    for text in written.notes:
        note(text)
    return {
        "file": str(file),
        "output": str(out),
        "format": format_.NAME,
        "convention": format_.CONVENTION,
        "name": chosen[0].name,
        "blocks": list(written.blocks),
        "d": chosen[0].vector.size,
        "length": "natural" if length is None else length,
        "lengths": list(written.blocks.values()),
        "commands": list(written.commands),
    }


def length_of(scale: str | None) -> float | None:
    """Return the length that ``natural``, ``unit`` or a number asks for; ``None`` is each vector's own."""
    if scale in (None, "natural"):
        return None
    try:
        length = 1.0 if scale == "unit" else float(str(scale))
    except ValueError:
        length = math.nan
    if not 0 < length < math.inf:
        message = f"`{scale}` is no length"
        raise UsageError(message, hint="--scale is natural, unit or a number above 0")
    return length


def _format(out: Path, name: str | None) -> ModuleType:
    known = formats()
    if name is not None and name not in known:
        message = f"there is no format `{name}`"
        raise UsageError(message, hint=f"choose one of {', '.join(known)}")
    fitting = [each for each in known.values() if out.suffix == each.SUFFIX]
    if name is not None:
        if known[name] not in fitting:
            message = f"a {name} file ends in {known[name].SUFFIX}, not `{out.name}`"
            raise UsageError(message, hint="give -o a name that ends so")
        return known[name]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(each.NAME for each in fitting or known.values())
    suffixes = ", ".join(dict.fromkeys(each.SUFFIX for each in known.values()))
    what = "several formats end" if fitting else "no format ends"
    message = f"{what} in `{out.suffix}`"
    raise UsageError(message, hint=f"choose --format: {names}" if fitting else f"use {suffixes}")


def _of_one_name(
    file: Path, held: Sequence[Direction], name: str | None, note: Note
) -> list[Direction]:
    """Return the directions of one name: the recommended one's, where none is given."""
    if name is None:
        names = list(dict.fromkeys(each.name for each in held))
        best = _recommended(held)
        if len(names) > 1 and not best:
            message = f"`{file}` holds directions of {len(names)} names"
            raise UsageError(message, hint=f"choose with --name: {', '.join(names)}")
        name = best[0].name if best else names[0]
        if len(names) > 1:
            note(f"`{name}` is exported; --name chooses another: {', '.join(names)}")
    return chosen_directions(file, held, name, "all")


def _recommended(held: Sequence[Direction]) -> list[Direction]:
    return [each for each in held if each.extra.get("recommended")][:1]
