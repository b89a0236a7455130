"""The median norm of residuals, ‖h‖, over all tokens but the first, an attention sink.

One number per layer, the unit of the strength rule ``median-norm``: a coefficient then means the
same fraction of the residual at every depth, although norms grow by one or two orders of magnitude.
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from circuit.errors import DataError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site


def median_norms(
    model: LoadedModel, prompts: Sequence[EncodedPrompt], sites: Sequence[Site]
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
        raise DataError(
            "prompts-too-short",
            "the median norm of residuals needs a prompt of at least 2 tokens",
            hint="give longer prompts, or another strength rule",
        )
    return {site: float(np.median(norms)) for site, norms in joined.items()}
