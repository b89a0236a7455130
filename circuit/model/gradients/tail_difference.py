"""What a step along a direction does to the logits, through the model's own tail.

At residuals h (n, d_model) taken after the last block: tail(h + s) − tail(h − s) for steps s (n,
d_model), minus its mean over the vocabulary, which moves no probability. (n, vocabulary) float32.
Where the head computes in 16 bits a difference is only as fine as the logits are: steps should be
large against that.
"""

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.tail import tail_logits

Array = npt.NDArray[np.float32]


def tail_difference(model: LoadedModel, residuals: Array, steps: Array) -> Array:
    """Return the centred difference of the logits on both sides of each residual."""
    both = np.concatenate([residuals + steps, residuals - steps]).astype(np.float32)
    logits = tail_logits(model, mx.array(both)).astype(mx.float32)
    moved = np.array(logits[: len(residuals)] - logits[len(residuals) :])
    centred: Array = moved - moved.mean(axis=1, keepdims=True)
    return centred
