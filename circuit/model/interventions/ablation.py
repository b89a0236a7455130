"""Ablation: remove a component while the model runs: an attention, an MLP, one head, one neuron.

What the component would have written is replaced at every token, of prompt and answer alike:

    zero       by zero
    mean       by its mean over the tokens of reference prompts, without the first of each, an
               attention sink
    resample   by its value at a random one of these tokens, drawn again for every token

Mean and resample keep the model on the distribution that later layers expect; zero does not, and
what fails then may be the norm and not the content (Wang et al. 2022, 2211.00593; Zhang & Nanda
2023, 2309.16042). A head is a part of what the heads pass to ``o_proj``, a neuron a column of what
the neurons pass to ``down_proj``. Weights are never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change
from circuit.model.interventions.edits import Edit, edited
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.model.sites.sites import hidden_states, site_shape
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
SITES = {"attention": "attn_out", "mlp": "mlp_out", "head": "z", "neuron": "mlp_act"}
METHODS = ("mean", "resample", "zero")


@dataclass(frozen=True, order=True)
class Component:
    """``attention`` or ``mlp`` of a layer, or ``head`` or ``neuron`` number ``index`` of it."""

    kind: str
    layer: int
    index: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}" + ("" if self.index is None else f".{self.index}")

    @property
    def site(self) -> Site:
        """Where it writes."""
        return Site(SITES[self.kind], self.layer)


@dataclass(frozen=True, eq=False)
class References:
    """The activations at the tokens of reference prompts: (n_tokens, width) at each site."""

    values: Mapping[Site, Array]


def reference_values(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], components: Sequence[Component]
) -> References:
    """Return the activations of each component's site at all tokens but the first of each prompt.

    Raises ``DataError`` when no prompt has a second token.
    """
    sites = list(dict.fromkeys(component.site for component in components))
    found: dict[Site, list[Array]] = {site: [] for site in sites}
    for prompt in prompts:
        for site, state in hidden_states(model, mx.array(prompt.ids[None]), sites).items():
            found[site].append(np.array(state[0, 1:].astype(mx.float32)))
    values = {site: np.concatenate(rows) for site, rows in found.items()}
    if any(not len(rows) for rows in values.values()):
        raise DataError(
            "prompts-too-short",
            "ablation by mean or resample needs reference prompts of at least 2 tokens",
            hint="give longer prompts, or use --method zero",
        )
    return References(values)


def check_method(method: str) -> None:
    """Raise ``UsageError`` for an unknown method of ablation."""
    if method not in METHODS:
        raise UsageError(
            "unknown-ablation-method",
            f"unknown ablation method `{method}`",
            hint=f"use one of: {', '.join(METHODS)}",
            method=method,
        )


def check_components(model: LoadedModel, components: Sequence[Component]) -> None:
    """Raise for a layer, a head or a neuron that is out of range."""
    for component in components:
        model.check_layer(component.layer)
        if component.index is None:
            continue
        number = count(model, component)
        if not 0 <= component.index < number:
            raise UsageError(
                "component-out-of-range",
                f"{component.kind} {component.index} is out of range: "
                f"layer {component.layer} has {number}",
                hint=f"use a number from 0 to {number - 1}",
                kind=component.kind,
                layer=component.layer,
                index=component.index,
                n=number,
            )


def count(model: LoadedModel, component: Component) -> int:
    """Return how many heads, or neurons, the component's layer has."""
    return site_shape(model, component.site)[0]


@contextmanager
def ablated(
    model: LoadedModel,
    components: Sequence[Component],
    method: str,
    references: References | None = None,
    *,
    seed: int = 0,
) -> Iterator[None]:
    """Run the model without ``components`` within the block.

    ``mean`` and ``resample`` need ``references``.
    """
    check_method(method)
    check_components(model, components)
    rng = np.random.default_rng(seed)
    edits = [
        Edit(c.site, _change(_columns(model, c), c.site, method, references, rng))
        for c in components
    ]
    with edited(model, edits):
        yield


def _change(
    columns: slice,
    site: Site,
    method: str,
    references: References | None,
    rng: np.random.Generator,
) -> Change:
    if method == "zero":
        return partial(_filled, columns, mx.array(0.0))
    if references is None:
        raise UsageError(
            "references-missing",
            f"ablation by {method} needs reference prompts",
            hint="give reference prompts, or use --method zero",
            method=method,
        )
    rows = references.values[site][:, columns]
    if method == "mean":
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return partial(_filled, columns, mx.array(mean))

    def resampled(hidden: mx.array) -> mx.array:
        drawn = rng.integers(len(rows), size=hidden.shape[:2])
        return _filled(columns, mx.array(rows[drawn]), hidden)

    return resampled


def _columns(model: LoadedModel, component: Component) -> slice:
    if component.index is None:
        return slice(None)
    width = prod(site_shape(model, component.site)[1:])  # of a head; 1 for a neuron
    return slice(component.index * width, (component.index + 1) * width)


def _filled(columns: slice, value: mx.array, hidden: mx.array) -> mx.array:
    """Return ``hidden`` (B, T, width) with ``value`` in some columns."""
    part = hidden[..., columns]
    new = mx.broadcast_to(value.astype(mx.float32), part.shape).astype(hidden.dtype)
    if columns == slice(None):
        return new
    return mx.concatenate([hidden[..., : columns.start], new, hidden[..., columns.stop :]], axis=-1)
