"""Which parts of a model an ablation takes out, as options name them.

``--component`` and ``--layers`` name whole blocks' parts, ``--heads`` and ``--neurons`` single ones as ``layer.number``; layers count from the
end where they are negative. What is wrong without a model is a ``UsageError`` before there is one.
"""

import re
from collections.abc import Sequence
from typing import Any

from circuit.errors import UsageError
from circuit.values.layers import parse_layers

KINDS = ("mlp", "attention", "both")
COMPONENT, LAYERS = "both", "all"  # where nothing is named


def check_kind(kind: str) -> None:
    """Raise ``UsageError`` for a component that there is not."""
    if kind not in KINDS:
        raise UsageError(f"there is no component `{kind}`", hint=f"use {', '.join(KINDS)}")


def components_of(kind: str, layers: Sequence[int]) -> list[Any]:
    """Return the attention, the MLP, or both, of each layer."""
    from circuit.model.interventions.ablation import Component

    check_kind(kind)
    kinds = ("attention", "mlp") if kind == "both" else (kind,)
    return [Component(each, layer) for layer in layers for each in kinds]


def check_parts(
    component: str | None,
    layers: str | None,
    heads: str | None,
    neurons: str | None,
    method: str = "mean",
) -> None:
    """Raise ``UsageError`` for parts that are named badly, or twice, and for a method that there is not."""
    from circuit.model.interventions.ablation import check_method

    check_method(method)
    if heads is None and neurons is None:
        check_kind(component or COMPONENT)
        return
    if component is not None or layers is not None:
        message = "what is taken out is chosen twice"
        hint = "use --component and --layers, or --heads and --neurons, which name their layers"
        raise UsageError(message, hint=hint)
    parse_numbers("head", heads)
    parse_numbers("neuron", neurons)


def parse_numbers(kind: str, text: str | None) -> list[tuple[int, int]]:
    """Read ``3.0,-1.2``: the layer, which may count from the end, and the number of a head or a neuron."""
    found = []
    for part in [] if text is None else text.split(","):
        if not part.strip():
            message = f"a {kind} is missing in `{text}`"
            raise UsageError(
                message, hint=f"write layer.{kind}, as 3.0, with one comma between two"
            )
        numbers = re.fullmatch(r"(-?[0-9]+)\.([0-9]+)", part.strip())
        if numbers is None:
            raise UsageError(f"`{part}` is not a {kind}", hint=f"write layer.{kind}, as 3.0")
        found.append((int(numbers[1]), int(numbers[2])))
    return found


def named_ablations(
    model: Any,
    component: str | None,
    layers: str | None,
    heads: str | None,
    neurons: str | None,
    *,
    multi: bool,
) -> list[tuple[str, list[Any]]]:
    """Return what options name as ablations: one a layer, head or neuron, or all of them as one."""
    check_parts(component, layers, heads, neurons)
    if heads is not None or neurons is not None:
        single = _numbered(model, "head", heads) + _numbered(model, "neuron", neurons)
        each = [(str(one), [one]) for one in single]
    else:
        at = parse_layers(layers or LAYERS, range(model.n_layers), model.n_layers)
        each = [(f"L{layer}", components_of(component or COMPONENT, [layer])) for layer in at]
    if not multi:
        return each
    together = [one for _, components in each for one in components]
    return [("+".join(name for name, _ in each), together)]


def _numbered(model: Any, kind: str, text: str | None) -> list[Any]:
    from circuit.model.interventions.ablation import Component

    n = model.n_layers
    return [
        Component(kind, layer + n if -n <= layer < 0 else layer, number)
        for layer, number in parse_numbers(kind, text)
    ]
