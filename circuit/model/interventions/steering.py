"""Steering: change the residual stream along directions while the model runs its own forward pass.

A ``Steering`` holds a unit direction v, the site where it acts (``resid_post`` of a block, or what
that block reads, for a direction made at ``resid_pre`` or ``embed``), an operator
(``circuit.model.interventions.operators``), the tokens (``circuit.model.forward.scopes``) and the
strength: a coefficient c, whose unit is ``unit`` long in the residual stream. Without a ``unit`` it
is as long as the residual of the token itself; with the operator ``add`` that gives h' = h + c · v
· ‖h‖.

The arithmetic is float32 and the result is cast back to the residual's dtype. Coefficient 0 changes
no bit, whatever the operator; nor does steering change a bit of a token outside its scope.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Change, Tap, tapped
from circuit.model.forward.branches import Variant
from circuit.model.forward.scopes import ALL, Scope, tokens_in_scope
from circuit.model.interventions.operators import Step, find_operator
from circuit.values.sites import RESIDUAL, Site

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Steering:
    """A unit direction (d_model,), the site where it acts, and how it acts; see the module."""

    site: Site
    vector: Vector
    coefficient: float
    unit: float | None = None
    operator: str = "add"
    scope: Scope = ALL
    plane: Vector | None = None


@contextmanager
def steered(model: LoadedModel, steerings: Sequence[Steering]) -> Iterator[None]:
    """Steer every forward pass within the block; several steerings act in the given order.

    Raises ``UsageError`` for an unknown layer, site or operator, and ``ModelError`` for a direction
    of another width.
    """
    with tapped(steered_variant(model, steerings).taps):
        yield


def steered_variant(model: LoadedModel, steerings: Sequence[Steering]) -> Variant:
    """Return the model under ``steerings`` as a variant that branches below the lowest of them.

    Raises what ``steered`` raises.
    """
    acting = [steering for steering in steerings if steering.coefficient != 0]
    taps = tuple(_tap(model, steering) for steering in acting)
    depths = [s.site.layer + (s.site.name == "resid_post") for s in acting]
    return Variant(taps, min(depths, default=model.n_layers))


def is_scoped(steerings: Sequence[Steering]) -> bool:
    """Say whether any of them leaves some tokens unchanged, so that prompts must start together."""
    return any(s.scope != ALL and s.coefficient != 0 for s in steerings)


def _tap(model: LoadedModel, steering: Steering) -> Tap:
    site = steering.site
    check_fits(model, site.layer, steering.vector)
    if site.name not in RESIDUAL:
        raise UsageError(
            "site-not-residual",
            f"cannot steer at `{site.name}`: it is not in the residual stream",
            hint=f"use one of: {', '.join(RESIDUAL)}",
            site=site.name,
        )
    block, change = model.blocks[site.layer], _change(steering)
    if site.name == "resid_post":
        return Tap(block, after=change, name=str(site))
    return Tap(block, before=change, name=str(site))


def check_fits(model: LoadedModel, layer: int, vector: Vector) -> None:
    """Raise when a direction cannot belong to this model's residual stream at ``layer``."""
    model.check_layer(layer)
    if vector.shape != (model.d_model,):
        raise ModelError(
            "widths-differ",
            f"the direction has {vector.size} entries, `{model.id}` has width {model.d_model}",
            hint="use the model that the direction was made with",
            n_entries=vector.size,
            d_model=model.d_model,
        )


def _change(steering: Steering) -> Change:
    c, unit = steering.coefficient, steering.unit
    operator, v = find_operator(steering.operator, c), _on_device(steering.vector)
    plane = None if steering.plane is None else _on_device(steering.plane)
    by_token = unit is None and not operator.takes_fraction

    def change(hidden: mx.array) -> mx.array:
        where = tokens_in_scope(steering.scope, hidden.shape[1])
        if where is False:
            return hidden
        wide = hidden.astype(mx.float32)
        amount = c * mx.linalg.norm(wide, axis=-1, keepdims=True) if by_token else c * (unit or 1)
        moved = operator.move(wide, Step(v, c, amount, plane)).astype(hidden.dtype)
        return moved if where is True else mx.where(where[..., None], moved, hidden)

    return change


def _on_device(vector: Vector) -> mx.array:
    return mx.array(vector.astype(np.float32))
