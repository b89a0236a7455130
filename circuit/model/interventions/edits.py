"""Edits: change what a site holds while the model runs its own forward pass.

Ablation and patching are made of them. An ``Edit`` names a site and a function of what it holds for
all tokens of the pass, (B, T, width) to the same. It is made where the model writes or reads that
value, so that everything after it is computed from the changed value:

    resid_pre, resid_post, embed    the residual stream between blocks
    attn_out, mlp_out               what a sublayer adds to the stream, scaled and normed as there
    z, mlp_act                      what the heads, and the neurons, pass to the map that writes to
                                    the stream: head h is columns h·head_dim to (h+1)·head_dim of z,
                                    neuron i is column i of mlp_act

Other sites are read where a change would have no such effect (``resid_mid`` is the input of a norm
that the residual stream bypasses; a part of a fused map is a copy), so they are refused. Several
edits of a site act in the given order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx

from circuit.errors import UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change, Tap, tapped
from circuit.model.forward.branches import Variant
from circuit.model.sites.table import SITES
from circuit.model.sites.tap_points import tap_point
from circuit.values.sites import Site


@dataclass(frozen=True, eq=False)
class Edit:
    """A site, and a function of its activations (B, T, width) to the same shape and dtype."""

    site: Site
    change: Change


@contextmanager
def edited(model: LoadedModel, edits: Sequence[Edit]) -> Iterator[None]:
    """Apply ``edits`` to every forward pass within the block.

    Raises ``UsageError`` for a site that cannot be edited and ``ModelError`` for one that the model
    lacks.
    """
    with tapped(edited_variant(model, edits).taps):
        yield


def edited_variant(model: LoadedModel, edits: Sequence[Edit]) -> Variant:
    """Return the model under ``edits`` as a variant that branches below the lowest of them.

    Raises what ``edited`` raises.
    """
    taps = tuple(_tap(model, edit) for edit in edits)
    depths = [e.site.layer + (e.site.name == "resid_post") for e in edits]
    return Variant(taps, min(depths, default=model.n_layers))


def _tap(model: LoadedModel, edit: Edit) -> Tap:
    site = edit.site
    if not SITES[site.name].editable:
        editable = [entry.name for entry in SITES.values() if entry.editable]
        raise UsageError(
            "site-not-editable",
            f"site `{site.name}` can be read, but not changed",
            hint=f"use one of: {', '.join(editable)}",
            site=site.name,
        )
    model.check_layer(site.layer)
    point = tap_point(model, site.name, site.layer)
    change = edit.change if point.finish is None else _through(point.finish, edit.change)
    if point.side == "input":
        return Tap(point.module, before=change, name=str(site))
    return Tap(point.module, after=change, name=str(site))


def _through(scaled: Change, change: Change) -> Change:
    """Return ``change`` as a function of the module's output before the block scales it."""

    def inner(hidden: mx.array) -> mx.array:
        factor = scaled(mx.ones((1, 1, 1), dtype=mx.float32))
        return (change(scaled(hidden)) / factor).astype(hidden.dtype)

    return inner
