"""The states at every token of one sequence, and the text of each token."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site


def token_states(
    model: LoadedModel, ids: Sequence[int], sites: Sequence[Site]
) -> dict[Site, npt.NDArray[np.float32]]:
    """Run one sequence and return the states (n_tokens, width) at each site."""
    found = hidden_states(model, mx.array([list(ids)]), sites)
    return {site: np.array(state[0].astype(mx.float32)) for site, state in found.items()}


def token_texts(model: LoadedModel, ids: Sequence[int]) -> list[str]:
    """Return the text of each token alone; a piece of a character gives a replacement mark."""
    return [model.tokenizer.decode([token]) for token in ids]
