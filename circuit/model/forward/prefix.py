"""Shared prefixes: the tokens with which all prompts begin run once.

Chat templates, system messages, tool schemas and few-shot headers repeat in every prompt. Later
tokens need only their keys and values (or, in a recurrent block, its state): the model's own cache.
It is computed for one row and broadcast to the rows of each batch. For a causal model that is the
same computation; it is checked on the shortest prompt of the run, whole and in two parts.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.padding import padding_bound, relative_error
from circuit.model.prompts.lists import Ids
from circuit.model.sites.sites import recording
from circuit.values.sites import Site

if TYPE_CHECKING:
    from mlx_lm.models.cache import _BaseCache as Cache

SHORTEST = 8  # fewer tokens are not worth a cache


def common_prefix(ids: Sequence[Ids]) -> int:
    """Return how many tokens all prompts share at their beginning; each keeps at least one."""
    first = ids[0]
    shared = min(len(each) for each in ids) - 1
    for each in ids:
        differ = np.flatnonzero(each[:shared] != first[:shared])
        shared = int(differ[0]) if len(differ) else shared
    return shared


def worth_sharing(n_prompts: int, prefix: int, total: int) -> bool:
    """Say whether sharing a prefix, with its check on one prompt, saves a tenth of all tokens."""
    spent = prefix + 3 * (total // n_prompts)
    return prefix >= SHORTEST and n_prompts * prefix - spent > total / 10


@dataclass(frozen=True, eq=False)
class Prefix:
    """Shared tokens ``ids``, and the model's caches after them for one row."""

    ids: Ids
    caches: list["Cache"]

    def __len__(self) -> int:
        return len(self.ids)

    def for_rows(self, n: int) -> list["Cache"]:
        """Return caches for ``n`` rows, lazily; they serve one forward pass."""
        return [_broadcast(cache, n) for cache in self.caches]


def run_prefix(model: LoadedModel, ids: Ids, *, up_to: int) -> Prefix:
    """Run the prefix once, lazily, under the taps that are installed around this call.

    ``up_to`` is the last block whose cache will be needed. The caches of later ones are never
    evaluated, and so never computed.
    """
    from mlx_lm.models.cache import make_prompt_cache

    caches = make_prompt_cache(model.network)
    model.network(mx.array(ids)[None], cache=caches)
    caches = [_trimmed(cache) for cache in caches]
    needed = caches[: up_to + 1] if len(caches) == model.n_layers else caches
    leaves = [leaf for cache in needed for _, leaf in tree_flatten(cache.state)]
    mx.eval([leaf for leaf in leaves if isinstance(leaf, mx.array)])
    return Prefix(ids, caches)


def checked_prefix(model: LoadedModel, ids: Ids, n: int, *, up_to: int) -> Prefix | None:
    """Run the first ``n`` tokens of prompt ``ids``, and return them if they may be shared.

    They may if running the prompt in two parts, in a batch, gives the same states after block
    ``up_to`` as running it whole, to rounding.
    """
    whole = _states(model, up_to, ids[None])[0, n:]
    try:
        prefix = run_prefix(model, ids[:n], up_to=up_to)
        rest = np.stack([ids[n:]] * 2)
        parts = _states(model, up_to, rest, cache=prefix.for_rows(2))
        error = max(relative_error(row, whole) for row in parts)
    except (ValueError, TypeError, AttributeError, NotImplementedError):
        return None  # this family's cache cannot be continued in a batch
    return prefix if error < padding_bound(model) else None


def _states(
    model: LoadedModel, layer: int, ids: Ids, cache: "list[Cache] | None" = None
) -> mx.array:
    """Return the residuals (k, T, d_model) after block ``layer``."""
    seen: list[mx.array] = []
    site = Site("resid_post", layer)
    with recording(model, [site], lambda _, read: seen.append(read(mx.stop_gradient))):
        model.network(mx.array(ids), cache=cache)
    return seen[0]


def _trimmed(cache: "Cache") -> "Cache":
    """Return a plain cache of keys and values as one that grows by exactly what is added.

    ``KVCache`` reserves 256 tokens at a time, which for many rows is most of the work.
    """
    from mlx_lm.models.cache import ConcatenateKVCache, KVCache

    if type(cache) is not KVCache:
        return cache
    keys, values = cache.keys_and_values()
    return ConcatenateKVCache.from_state((keys, values))


def _broadcast(cache: "Cache", n: int) -> "Cache":
    def rows(leaf: object) -> object:
        if not isinstance(leaf, mx.array) or leaf.ndim == 0:
            return leaf
        return mx.broadcast_to(leaf, (n, *leaf.shape[1:]))

    repeated = copy.copy(cache)
    repeated.state = tree_map(rows, cache.state)
    return repeated
