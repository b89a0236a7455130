"""The attention of the last token of a sequence: its row of each head's pattern only."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.sites import Read, recording
from circuit.values.sites import Site


def last_attention(
    model: LoadedModel, ids: Sequence[int], layers: Sequence[int]
) -> dict[int, npt.NDArray[np.float32]]:
    """Run one sequence and return (n_heads, n_tokens) weights of its last token for each layer.

    Raises ``ModelError`` where attention cannot be read.
    """
    seen: dict[int, mx.array] = {}

    def record(site: Site, read: Read) -> None:
        seen[site.layer] = read(lambda tokens: tokens[:, -1:])[0, 0]

    with recording(model, [Site("attn_pattern", layer) for layer in layers], record):
        model.network(mx.array([list(ids)]))
    return {layer: np.array(rows.astype(mx.float32)) for layer, rows in seen.items()}
