"""Activation patching: put activations of one run into another, and read the last token's logits.

A ``Patch`` has a mask over rows, tokens and columns, (B or 1, T or 1, width or 1). Where it is true
the site has ``values``, elsewhere what the model computes. A batch of masks is a batch of
experiments on one prompt. Blocks before the patched one are not run again: what it reads is given.

Attribution patching (Nanda 2023; Syed et al. 2023, 2310.10348) estimates all patches from one
backward pass,

    m(patched) − m(base) ≈ Σ (a_source − a_base) · ∂m/∂a_base,

exact for what acts linearly on m, and wrong where the base run is saturated: so verify it
(``circuit.introspect.questions.patch``).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.tail import tail_logits
from circuit.model.gradients.gradients import site_gradients
from circuit.model.interventions.edits import Edit, edited
from circuit.model.sites.sites import hidden_states, recording
from circuit.values.sites import Site

Array = npt.NDArray[np.float32]
Score = Callable[[mx.array], mx.array]  # last logits (B, vocabulary) -> (B,)


@dataclass(frozen=True, eq=False)
class Patch:
    """A site, where it changes (bool), and to what; both broadcast against (B, T, width)."""

    site: Site
    mask: mx.array
    values: mx.array


@contextmanager
def patched(model: LoadedModel, patches: Sequence[Patch]) -> Iterator[None]:
    """Run the model with ``patches`` within the block."""
    with edited(model, [Edit(each.site, partial(_put, each)) for each in patches]):
        yield


def _put(patch: Patch, hidden: mx.array) -> mx.array:
    return mx.where(patch.mask, patch.values.astype(hidden.dtype), hidden)


def states(model: LoadedModel, ids: npt.ArrayLike, sites: Sequence[Site]) -> dict[Site, Array]:
    """Return the activations of sites for token ids (T,): (T, width) float32."""
    row = np.asarray(ids, np.int32)[None]
    seen = hidden_states(model, mx.array(row), sites)
    wide = {site: state.astype(mx.float32) for site, state in seen.items()}
    mx.eval(list(wide.values()))
    return {site: np.array(state)[0] for site, state in wide.items()}


def last_logits(model: LoadedModel, ids: mx.array, ends: Sequence[int] | None = None) -> mx.array:
    """Return the logits (B, vocabulary) of the last token, or of token ``ends[b]``, of ids (B, T).

    The head reads one token per row.
    """
    final, seen = Site("resid_post", model.n_layers - 1), dict[Site, mx.array]()
    at = mx.array([ids.shape[1] - 1] * ids.shape[0] if ends is None else list(ends))

    def gather(hidden: mx.array) -> mx.array:
        return mx.take_along_axis(hidden, at[:, None, None], axis=1)

    with recording(model, [final], lambda site, read: seen.update({site: read(gather)})):
        model.network(ids)
    return tail_logits(model, seen[final][:, 0])


def read_last(model: LoadedModel, ids: npt.ArrayLike) -> Array:
    """Return the logits (vocabulary,) after the prompt ids (T,)."""
    row = mx.array(np.asarray(ids, np.int32)[None])
    logits: Array = np.array(last_logits(model, row).astype(mx.float32))[0]
    return logits


def patched_scores(
    model: LoadedModel,
    ids: npt.ArrayLike,
    site: Site,
    masks: npt.NDArray[np.bool_],
    values: Array,
    *,
    score: Score,
    before: Array,
    batch_tokens: int = 4096,
) -> Array:
    """Return the score of each of ``masks`` (n, T or 1, width or 1) on the prompt ids (T,), (n,).

    ``values`` (T, width) replace those of the site, ``before`` (T, d_model) is the block's
    resid_pre.
    """
    row = mx.array(np.asarray(ids, np.int32)[None])
    start, given = mx.array(before[None]), mx.array(values[None])
    entry = Site("resid_pre", site.layer)
    size = max(1, batch_tokens // row.shape[1])
    found = []
    for first in range(0, len(masks), size):
        mask = mx.array(masks[first : first + size])
        rows = mx.broadcast_to(row, (mask.shape[0], row.shape[1]))
        begin = Patch(entry, mx.array(True), start)
        with patched(model, [begin, Patch(site, mask, given)]):
            scores = score(last_logits(model, rows).astype(mx.float32))
        found.append(np.array(scores))
    return np.concatenate(found)


def attributions(
    model: LoadedModel,
    ids: npt.ArrayLike,
    others: dict[Site, Array],
    score: Score,
) -> dict[Site, Array]:
    """Return (a_source − a_base) · ∂score/∂a_base at every site, (T, width), not yet summed.

    ``others`` has a_source, (T, width) at each site; NaN, for no source, gives 0.
    """
    row = mx.array(np.asarray(ids, np.int32)[None])
    found = site_gradients(model, row, list(others), lambda logits: score(logits[:, -1]).sum())
    products = {}
    for site, source in others.items():
        step = np.nan_to_num(source - np.array(found.values[site])[0])
        products[site] = (step * np.array(found.gradients[site])[0]).astype(np.float32)
    return products


def logit_difference(answer: int, wrong: int) -> Score:
    """Return the score logit(answer) − logit(wrong)."""
    return lambda logits: logits[:, answer] - logits[:, wrong]


def log_odds(answer: int) -> Score:
    """Return the score log p/(1 − p) of a token: its logit against all others."""

    def score(logits: mx.array) -> mx.array:
        others = mx.where(mx.arange(logits.shape[-1]) == answer, -mx.inf, logits)
        return logits[:, answer] - mx.logsumexp(others, axis=-1)

    return score
