"""The write vectors of neurons: what neuron i of a block adds for an activation of 1.

A neuron is a column of ``mlp_act``, what ``down_proj`` reads. Its vector is read through the map
itself, which may be quantised: down(e_i) − down(0), without the bias. It is what the map returns; a
family that normalises or scales that before adding it to the stream (gemma2, olmo2, granite)
changes its length, and a norm makes it depend on the other neurons.
"""

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import past_taps
from circuit.model.sites.sites import site_shape
from circuit.model.sites.tap_points import tap_point
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
CHUNK = 1024


def n_neurons(model: LoadedModel, layer: int) -> int:
    """Return the number of neurons of a block; raise ``ModelError`` where they cannot be read."""
    return site_shape(model, Site("mlp_act", layer))[0]


def write_vectors(model: LoadedModel, layer: int) -> Array:
    """Return the write vector of each neuron, (n_neurons, d_model)."""
    down, width = past_taps(tap_point(model, "mlp_act", layer).module), n_neurons(model, layer)
    nothing = down(mx.zeros((1, width)))
    parts = []
    for first in range(0, width, CHUNK):
        rows = np.zeros((min(CHUNK, width - first), width), np.float32)
        rows[np.arange(len(rows)), first + np.arange(len(rows))] = 1
        parts.append(np.array((down(mx.array(rows)) - nothing).astype(mx.float32)))
    return np.concatenate(parts)
