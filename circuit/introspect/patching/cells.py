"""Which cells are patched: components, directions and positions, as options name them.

A cell is a layer and a column: a token for parts of the residual stream and for one named head, a
head for the parts of z.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from circuit.errors import UsageError
from circuit.introspect.inputs.choices import NUMBER, check_heads, from_first
from circuit.values.layers import parse_layers
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

COMPONENTS = ("resid_pre", "attn_out", "mlp_out", "heads")
DIRECTIONS = ("denoising", "noising")


@dataclass(frozen=True)
class CellChoice:
    """Layers, components, directions, and positions counted from the end or None for all.

    A component is one of ``COMPONENTS``, at ``layers``, or one head, ``head 2.3``, at its own
    layer.
    """

    layers: Sequence[int] = ()
    components: Sequence[str] = COMPONENTS
    directions: Sequence[str] = DIRECTIONS
    positions: Sequence[int] | None = None

    def at(self, layers: str, n_layers: int) -> "CellChoice":
        """Return the same at the layers that ``layers`` names; layers count from the first."""
        heads = {each: head_of(each) for each in self.components}
        components = [
            each if head is None else f"head {from_first(head[0], n_layers)}.{head[1]}"
            for each, head in heads.items()
        ]
        at = parse_layers(layers, range(n_layers), n_layers)
        return replace(self, layers=at, components=components)

    def layers_of(self, component: str) -> Sequence[int]:
        """Return the layers of one component's cells."""
        head = head_of(component)
        return self.layers if head is None else [head[0]]

    def sites(self) -> list[Site]:
        """Return the sites that are read: the components' own, and what their blocks read."""
        found = [
            Site(name, layer)
            for component in self.components
            for layer in self.layers_of(component)
            for name in ("resid_pre", site_of(component))
        ]
        return list(dict.fromkeys(found))

    def check(self, model: "LoadedModel") -> None:
        """Raise ``UsageError`` for a head that the model does not have."""
        check_heads(model, [*filter(None, map(head_of, self.components))])


def head_of(component: str) -> tuple[int, int] | None:
    """Return the layer and number of a named head, or None for another component."""
    numbers = NUMBER.fullmatch(component.removeprefix("head "))
    return None if numbers is None else (int(numbers[1]), int(numbers[2]))


def site_of(component: str) -> str:
    """Return the site that is patched."""
    return "z" if component == "heads" or head_of(component) else component


def cell_choice(components: str, direction: str, position: str) -> CellChoice:
    """Read options; raise ``UsageError`` for an unknown component, direction or position."""
    parts = list(dict.fromkeys(part.strip() for part in components.split(",")))
    for part in parts:
        if part not in COMPONENTS and head_of(part) is None:
            message = f"unknown component `{part}`"
            hint = f"use {', '.join(COMPONENTS)}, or one head as 2.3"
            raise UsageError("unknown-component", message, hint=hint, component=part)
    if direction not in (*DIRECTIONS, "both"):
        message = f"unknown direction of patching `{direction}`"
        hint = f"use {', '.join(DIRECTIONS)} or both"
        raise UsageError("unknown-patching-direction", message, hint=hint, direction=direction)
    named = tuple(f"head {part}" if head_of(part) else part for part in parts)
    directions = DIRECTIONS if direction == "both" else (direction,)
    return CellChoice((), named, directions, parse_positions(position))


def parse_positions(text: str) -> list[int] | None:
    """Read positions from the end: ``-1`` or ``-4,-2,-1`` or ``-8--5``; None for all."""
    if text == "all":
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("--")
        try:
            low, high = int(first), int(f"-{last}") if dash else int(first)
        except ValueError:
            low, high = 0, 0
        if not low <= high < 0:
            message = f"`{part}` is not a position counted from the end"
            hint = "write -1 for the last token, -4,-2 or -8--5"
            raise UsageError("unknown-position", message, hint=hint, position=part)
        found += range(low, high + 1)
    return sorted(set(found))
