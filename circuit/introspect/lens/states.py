"""What a model holds, and what it would say next, at the last token of prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.steering import divergences
from circuit.values.sites import Site

AT_ONCE = 64  # rows of logits in one pass of the tail


def last_states(model: Any, encoded: Sequence[Any], layers: Sequence[int]) -> dict[int, Array]:
    """Return ``resid_post`` of each layer at the last token of every prompt, (n, d_model)."""
    from circuit.model.forward.capture import capture, plan

    rows = {k: np.empty((len(encoded), model.d_model), np.float32) for k in layers}
    sites = [Site("resid_post", k) for k in layers]
    for batch in capture(model, plan(model, encoded, sites=sites)):
        for site in sites:
            rows[site.layer][batch.rows] = batch.values[site, "last"]
    return rows


def next_log_probs(model: Any, encoded: Sequence[Any]) -> Array:
    """Return log-probabilities (n, V) float32 of the token after every prompt."""
    from circuit.model.forward.tail import read_logits

    last = model.n_layers - 1
    states = last_states(model, encoded, [last])[last]
    parts = [
        divergences.log_softmax(read_logits(model, states[i : i + AT_ONCE])).astype(np.float32)
        for i in range(0, len(states), AT_ONCE)
    ]
    return np.concatenate(parts)
