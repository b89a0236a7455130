"""The factor between a token's row of the embedding and what the first block reads.

Gemma multiplies by √d_model, Granite by a number of its configuration, most families by 1. The
model's own forward pass applies it. It is measured to be reported or changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.interventions.edits import Edit, edited
from circuit.values.sites import EMBED

Array = npt.NDArray[np.float32]
IDS = [1, 2, 3]


def embedding_scale(model: LoadedModel) -> float | None:
    """Return the factor, or None where the first block reads other than scaled embeddings."""
    rows, read = _rows_and_read(model)
    scale = float((rows * read).sum() / max(float((rows * rows).sum()), 1e-30))
    error = np.abs(read - scale * rows).max() / max(float(np.abs(read).max()), 1e-30)
    return scale if error < 1e-2 else None


@contextmanager
def scaled_embedding(model: LoadedModel, scale: float) -> Iterator[None]:
    """Multiply embeddings by ``scale`` instead of the model's own factor, while the block runs."""
    own = embedding_scale(model)
    if not own:
        raise ModelError(
            "embedding-not-scaled",
            f"the first block of `{model.id}` does not read its token embedding times a number",
            hint="leave out --embedding-scale: the model's own is used",
            model=model.id,
        )
    if not np.isfinite(scale):
        raise UsageError(
            "not-finite",
            f"the embedding scale {scale} is not a number",
            hint="leave out --embedding-scale",
            scale=scale,
        )
    factor = scale / own

    def change(hidden: mx.array) -> mx.array:
        return (hidden.astype(mx.float32) * factor).astype(hidden.dtype)

    with edited(model, [Edit(EMBED, change)]):
        yield


def _rows_and_read(model: LoadedModel) -> tuple[Array, Array]:
    """Return rows of the embedding and what the first block reads for them, (3, d_model) each."""
    tables = [m for m in model.network.modules() if isinstance(m, nn.Embedding)]
    tables = [m for m in tables or _quantised(model) if len(m.weight) > max(IDS)]
    if not tables:
        raise ModelError(
            "embedding-not-found",
            f"`{model.id}` has no token embedding that can be found",
            hint="leave out --embedding-scale",
            model=model.id,
        )
    rows: list[mx.array] = []
    seen: list[mx.array] = []

    def keep(held: list[mx.array], hidden: mx.array) -> mx.array:
        held.append(hidden.astype(mx.float32))
        return hidden

    taps = [
        Tap(tables[0], after=lambda h: keep(rows, h), name="the embedding"),
        Tap(model.blocks[0], before=lambda h: keep(seen, h), name="block 0"),
    ]
    with tapped(taps):
        model.network(mx.array([IDS]))
    return np.array(rows[0][0]), np.array(seen[0][0])


def _quantised(model: LoadedModel) -> list[nn.Module]:
    return [m for m in model.network.modules() if isinstance(m, nn.QuantizedEmbedding)]
