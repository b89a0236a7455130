"""Which directions steer: those that steering files hold, each at its layers and with its weight.

A source is written ``FILE`` or ``FILE,name=NAME,layer=LAYERS,weight=W,plane=NAME``. Without a name, and without a layer, it is the direction
that the file recommends. At several layers the file's directions of that name act at their own; a file with one direction
may be used at other layers than its own. ``plane`` names another direction of the file, for ``--operator angular``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.steering_files.files import Direction, read_steering_file
from circuit.errors import UsageError
from circuit.stages.steering.intervention import Part
from circuit.values.layers import parse_layers

KEYS = ("name", "layer", "weight", "plane")


@dataclass(frozen=True)
class Source:
    """A steering file and which of its directions act, where, and how much beside others."""

    file: Path
    name: str | None = None
    layer: str | None = None
    weight: float = 1.0
    plane: str | None = None

    def parts(self, n_layers: int) -> list[Part]:
        """Read the directions of a model with ``n_layers`` blocks, at one layer or several."""
        held = read_steering_file(self.file)
        found = named(held, self.name, self.file)
        chosen = (
            [_recommended(found) or found[len(found) // 2]]
            if self.layer is None
            else [
                _at_layer(found, layer, self.file)
                for layer in parse_layers(self.layer, range(n_layers), n_layers)
            ]
        )
        return [Part(each, self.weight, plane=self._plane(held, each)) for each in chosen]

    def _plane(self, held: list[Direction], beside: Direction) -> Any:
        if self.plane is None:
            return None
        return _at_layer(named(held, self.plane, self.file), beside.layer, self.file).vector


def parse_source(text: str) -> Source:
    """Read a source as it is written; raise ``UsageError`` for a key or a weight that there is not."""
    file, fields = parse_spec(text, KEYS, "-d happy.npz,layer=3,weight=0.5")
    weight = parse_number(fields.pop("weight", "1"), f"the weight of `{file}`")
    return Source(file, weight=weight, **fields)


def parse_spec(text: str, keys: Sequence[str], example: str) -> tuple[Path, dict[str, str]]:
    """Split ``FILE,key=value,…`` into the file and its fields; a value may hold commas, as ``layer=0,2``."""
    file, *rest = text.split(",")
    fields: dict[str, str] = {}
    for piece in rest:
        key, is_field, value = piece.partition("=")
        if is_field and key not in keys:
            message = f"`{piece}` after `{file}` is not one of {', '.join(keys)}"
            raise UsageError(message, hint=f"write for example {example}")
        if is_field:
            fields[key] = value
        elif fields:
            last = list(fields)[-1]
            fields[last] = f"{fields[last]},{piece}"
        else:  # a comma in the file's name
            file = f"{file},{piece}"
    return Path(file), fields


def parse_number(text: str, what: str) -> float:
    """Read a finite number; raise ``UsageError`` that says what is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{what} is `{text}`, which is not a number", hint="write for example 0.5")
    return number


def one_direction(source: Source, n_layers: int) -> Direction:
    """Read the one direction that a source names; raise where it is several."""
    parts = source.parts(n_layers)
    if len(parts) != 1:
        message = f"`{source.layer}` names {len(parts)} layers"
        raise UsageError(message, hint="name one with --layer")
    return parts[0].direction


def named(held: list[Direction], name: str | None, path: Path) -> list[Direction]:
    """Return the directions of one name, at one or more layers; without a name, of the recommended or only one."""
    names = list(dict.fromkeys(direction.name for direction in held))
    if name is None and len(names) > 1:
        recommended = _recommended(held)
        name = None if recommended is None else recommended.name
    wanted = names[0] if name is None and len(names) == 1 else name
    if wanted not in names:
        what = f"no direction `{name}`" if name else "more than one direction"
        raise UsageError(f"`{path}` holds {what}", hint=f"choose with --name: {', '.join(names)}")
    return [direction for direction in held if direction.name == wanted]


def _recommended(found: list[Direction]) -> Direction | None:
    return next((direction for direction in found if direction.extra.get("recommended")), None)


def _at_layer(found: list[Direction], layer: int, path: Path) -> Direction:
    if exact := [direction for direction in found if direction.layer == layer]:
        return exact[0]
    if len(found) == 1:
        return replace(found[0], layer=layer)
    held = ", ".join(str(direction.layer) for direction in found)
    raise UsageError(f"`{path}` has no direction at layer {layer}", hint=f"it has layers {held}")
