"""Which components an ablation removes, as options name them.

``--component`` and ``--layers`` name the attention or MLP of layers, ``--heads`` and ``--neurons``
single ones as ``layer.number``; negative layers count from the end. What is wrong without a model
is a ``UsageError`` before one is loaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit.errors import UsageError
from circuit.introspect.inputs.choices import from_first, parse_numbers
from circuit.values.layers import parse_layers

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.ablation import Component

KINDS = ("mlp", "attention", "both")


@dataclass(frozen=True)
class Ablation:
    """What one run removes, and what it is called."""

    name: str
    components: "list[Component]"


@dataclass(frozen=True, kw_only=True)
class ComponentChoice:
    """The attention, MLP or both of layers, or else heads and neurons.

    Raises ``UsageError`` for an unknown component, for a head or a neuron that cannot be read, and
    for components that are chosen in both ways.
    """

    component: str | None = None
    layers: str | None = None
    heads: str | None = None
    neurons: str | None = None

    def __post_init__(self) -> None:
        if self.heads is None and self.neurons is None:
            object.__setattr__(
                self, "component", "both" if self.component is None else self.component
            )
            object.__setattr__(self, "layers", "all" if self.layers is None else self.layers)
            check_kind(str(self.component))
            return
        if self.component is not None or self.layers is not None:
            message = "the components are chosen twice"
            hint = "use --component and --layers, or --heads and --neurons, which name their layers"
            raise UsageError("conflicting-options", message, hint=hint)
        parse_numbers("head", self.heads)
        parse_numbers("neuron", self.neurons)

    def ablations(self, model: "LoadedModel", *, multi: bool = False) -> list[Ablation]:
        """Return one ablation for each layer, head or neuron, or one of all with ``multi``."""
        if self.layers is None:
            single = _numbered(model, "head", self.heads)
            single += _numbered(model, "neuron", self.neurons)
            each = [Ablation(str(one), [one]) for one in single]
        else:
            at = parse_layers(self.layers, range(model.n_layers), model.n_layers)
            each = layer_ablations(str(self.component), at)
        if not multi:
            return each
        together = [one for ablation in each for one in ablation.components]
        return [Ablation("+".join(ablation.name for ablation in each), together)]


def check_kind(kind: str) -> None:
    """Raise ``UsageError`` for an unknown component."""
    if kind not in KINDS:
        message = f"unknown component `{kind}`"
        hint = f"use one of: {', '.join(KINDS)}"
        raise UsageError("unknown-component", message, hint=hint, component=kind)


def layer_ablations(kind: str, layers: Iterable[int]) -> list[Ablation]:
    """Return an ablation of the attention, the MLP, or both, for each layer."""
    return [Ablation(f"L{layer}", components_of(kind, [layer])) for layer in layers]


def components_of(kind: str, layers: Iterable[int]) -> "list[Component]":
    """Return the attention, the MLP, or both, of each layer."""
    from circuit.model.interventions.ablation import Component

    check_kind(kind)
    kinds = ("attention", "mlp") if kind == "both" else (kind,)
    return [Component(each, layer) for layer in layers for each in kinds]


def _numbered(model: "LoadedModel", kind: str, text: str | None) -> "list[Component]":
    from circuit.model.interventions.ablation import Component

    return [
        Component(kind, from_first(layer, model.n_layers), number)
        for layer, number in parse_numbers(kind, text)
    ]
