"""Change what a site holds while the model runs its own forward pass: what ablation and patching are made of.

An ``Edit`` names a site and a function of what it holds for all tokens of the pass, (B, T, width) to the same. It is made where the
model writes or reads that value, so that everything after it sees the change:

    resid_pre, resid_post, embed     the residual stream between blocks
    attn_out, mlp_out                what a sublayer adds to the stream, with the block's own scale and norm
    z, mlp_act                       what the heads, and the neurons, hand to the map that writes to the stream:
                                     head h is columns h·head_dim to (h+1)·head_dim of z, neuron i is column i of mlp_act

Other sites are read at a place where changing them would not do what it says (``resid_mid`` is the input of a norm that the
stream passes by; a fused map's part is a copy), so they are refused. Several edits of a site act in the order given.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx

from circuit.errors import UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change, Tap, tapped
from circuit.model.sites.reading_places import HINT, place_of
from circuit.values.sites import Site

EDITABLE = ("embed", "resid_pre", "attn_out", "mlp_out", "resid_post", "z", "mlp_act")


@dataclass(frozen=True, eq=False)
class Edit:
    """A site, and a function of what it holds: (B, T, width) to an array of that shape and dtype."""

    site: Site
    change: Change


@contextmanager
def edited(model: LoadedModel, edits: Sequence[Edit]) -> Iterator[None]:
    """Apply ``edits`` to everything that the model runs within the block.

    Raises ``UsageError`` for a site that cannot be edited and ``ModelError`` for one that the model lacks.
    """
    with tapped([_tap(model, edit) for edit in edits]):
        yield


def _tap(model: LoadedModel, edit: Edit) -> Tap:
    site = edit.site
    if site.name not in EDITABLE:
        message = f"`{site.name}` cannot be changed, only read"
        raise UsageError(message, hint=f"choose one of {', '.join(EDITABLE)}")
    if not 0 <= site.layer < model.n_layers:
        message = f"site `{site}` is out of range: the model has layers 0 to {model.n_layers - 1}"
        raise UsageError(message, hint=HINT)
    place = place_of(model, site.name, site.layer)
    change = edit.change if place.finish is None else _through(place.finish, edit.change)
    if place.side == "input":
        return Tap(place.module, before=change, name=str(site))
    return Tap(place.module, after=change, name=str(site))


def _through(scaled: Change, change: Change) -> Change:
    """Return ``change`` as seen by the module, where the block multiplies what it returns by a constant."""

    def inner(hidden: mx.array) -> mx.array:
        factor = scaled(mx.ones((1, 1, 1), dtype=mx.float32))
        return (change(scaled(hidden)) / factor).astype(hidden.dtype)

    return inner
