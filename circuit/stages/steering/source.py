"""Which directions act: those of steering files, each at its layers and with its weight.

A source is written ``FILE`` or ``FILE,name=NAME,layer=LAYERS,weight=W,plane=NAME``. Without a name,
and without a layer, it is the direction that the file recommends, else the middle one of its
layers; of a format whose readers add all layers at once (GGUF), it is all of them. At several
layers the file's directions of that name act at their own; a file with one direction may be used
at other layers than its own. ``plane`` names another direction of the file, for ``--operator
angular``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.steering_files.files import adds_every_layer, read_steering_file
from circuit.errors import UsageError
from circuit.stages.options import DirectionOptions
from circuit.stages.rows.same_weights import check_model
from circuit.stages.steering.intervention import Term, Vector
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

KEYS = ("name", "layer", "weight", "plane")


@dataclass(frozen=True)
class Source:
    """A steering file, and which of its directions act, at which layers and with which weight."""

    file: Path
    name: str | None = None
    layer: str | None = None
    weight: float = 1.0
    plane: str | None = None

    @cached_property
    def held(self) -> list[Direction]:
        """All directions of the file."""
        return read_steering_file(self.file)

    def terms(self, n_layers: int) -> list[Term]:
        """Choose the directions for a model with ``n_layers`` blocks, at one layer or several."""
        found = named(self.held, self.name, self.file)
        if self.layer is not None:
            layers = parse_layers(self.layer, range(n_layers), n_layers)
            chosen = [_at_layer(found, layer, self.file) for layer in layers]
        elif (best := _recommended(found)) is None and adds_every_layer(self.file):
            chosen = found
        else:
            chosen = [best or found[len(found) // 2]]
        return [Term(each, self.weight, plane=self._plane(each)) for each in chosen]

    def _plane(self, beside: Direction) -> Vector | None:
        if self.plane is None:
            return None
        return _at_layer(named(self.held, self.plane, self.file), beside.layer, self.file).vector


def sources_of(options: DirectionOptions) -> list[Source]:
    """Read sources as they are written, and check that their files are steering files.

    `--name` and `--layer` belong to the only source.
    """
    sources = [parse_source(text) for text in options.direction or []]
    if not sources:
        hint = "give a steering file with -d; `circuit steer` also takes --positive and --negative"
        raise UsageError("no-direction", "no direction is given", hint=hint)
    if len(sources) == 1:
        only = sources[0]
        layer = only.layer if options.layer is None else options.layer
        sources = [replace(only, name=options.name or only.name, layer=layer)]
    elif options.name is not None or options.layer is not None:
        message = "`--name` and `--layer` apply to one direction, and several are given"
        hint = "write -d FILE,name=NAME,layer=LAYERS for each"
        raise UsageError("option-not-applicable", message, hint=hint, n_directions=len(sources))
    for source in sources:
        _ = source.held  # raises for what is not a steering file
    return sources


def terms_of(
    model: "LoadedModel", sources: Sequence[Source], *, allow_other_model: bool
) -> list[Term]:
    """Read every source's directions; raise ``ModelError`` where one belongs to another model."""
    terms = [term for source in sources for term in source.terms(model.n_layers)]
    for term in terms:
        check_model(term.direction, model, allow_other=allow_other_model)
    return terms


def parse_source(text: str) -> Source:
    """Read a source as it is written; raise ``UsageError`` for an unknown key or a wrong weight."""
    file, fields = parse_spec(text, KEYS, "-d happy.npz,layer=3,weight=0.5")
    weight = parse_number(fields.pop("weight", "1"), f"the weight of `{file}`")
    return Source(file, weight=weight, **fields)


def parse_spec(text: str, keys: Sequence[str], example: str) -> tuple[Path, dict[str, str]]:
    """Split ``FILE,key=value,…`` into file and fields; a value may hold commas (``layer=0,2``)."""
    file, *rest = text.split(",")
    fields: dict[str, str] = {}
    for piece in rest:
        key, is_field, value = piece.partition("=")
        if is_field and key not in keys:
            message = f"`{piece}` after `{file}` is not one of {', '.join(keys)}"
            raise UsageError("unknown-key", message, hint=f"write for example {example}", key=key)
        if is_field:
            fields[key] = value
        elif fields:
            last = list(fields)[-1]
            fields[last] = f"{fields[last]},{piece}"
        else:  # a comma in the file's name
            file = f"{file},{piece}"
    return Path(file), fields


def parse_number(text: str, what: str) -> float:
    """Read a finite number; raise ``UsageError`` that names ``what`` is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        message = f"{what} is `{text}`, which is not a finite number"
        raise UsageError("not-a-number", message, hint="write for example 0.5", value=text)
    return number


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read finite numbers between commas."""
    return tuple(parse_number(part, f"a number of `{option}`") for part in text.split(","))


def one_direction(source: Source, n_layers: int) -> Direction:
    """Read the one direction that a source names; raise where it is several."""
    terms = source.terms(n_layers)
    if len(terms) != 1:
        message = f"`{source.layer or source.file}` names {len(terms)} layers, and one is needed"
        raise UsageError("one-layer-expected", message, hint="name one layer", n_layers=len(terms))
    return terms[0].direction


def named(held: list[Direction], name: str | None, path: Path) -> list[Direction]:
    """Return the directions of one name at all their layers; by default the recommended name."""
    names = list(dict.fromkeys(direction.name for direction in held))
    if name is None and len(names) > 1:
        recommended = _recommended(held)
        name = None if recommended is None else recommended.name
    chosen = names[0] if name is None and len(names) == 1 else name
    hint = f"choose with --name: {', '.join(names)}"
    if chosen is None:
        message = f"`{path}` holds {len(names)} directions"
        raise UsageError("several-directions", message, hint=hint, names=names)
    if chosen not in names:
        message = f"`{path}` holds no direction `{name}`"
        raise UsageError("unknown-direction", message, hint=hint, name=name)
    return [direction for direction in held if direction.name == chosen]


def _recommended(found: list[Direction]) -> Direction | None:
    return next((direction for direction in found if direction.extra.get("recommended")), None)


def _at_layer(found: list[Direction], layer: int, path: Path) -> Direction:
    if exact := [direction for direction in found if direction.layer == layer]:
        return exact[0]
    if len(found) == 1:
        return replace(found[0], layer=layer)
    held = ", ".join(str(direction.layer) for direction in found)
    message = f"`{path}` has no direction at layer {layer}"
    raise UsageError("layer-not-in-file", message, hint=f"it has layers {held}", layer=layer)
