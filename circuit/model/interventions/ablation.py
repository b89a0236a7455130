"""Take a component out of the model while it runs: an attention, an MLP, one head, one neuron.

What the component would have written is replaced for every token, at prompt and answer alike:

    zero       by nothing
    mean       by its mean over the tokens of reference prompts (without the first of each, an attention sink)
    resample   by its value at a token drawn from those, another one for every token

The mean and the resample keep the model on the distribution that later layers expect; zero does not, and what breaks then may
be the norm and not the content (Wang et al. 2022, 2211.00593; Zhang & Nanda 2023, 2309.16042). A head is cut out of what the
heads hand to ``o_proj``, a neuron out of what they hand to ``down_proj``. Weights are never touched.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change
from circuit.model.interventions.edits import Edit, edited
from circuit.model.prompts.tokens import Encoded
from circuit.model.sites.reading_places import heads_at, row_of
from circuit.model.sites.sites import hidden_states
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
    """What components hold at the tokens of reference prompts: (n_tokens, width) at each site."""

    values: Mapping[Site, Array]


def reference_values(
    model: LoadedModel, prompts: Sequence[Encoded], components: Sequence[Component]
) -> References:
    """Run reference prompts and keep what each component's site holds at all tokens but the first.

    Raises ``DataError`` when no prompt has a second token.
    """
    sites = list(dict.fromkeys(component.site for component in components))
    found: dict[Site, list[Array]] = {site: [] for site in sites}
    for prompt in prompts:
        for site, state in hidden_states(model, mx.array(prompt.ids[None]), sites).items():
            found[site].append(np.array(state[0, 1:].astype(mx.float32)))
    values = {site: np.concatenate(rows) for site, rows in found.items()}
    if any(not len(rows) for rows in values.values()):
        message = "ablation by mean or resample needs reference prompts of two tokens or more"
        raise DataError(message, hint="give longer prompts, or --method zero")
    return References(values)


def check_method(method: str) -> None:
    """Raise ``UsageError`` for a way to ablate that there is not."""
    if method not in METHODS:
        raise UsageError(f"there is no ablation `{method}`", hint=f"use {', '.join(METHODS)}")


def check_components(model: LoadedModel, components: Sequence[Component]) -> None:
    """Raise for a layer, a head or a neuron that there is not."""
    for component in components:
        if not 0 <= component.layer < model.n_layers:
            message = f"there is no layer {component.layer}: `{model.id}` has blocks 0 to {model.n_layers - 1}"
            raise UsageError(message, hint="choose one of them")
        if component.index is None:
            continue
        number = count(model, component)
        if not 0 <= component.index < number:
            message = f"there is no {component.kind} {component.index} in layer {component.layer}, which has {number}"
            raise UsageError(message, hint=f"they are counted from 0 to {number - 1}")


def count(model: LoadedModel, component: Component) -> int:
    """Return how many heads, or neurons, the component's layer has."""
    if component.kind == "head":
        return heads_at(model, row_of(model, "z"), component.layer).n_heads
    return hidden_width(model, component.site)


def hidden_width(model: LoadedModel, site: Site) -> int:
    """Return the width of what a site holds."""
    return int(hidden_states(model, mx.zeros((1, 2), dtype=mx.int32), [site])[site].shape[-1])


@contextmanager
def ablated(
    model: LoadedModel,
    components: Sequence[Component],
    method: str,
    references: References | None = None,
    *,
    seed: int = 0,
) -> Iterator[None]:
    """Run the model without ``components`` within the block; ``mean`` and ``resample`` need ``references``."""
    check_method(method)
    check_components(model, components)
    rng = np.random.default_rng(seed)
    edits = [Edit(c.site, _change(model, c, method, references, rng)) for c in components]
    with edited(model, edits):
        yield


def _change(
    model: LoadedModel,
    component: Component,
    method: str,
    references: References | None,
    rng: np.random.Generator,
) -> Change:
    columns = _columns(model, component)
    if method == "zero":
        return partial(_filled, columns, mx.array(0.0))
    if references is None:
        message = f"ablation by {method} needs reference prompts"
        raise UsageError(message, hint="give some, or use zero")
    rows = references.values[component.site][:, columns]
    if method == "mean":
        return partial(
            _filled, columns, mx.array(rows.mean(axis=0, dtype=np.float64).astype(np.float32))
        )

    def resampled(hidden: mx.array) -> mx.array:
        drawn = rng.integers(len(rows), size=hidden.shape[:2])
        return _filled(columns, mx.array(rows[drawn]), hidden)

    return resampled


def _columns(model: LoadedModel, component: Component) -> slice:
    if component.index is None:
        return slice(None)
    if component.kind == "neuron":
        return slice(component.index, component.index + 1)
    width = hidden_width(model, component.site) // count(model, component)
    return slice(component.index * width, (component.index + 1) * width)


def _filled(columns: slice, value: mx.array, hidden: mx.array) -> mx.array:
    """Return ``hidden`` (B, T, width) with ``value`` in some columns."""
    part = hidden[..., columns]
    new = mx.broadcast_to(value.astype(mx.float32), part.shape).astype(hidden.dtype)
    if columns == slice(None):
        return new
    return mx.concatenate([hidden[..., : columns.start], new, hidden[..., columns.stop :]], axis=-1)
