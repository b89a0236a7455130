"""Steering: add directions to the residual stream while the model runs its own forward pass.

The rule of this version is ``norm``: at ``resid_post`` of block L (or at what the block reads, for
a direction made at ``resid_pre`` or ``embed``), at every position of the prompt and of what is
generated, h' = h + c · v · ||h||, where v is a unit direction and ||h|| the token's own norm. The
arithmetic is float32 and the result is cast back to the residual's dtype; coefficient 0 leaves
every bit as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError, UsageError
from circuit.model.loading import LoadedModel
from circuit.model.taps import Change, Tap, tapped

RESIDUAL_SITES = ("resid_post", "resid_pre", "embed")


@dataclass(frozen=True, eq=False)
class Steering:
    """A unit direction (d_model,), the block and site where it is added, and how strongly."""

    layer: int
    vector: npt.NDArray[np.float32]
    coefficient: float
    site: str = "resid_post"


@contextmanager
def steered(model: LoadedModel, steerings: Sequence[Steering]) -> Iterator[None]:
    """Steer everything that the model runs within the block.

    Raises ``UsageError`` for a layer that the model lacks and ``ModelError`` for a direction of
    another width.
    """
    taps = [_steering_tap(model, steering) for steering in steerings if steering.coefficient != 0]
    with tapped(taps):
        yield


def _steering_tap(model: LoadedModel, steering: Steering) -> Tap:
    check_fits(model, steering.layer, steering.vector)
    if steering.site not in RESIDUAL_SITES:
        message = f"`{steering.site}` is not the residual stream, where steering adds"
        raise UsageError(message, hint=f"use one of: {', '.join(RESIDUAL_SITES)}")
    block = model.blocks[steering.layer]
    name = f"{steering.site}.{steering.layer}"
    if steering.site == "resid_post":
        return Tap(block, after=_adder(steering), name=name)
    return Tap(block, before=_adder(steering), name=name)


def check_fits(model: LoadedModel, layer: int, vector: npt.NDArray[np.float32]) -> None:
    """Raise when a direction cannot belong to this model's residual stream at ``layer``."""
    if not 0 <= layer < model.n_layers:
        message = (
            f"layer {layer} is out of range: `{model.id}` has blocks 0 to {model.n_layers - 1}"
        )
        raise UsageError(message, hint="choose one of them with --layer")
    if vector.shape != (model.d_model,):
        message = f"the direction has {vector.size} entries, `{model.id}` has width {model.d_model}"
        raise ModelError(message, hint="a direction works on the model it was extracted from")


def _adder(steering: Steering) -> Change:
    step = mx.array(steering.coefficient * steering.vector.astype(np.float32))

    def add(hidden: mx.array) -> mx.array:
        wide = hidden.astype(mx.float32)
        norm = mx.linalg.norm(wide, axis=-1, keepdims=True)
        return (wide + norm * step).astype(hidden.dtype)

    return add
