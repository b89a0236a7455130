"""Steering: change the residual stream along directions while the model runs its own forward pass.

A ``Steering`` names a unit direction v, where it acts (``resid_post`` of block L, or what that block reads, for a direction made at
``resid_pre`` or ``embed``), what it does (``circuit.model.interventions.operators``), on which tokens (``circuit.model.forward.scopes``), and how
strongly: a coefficient c, one unit of which is ``unit`` long in the residual stream, or as long as the token itself, ‖h‖,
where ``unit`` is None. With the operator ``add`` that default is h' = h + c · v · ‖h‖.

The arithmetic is float32 and the result is cast back to the residual's dtype. Coefficient 0 is no steering,
whatever the operator, and changes no bit; nor does a steering change a bit of a token outside its scope.
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
from circuit.model.forward.scopes import ALL, Scope, touched
from circuit.model.interventions.operators import OPERATORS, SHARES, Step
from circuit.values.sites import RESIDUAL

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Steering:
    """A unit direction (d_model,), the block and site where it acts, and how; see the module."""

    layer: int
    vector: Vector
    coefficient: float
    site: str = "resid_post"
    unit: float | None = None
    operator: str = "add"
    scope: Scope = ALL
    plane: Vector | None = None


@contextmanager
def steered(model: LoadedModel, steerings: Sequence[Steering]) -> Iterator[None]:
    """Steer everything that the model runs within the block; several act in the order given.

    Raises ``UsageError`` for a layer, site or operator that there is not, and ``ModelError`` for a
    direction of another width.
    """
    taps = [_steering_tap(model, steering) for steering in steerings if steering.coefficient != 0]
    with tapped(taps):
        yield


def is_scoped(steerings: Sequence[Steering]) -> bool:
    """Say whether any of them leaves some tokens alone, so that it has to be known which is which."""
    return any(s.scope != ALL and s.coefficient != 0 for s in steerings)


def _steering_tap(model: LoadedModel, steering: Steering) -> Tap:
    check_fits(model, steering.layer, steering.vector)
    check_operator(steering.operator, steering.coefficient)
    if steering.site not in RESIDUAL:
        message = f"`{steering.site}` is not the residual stream, where steering adds"
        raise UsageError(message, hint=f"use one of: {', '.join(RESIDUAL)}")
    block = model.blocks[steering.layer]
    name = f"{steering.site}.{steering.layer}"
    if steering.site == "resid_post":
        return Tap(block, after=_change(steering), name=name)
    return Tap(block, before=_change(steering), name=name)


def check_fits(model: LoadedModel, layer: int, vector: Vector) -> None:
    """Raise when a direction cannot belong to this model's residual stream at ``layer``."""
    if not 0 <= layer < model.n_layers:
        message = (
            f"layer {layer} is out of range: `{model.id}` has blocks 0 to {model.n_layers - 1}"
        )
        raise UsageError(message, hint="choose one of them with --layer")
    if vector.shape != (model.d_model,):
        message = f"the direction has {vector.size} entries, `{model.id}` has width {model.d_model}"
        raise ModelError(message, hint="a direction works on the model it was extracted from")


def check_operator(operator: str, coefficient: float) -> None:
    """Raise for an operator that there is not, and for a coefficient that it does not take."""
    if operator not in OPERATORS:
        message = f"there is no operator `{operator}`"
        raise UsageError(message, hint=f"use one of: {', '.join(OPERATORS)}")
    if operator == "angular" and abs(coefficient) > 1:
        message = f"`angular` turns by a share of the angle, and {coefficient:g} is not one"
        raise UsageError(message, hint="use coefficients from -1 to 1")


def _change(steering: Steering) -> Change:
    operate, v = OPERATORS[steering.operator], mx.array(steering.vector.astype(np.float32))
    plane = None if steering.plane is None else mx.array(steering.plane.astype(np.float32))
    c, unit = steering.coefficient, steering.unit
    by_token = unit is None and steering.operator not in SHARES

    def change(hidden: mx.array) -> mx.array:
        where = touched(steering.scope, hidden.shape[1])
        if where is False:
            return hidden
        wide = hidden.astype(mx.float32)
        amount = c * mx.linalg.norm(wide, axis=-1, keepdims=True) if by_token else c * (unit or 1)
        moved = operate(wide, Step(v, c, amount, plane)).astype(hidden.dtype)
        return moved if where is True else mx.where(where[..., None], moved, hidden)

    return change
