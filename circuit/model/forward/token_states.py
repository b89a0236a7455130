"""The states at every token of one sequence, and the text of each token."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.sites.sites import Read, recording
from circuit.values.sites import Site


def token_states(
    model: LoadedModel, ids: Sequence[int], sites: Sequence[Site], *, last: Sequence[Site] = ()
) -> dict[Site, npt.NDArray[np.float32]]:
    """Run one sequence once and return the states (n_tokens, width) at each of ``sites``.

    Of the sites in ``last`` that are not among them only the last token's row is kept, (1, width).
    """
    whole, found = set(sites), dict[Site, mx.array]()

    def record(site: Site, read: Read) -> None:
        # An identity operation makes a new array: some models scale a state in place later.
        row = mx.stop_gradient if site in whole else _last
        found[site] = read(row)[0].astype(mx.float32)

    with recording(model, [*dict.fromkeys([*sites, *last])], record):
        model.network(mx.array([list(ids)]))
    mx.eval(list(found.values()))
    return {site: np.array(state) for site, state in found.items()}


def _last(hidden: mx.array) -> mx.array:
    return hidden[:, -1:] * 1


def token_texts(model: LoadedModel, ids: Sequence[int]) -> list[str]:
    """Return the text of each token alone; a piece of a character gives a replacement mark."""
    return [model.tokenizer.decode([token]) for token in ids]
