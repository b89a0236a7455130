"""The tail: from residuals to logits, through the model's own last norm and head.

The network runs on dummy tokens with the output of its last block replaced by the given residuals,
stacked as a batch of sequences of length 1. Its own final norm, head, tying, soft-cap and scaling
then apply, whatever the family, and no block is evaluated because nothing depends on one.
"""

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped


def tail_logits(model: LoadedModel, residuals: mx.array) -> mx.array:
    """Return (n, vocabulary) logits of residuals (n, d_model) taken after the last block."""
    stacked = residuals[:, None, :]
    with tapped([Tap(model.blocks[-1], after=lambda _: stacked, name="tail")]):
        logits: mx.array = model.network(mx.zeros(stacked.shape[:2], dtype=mx.int32))
    return logits[:, -1]


def log_softmax(logits: mx.array) -> mx.array:
    """Return float32 log-probabilities over the last axis."""
    wide = logits.astype(mx.float32)
    return wide - mx.logsumexp(wide, axis=-1, keepdims=True)


def read_logits(
    model: LoadedModel, residuals: npt.NDArray[np.float32] | mx.array
) -> npt.NDArray[np.float32]:
    """Return logits (n, vocabulary) of residuals (n, d_model) as a numpy array, float32."""
    return np.array(tail_logits(model, mx.array(residuals)).astype(mx.float32))
