"""Distributions of the next token, read from residuals through the model's own tail."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from circuit.methods.arrays import Array
from circuit.methods.steering import divergences

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt

ROWS_PER_PASS = 64  # rows of logits in one pass of the tail


def log_probs(model: "LoadedModel", residuals: Array, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return log-probabilities (n, vocabulary) of residuals (n, d_model)."""
    from circuit.model.forward.tail import read_logits

    parts = [
        divergences.log_softmax(read_logits(model, residuals[i : i + ROWS_PER_PASS])).astype(dtype)
        for i in range(0, len(residuals), ROWS_PER_PASS)
    ]
    return np.concatenate(parts)


def next_log_probs(model: "LoadedModel", prompts: "Sequence[EncodedPrompt]") -> Array:
    """Return log-probabilities (n_prompts, vocabulary) float32 of the token after every prompt."""
    from circuit.model.forward.last_token import last_residuals

    last = model.n_layers - 1
    return log_probs(model, last_residuals(model, prompts, [last])[last], np.float32)
