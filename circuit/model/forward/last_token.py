"""What sites hold at the last token of prompts: every batch of a capture, put together."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.capture import capture, plan
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]


def last_states(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], sites: Sequence[Site]
) -> dict[Site, Array]:
    """Return the states (n_prompts, width) of each site."""
    found: dict[Site, Array] = {}
    for batch in capture(model, plan(model, prompts, sites=sites)):
        for site in sites:
            rows = batch.values[site, "last"]
            whole = found.setdefault(site, np.empty((len(prompts), rows.shape[1]), np.float32))
            whole[batch.rows] = rows
    return found


def last_residuals(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], layers: Sequence[int]
) -> dict[int, Array]:
    """Return ``resid_post`` (n_prompts, d_model) of each layer."""
    states = last_states(model, prompts, [Site("resid_post", layer) for layer in layers])
    return {site.layer: rows for site, rows in states.items()}
