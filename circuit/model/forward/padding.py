"""Measure whether padding after a prompt changes the prompt's hidden states.

For causal attention and for recurrences that run forwards it does not, to rounding. Bidirectional
attention, experts with a capacity, or statistics taken over the batch would mix the pads in
silently. So it is measured, on two short synthetic prompts, before a ragged batch is trusted: max
|h_padded - h_alone| / max |h_alone| after the last block, over all real tokens.
"""

from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

IDS = [list(range(1, 13)), list(range(5, 10))]
_measured: WeakKeyDictionary[LoadedModel, bool] = WeakKeyDictionary()


def pads_are_harmless(model: LoadedModel) -> bool:
    """Say whether prompts may be right-padded to run in one batch; measured once per model."""
    if model not in _measured:
        _measured[model] = padding_error(model) < padding_bound(model)
    return _measured[model]


def padding_error(model: LoadedModel) -> float:
    """Return the relative error of a prompt's states in a right-padded batch."""
    long, short = IDS
    last = Site("resid_post", model.n_layers - 1)
    padded = mx.array([long, short + [0] * (len(long) - len(short))])
    together = hidden_states(model, padded, [last])[last][1, : len(short)]
    alone = hidden_states(model, mx.array([short]), [last])[last][0]
    return relative_error(together, alone)


def padding_bound(model: LoadedModel) -> float:
    """Return the largest error of rounding, in the dtype that the weights are held in."""
    return 1e-4 if model.dtype == "float32" else 5e-2


def relative_error(ours: mx.array, expected: mx.array) -> float:
    """Return max |ours - expected| / max |expected|; infinite when it is not a number."""
    a, b = (_wide(array) for array in (ours, expected))
    error = float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))
    return error if np.isfinite(error) else float("inf")


def _wide(array: mx.array) -> npt.NDArray[np.float32]:
    return np.array(array.astype(mx.float32))
