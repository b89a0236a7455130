"""Gradients of a metric of the logits with respect to activations, from one backward pass.

A zero offset is added at every site (``edits``); the gradient with respect to the offset is the
gradient with respect to the activation

    g = ∂ m(logits) / ∂ h_site,   (B, T, width) float32

so weights may be quantised: no gradient of them is needed. The network is in training mode
meanwhile, in which mixtures of experts take no gradient of their routing and linear-attention
families use differentiable code instead of their kernels.
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
    """The metric, and for each site its activations and gradients: (B, T, width) float32."""

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
        raise ModelError(
            "no-gradient",
            f"mlx-lm's code of family `{model.family}` has no gradient: {error}",
            hint="use a method that needs no gradient",
            family=model.family,
        ) from error
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
