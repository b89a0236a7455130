"""Sites: the named places of a model where a hidden state can be read.

Block indices are 0-based. The residual stream: ``embed`` is what block 0 reads (for Gemma after its
scaling, for GPT-2 with position embeddings); ``resid_pre.k`` and ``resid_post.k`` are what block k
reads and returns; ``attn_out.k`` and ``mlp_out.k`` are what it adds to the residual stream, and
``resid_mid.k`` lies between the two. ``hidden_states[i]`` of Hugging Face is ``resid_post[i-1]``,
except that its last entry is taken after the final norm.

Inside a block: ``q_proj k_proj v_proj o_proj gate_proj up_proj down_proj`` are what these maps return
(with their bias, before any norm of queries and keys), also where one fused map computes several;
``z`` is what ``o_proj`` reads, each head's mix of values; ``head_out`` what each head alone adds
through ``o_proj`` (n_heads, d_model), so that their sum is ``o_proj`` without its bias; ``mlp_act``
what ``down_proj`` reads, the neurons' activations. ``q_rope`` and ``k_rope`` are queries and keys as
they are multiplied: normalised where the model does that, and with positions where it has rotary
ones. ``attn_pattern`` is each head's weight on every key, (n_heads, T_keys).

All are rows of numbers per token; per-head ones are flat, (n_heads * head_dim), except
``attn_pattern``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from circuit.errors import ModelError, UsageError
from circuit.model.checkpoint.families import find_family
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.sites import family_check as rowcheck
from circuit.model.sites.attention import (
    Attended,
    Gather,
    See,
    attending,
    read_keys,
    read_pattern,
    read_queries,
)
from circuit.model.sites.reading_places import (
    ATTENDED,
    HEADED,
    HINT,
    NEED_NO_ROW,
    RETURNED,
    SITES,
    STREAM,
    Place,
    heads_at,
    place_of,
    row_of,
)
from circuit.model.sites.spelling import name_and_layer
from circuit.values.sites import EMBED, Site

Read = Callable[[Gather], mx.array]
_READERS = dict(zip(ATTENDED, (read_queries, read_keys, read_pattern), strict=True))


def parse_sites(text: str, layers: Sequence[int], model: LoadedModel) -> list[Site]:
    """Return the sites in a comma-separated list: ``embed`` first, the others as they are listed.

    A name alone stands for that site at every one of ``layers``; ``resid_post.3``, TransformerLens's
    ``blocks.3.hook_resid_post`` and the module's path ``model.layers.3`` name one layer, whatever
    ``layers`` says. Raises ``UsageError`` for an unknown spelling, and ``ModelError`` that says why
    for a site that this model does not have.
    """
    sites: list[Site] = []
    for spelling in (part.strip() for part in text.split(",")):
        name, layer = name_and_layer(model, spelling)
        if layer is not None and layer >= model.n_layers:
            message = f"site `{spelling}` is out of range: the model has layers 0 to "
            raise UsageError(f"{message}{model.n_layers - 1}", hint="name a layer that it has")
        sites += sites_at([name], layers if layer is None else [layer])
    for site in sites:
        place_of(model, site.name, site.layer)
        if model.group is not None and site.name not in STREAM:
            message = f"`{site.name}` is split over the processes (--tensor-parallel)"
            raise UsageError(message, hint=f"collect one of {', '.join(STREAM)}")
    return sorted(dict.fromkeys(sites), key=lambda site: site.name != "embed")


def sites_at(names: Sequence[str], layers: Sequence[int]) -> list[Site]:
    """Return every site in ``names`` at every layer; ``embed`` once."""
    listed = [Site(name, layer) for name in names if name != "embed" for layer in layers]
    return ([EMBED] if "embed" in names else []) + listed


def available_sites(model: LoadedModel) -> list[str]:
    """Return the sites that this model offers at every layer."""
    layers = range(model.n_layers)
    return [name for name in SITES if all(why_not(model, name, k) is None for k in layers)]


def why_not(model: LoadedModel, name: str, layer: int) -> str | None:
    """Return why a site does not exist in a block, in one sentence, or None when it does."""
    try:
        place_of(model, name, layer)
    except ModelError as error:
        return error.message
    return None


def is_linear(site: Site) -> bool:
    """Say whether a weighted mean over tokens may be taken before ``site`` is computed."""
    return site.name != "attn_pattern"


def site_shape(model: LoadedModel, site: Site) -> tuple[int, ...]:
    """Return the shape of what ``site`` holds for one token.

    The last axis of ``attn_pattern`` is as long as there are keys; it is given as 0.
    """
    place_of(model, site.name, site.layer)
    known = _shapes.get(model)
    if known is None or known[0] != model.family:
        known = _shapes[model] = (model.family, _measure_shapes(model))
    return known[1][site]


_shapes: "WeakKeyDictionary[LoadedModel, tuple[str, dict[Site, tuple[int, ...]]]]" = (
    WeakKeyDictionary()
)


def _measure_shapes(model: LoadedModel) -> dict[Site, tuple[int, ...]]:
    """Return the shapes of all sites by running the network on two tokens, lazily."""
    everywhere = sites_at(SITES, range(model.n_layers))
    offered = [s for s in everywhere if why_not(model, s.name, s.layer) is None]
    seen = hidden_states(model, mx.zeros((1, 2), dtype=mx.int32), offered)
    return {site: _per_token(model, site, hidden.shape[2:]) for site, hidden in seen.items()}


def _per_token(model: LoadedModel, site: Site, shape: tuple[int, ...]) -> tuple[int, ...]:
    if site.name == "attn_pattern":
        return (shape[0], 0)
    if site.name not in HEADED:
        return tuple(shape)
    heads = heads_at(model, row_of(model, site.name), site.layer)
    n = heads.n_kv_heads if site.name in ("k_proj", "v_proj", "k_rope") else heads.n_heads
    return (n, shape[0] // n)


@contextmanager
def recording(
    model: LoadedModel, sites: Sequence[Site], record: Callable[[Site, Read], None]
) -> Iterator[None]:
    """Call ``record(site, read)`` once per site while ``model.network`` runs once in the block.

    ``read(gather)`` is for use inside ``record``: ``gather`` selects or averages along the token
    axis, (B, T, width) -> (B, K, width), and what ``read`` returns has (B, K, width) too; for
    ``attn_pattern``, where ``gather`` may only select, (B, K, n_heads, T_keys). Everything is lazy,
    and a site is computed for the K gathered rows only.
    """
    unseen = dict.fromkeys(sites)

    def seen(site: Site, read: Read) -> None:
        unseen.pop(site, None)
        record(site, read)

    places = {site: place_of(model, site.name, site.layer) for site in sites}
    inside = {site: place for site, place in places.items() if place.side == "attention"}
    taps = [_tap(site, place, seen) for site, place in places.items() if site not in inside]
    row = find_family(model.family)
    with tapped(taps), attending(_watched(inside, seen), row.rope if row is not None else None):
        yield
    if unseen:
        message = f"the model never computed `{next(iter(unseen))}`, so it was not recorded"
        raise ModelError(message, hint=HINT)


def _tap(site: Site, place: Place, record: Callable[[Site, Read], None]) -> Tap:
    def read(hidden: mx.array, gather: Gather) -> mx.array:
        rows = gather(hidden)
        return rows if place.finish is None else place.finish(rows)

    def look(hidden: mx.array) -> mx.array:
        record(site, partial(read, hidden))
        return hidden

    if place.side == "input":
        return Tap(place.module, before=look, name=str(site))
    return Tap(place.module, after=look, name=str(site))


def _watched(
    places: dict[Site, Place], record: Callable[[Site, Read], None]
) -> list[tuple[nn.Module, See]]:
    """Return each layer's attention once, with what shows it to all sites that are read there."""
    by_layer: dict[int | None, list[Site]] = {}
    for site in places:
        by_layer.setdefault(site.layer, []).append(site)

    def see(here: list[Site], attended: Attended) -> None:
        for site in here:
            record(site, partial(_READERS[site.name], attended))

    return [(places[here[0]].module, partial(see, here)) for here in by_layer.values()]


def hidden_states(model: LoadedModel, ids: mx.array, sites: Sequence[Site]) -> dict[Site, mx.array]:
    """Return what each site holds for token ids (k, T), lazily: (k, T, width).

    ``attn_pattern`` is (k, T, n_heads, T).
    """
    seen: dict[Site, mx.array] = {}
    # An identity operation makes a new array: some models scale a hidden state in place later.
    with recording(model, sites, lambda site, read: seen.update({site: read(mx.stop_gradient)})):
        model.network(ids)
    return seen


def check_row(model: LoadedModel, names: Sequence[str]) -> None:
    """Check on a short forward pass that the family's row describes this model.

    Only what the sites in ``names`` rest on is computed: see ``rowcheck``.
    """
    if all(name in NEED_NO_ROW for name in names):
        return
    row = row_of(model, next(name for name in names if name not in NEED_NO_ROW))
    wanted = {k: _compared(model, names, k) for k in range(model.n_layers)}
    sites = [Site(name, layer) for layer, here in wanted.items() for name in here]
    seen = hidden_states(model, mx.array([[1, 2, 3]]), sites)
    mx.eval(list(seen.values()))
    bound = 1e-4 if model.dtype == "float32" else 5e-2
    for layer, here in wanted.items():
        value = {name: np.array(seen[Site(name, layer)].astype(mx.float32))[0] for name in here}
        if problem := rowcheck.problem(row, names, value, bound):
            message = f"block {layer} of this `{model.family}` model does not add up: {problem}"
            hint = "its row in circuit/model/checkpoint/families.py does not fit it"
            raise ModelError(message, hint=hint)


def _compared(model: LoadedModel, names: Sequence[str], layer: int) -> list[str]:
    offered = [name for name in (*SITES, *RETURNED) if why_not(model, name, layer) is None]
    return [name for name in rowcheck.needed(names, offered) if name != "embed"]
