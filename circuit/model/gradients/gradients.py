"""Gradients of a number made of the logits with respect to what sites hold, from one backward pass.

A zero offset is added at every site (``edits``), and the gradient with respect to the offset is the gradient with respect to the value

    g = ∂ m(logits) / ∂ h_site,   (B, T, width) float32

so weights may be quantised: nothing is asked about them. The network is in training mode meanwhile, where mixtures of experts take
no gradient of their routing and linear-attention families use differentiable code in the place of their kernels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from circuit.errors import ModelError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.interventions.edits import Edit, edited
from circuit.values.sites import Site

Metric = Callable[[mx.array], mx.array]  # logits (B, T, vocabulary) -> one number


@dataclass(frozen=True, eq=False)
class Gradients:
    """The number, what each site held, and its gradient there: (B, T, width) float32."""

    value: float
    values: dict[Site, mx.array]
    gradients: dict[Site, mx.array]


def site_gradients(
    model: LoadedModel, ids: mx.array, sites: Sequence[Site], metric: Metric
) -> Gradients:
    """Run token ids (B, T) forwards and backwards.

    Raises ``ModelError`` for a family whose mlx-lm code has no gradient.
    """
    seen = _values(model, ids, sites)
    offsets = [mx.zeros(seen[site].shape, mx.float32) for site in sites]

    def number(offsets: list[mx.array]) -> mx.array:
        edits = [Edit(s, partial(_shifted, o)) for s, o in zip(sites, offsets, strict=True)]
        with edited(model, edits):
            return metric(model.network(ids).astype(mx.float32))

    model.network.train()
    try:
        value, found = mx.value_and_grad(number)(offsets)
        mx.eval(value, found)
    except ValueError as error:
        message = f"mlx-lm's code of family `{model.family}` has no gradient: {error}"
        raise ModelError(message, hint="methods that need no gradient work with it") from error
    finally:
        model.network.eval()
    return Gradients(float(np.array(value)), seen, dict(zip(sites, found, strict=True)))


def _values(model: LoadedModel, ids: mx.array, sites: Sequence[Site]) -> dict[Site, mx.array]:
    seen: dict[Site, mx.array] = {}

    def look(site: Site, hidden: mx.array) -> mx.array:
        seen[site] = hidden.astype(mx.float32)
        return hidden

    with edited(model, [Edit(site, partial(look, site)) for site in sites]):
        model.network(ids)
    mx.eval(list(seen.values()))
    return seen


def _shifted(offset: mx.array, hidden: mx.array) -> mx.array:
    return (hidden.astype(mx.float32) + offset).astype(hidden.dtype)
