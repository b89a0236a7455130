"""How long residuals are: the median ‖h‖ over tokens, without the first, whose norm is an attention sink's.

One number a layer, the unit of the strength rule ``median-norm``: a coefficient then means the same share of the
residual at every depth, although norms grow by one or two orders of size on the way.
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from circuit.errors import DataError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.prompts.tokens import Encoded
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site


def median_norms(
    model: LoadedModel, prompts: Sequence[Encoded], sites: Sequence[Site]
) -> dict[Site, float]:
    """Return the median over all tokens of ``prompts`` but the first of each, at every site.

    Raises ``DataError`` when no prompt has a second token.
    """
    found: dict[Site, list[np.ndarray]] = {site: [] for site in sites}
    for prompt in prompts:
        states = hidden_states(model, mx.array(prompt.ids[None]), sites)
        for site, state in states.items():
            norms = mx.linalg.norm(state[0, 1:].astype(mx.float32), axis=-1)
            found[site].append(np.array(norms))
    joined = {site: np.concatenate(norms) for site, norms in found.items()}
    if any(not norms.size for norms in joined.values()):
        message = "the median norm of residuals needs prompts of two tokens or more"
        raise DataError(message, hint="give longer prompts, or another strength rule")
    return {site: float(np.median(norms)) for site, norms in joined.items()}
