"""What single neurons write: the vector that neuron i of a block adds for an activation of 1.

A neuron is a column of ``mlp_act``, what ``down_proj`` reads. Its vector is read through the map itself, which may be quantised: down(e_i) − down(0),
where the bias drops out. It is what the map returns; a family that normalises or scales that before it is added to the stream (gemma2,
olmo2, granite) writes it in another length, and with a norm also by what the other neurons write.
"""

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import past_taps
from circuit.model.sites.reading_places import place_of
from circuit.model.sites.sites import site_shape
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
AT_ONCE = 1024


def n_neurons(model: LoadedModel, layer: int) -> int:
    """Return how many neurons a block has; raises ``ModelError`` where they cannot be read."""
    return site_shape(model, Site("mlp_act", layer))[0]


def write_vectors(model: LoadedModel, layer: int) -> Array:
    """Return what each neuron writes, (n_neurons, d_model)."""
    down, width = past_taps(place_of(model, "mlp_act", layer).module), n_neurons(model, layer)
    nothing = down(mx.zeros((1, width)))
    parts = []
    for first in range(0, width, AT_ONCE):
        rows = np.zeros((min(AT_ONCE, width - first), width), np.float32)
        rows[np.arange(len(rows)), first + np.arange(len(rows))] = 1
        parts.append(np.array((down(mx.array(rows)) - nothing).astype(mx.float32)))
    return np.concatenate(parts)
