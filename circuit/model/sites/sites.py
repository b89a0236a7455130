"""Read sites: the named places of a model where a hidden state is read.

Block indices are 0-based. The residual stream: ``embed`` is what block 0 reads (for Gemma after its
scaling, for GPT-2 with position embeddings); ``resid_pre.k`` and ``resid_post.k`` are what block k
reads and returns; ``attn_out.k`` and ``mlp_out.k`` are what it adds to the residual stream, and
``resid_mid.k`` lies between the two. ``hidden_states[i]`` of Hugging Face is ``resid_post[i-1]``,
except that its last entry is taken after the final norm.

Inside a block: ``q_proj k_proj v_proj o_proj gate_proj up_proj down_proj`` are what these maps
return (with their bias, before any norm of queries and keys), also where one fused map computes
several; ``z`` is what ``o_proj`` reads, each head's mix of values; ``head_out`` what each head
alone adds through ``o_proj`` (n_heads, d_model), so that their sum is ``o_proj`` without its bias;
``mlp_act`` what ``down_proj`` reads, the neurons' activations. ``q_rope`` and ``k_rope`` are
queries and keys as they are multiplied: normalised where the model does that, and with rotary
positions where it has them. ``attn_pattern`` is each head's weight on every key, (n_heads, T_keys).

All are rows of numbers per token; per-head ones are flat, (n_heads * head_dim), except
``attn_pattern``. The table of all sites is ``circuit.model.sites.table``.
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
from circuit.model.sites.attention import (
    AttentionCall,
    Gather,
    Observer,
    observing_attention,
)
from circuit.model.sites.family_check import broken_identity, compared_sites
from circuit.model.sites.heads import heads_at
from circuit.model.sites.spelling import name_and_layer
from circuit.model.sites.table import MEASURED, SITES
from circuit.model.sites.tap_points import TapPoint, family_row, tap_point
from circuit.values.sites import EMBED, Site

Read = Callable[[Gather], mx.array]


def parse_sites(text: str, layers: Sequence[int], model: LoadedModel) -> list[Site]:
    """Return the sites in a comma-separated list: ``embed`` first, the others as they are listed.

    A name alone stands for that site at every one of ``layers``; ``resid_post.3``,
    TransformerLens's ``blocks.3.hook_resid_post`` and the module's path ``model.layers.3`` name one
    layer, whatever ``layers`` says. Raises ``UsageError`` for an unknown spelling, and
    ``ModelError`` that says why for a site that this model does not have.
    """
    sites: list[Site] = []
    for spelling in (part.strip() for part in text.split(",")):
        name, layer = name_and_layer(model, spelling)
        if layer is not None:
            model.check_layer(layer)
        sites += sites_at([name], layers if layer is None else [layer])
    for site in sites:
        tap_point(model, site.name, site.layer)
        if model.group is not None and SITES[site.name].is_inside:
            whole = [entry.name for entry in SITES.values() if not entry.is_inside]
            raise UsageError(
                "site-split",
                f"`{site.name}` is split over the processes by --tensor-parallel",
                hint=f"collect one of: {', '.join(whole)}",
                site=site.name,
            )
    return sorted(dict.fromkeys(sites), key=lambda site: site.name != "embed")


def sites_at(names: Sequence[str], layers: Sequence[int]) -> list[Site]:
    """Return every site in ``names`` at every layer; ``embed`` once."""
    listed = [Site(name, layer) for name in names if name != "embed" for layer in layers]
    return ([EMBED] if "embed" in names else []) + listed


def available_sites(model: LoadedModel) -> list[str]:
    """Return the sites that this model offers at every layer."""
    layers = range(model.n_layers)
    return [name for name in SITES if all(why_absent(model, name, k) is None for k in layers)]


def why_absent(model: LoadedModel, name: str, layer: int) -> str | None:
    """Return why a site does not exist in a block, in one sentence, or None when it does."""
    try:
        tap_point(model, name, layer)
    except ModelError as error:
        return error.message
    return None


def is_linear(site: Site) -> bool:
    """Say whether a weighted mean over tokens may be taken before ``site`` is computed."""
    return not SITES[site.name].per_key


def site_shape(model: LoadedModel, site: Site) -> tuple[int, ...]:
    """Return the shape of what ``site`` holds for one token.

    The last axis of ``attn_pattern`` is as long as there are keys; it is given as 0.
    """
    tap_point(model, site.name, site.layer)
    known = _shapes.get(model)
    if known is None or known[0] != model.family:
        known = _shapes[model] = (model.family, _measure_shapes(model))
    return known[1][site]


_shapes: "WeakKeyDictionary[LoadedModel, tuple[str, dict[Site, tuple[int, ...]]]]" = (
    WeakKeyDictionary()
)


def _measure_shapes(model: LoadedModel) -> dict[Site, tuple[int, ...]]:
    """Return the shapes of all sites by running the network on two tokens, lazily."""
    everywhere = sites_at(list(SITES), range(model.n_layers))
    offered = [s for s in everywhere if why_absent(model, s.name, s.layer) is None]
    seen = hidden_states(model, mx.zeros((1, 2), dtype=mx.int32), offered)
    return {site: _per_token(model, site, hidden.shape[2:]) for site, hidden in seen.items()}


def _per_token(model: LoadedModel, site: Site, shape: tuple[int, ...]) -> tuple[int, ...]:
    entry = SITES[site.name]
    if entry.per_key:
        return (shape[0], 0)
    if entry.heads is None:
        return tuple(shape)
    n: int = getattr(heads_at(model, family_row(model, site.name), site.layer), entry.heads)
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
    missing = dict.fromkeys(sites)

    def seen(site: Site, read: Read) -> None:
        missing.pop(site, None)
        record(site, read)

    points = {site: tap_point(model, site.name, site.layer) for site in sites}
    inside = {site: point for site, point in points.items() if point.side == "attention"}
    taps = [_tap(site, point, seen) for site, point in points.items() if site not in inside]
    row = find_family(model.family)
    rope = None if row is None else row.rope
    with tapped(taps), observing_attention(_observers(inside, seen), rope):
        yield
    if missing:
        site = next(iter(missing))
        raise ModelError(
            "site-not-computed",
            f"the model did not compute `{site}`, so it was not recorded",
            hint="`circuit sites -m MODEL` lists the sites of a model",
            site=str(site),
        )


def _tap(site: Site, point: TapPoint, record: Callable[[Site, Read], None]) -> Tap:
    def read(hidden: mx.array, gather: Gather) -> mx.array:
        rows = gather(hidden)
        return rows if point.finish is None else point.finish(rows)

    def look(hidden: mx.array) -> mx.array:
        record(site, partial(read, hidden))
        return hidden

    if point.side == "input":
        return Tap(point.module, before=look, name=str(site))
    return Tap(point.module, after=look, name=str(site))


def _observers(
    points: dict[Site, TapPoint], record: Callable[[Site, Read], None]
) -> list[tuple[nn.Module, Observer]]:
    """Return each layer's attention once, with an observer for all sites that are read there."""
    by_layer: dict[int, list[Site]] = {}
    for site in points:
        by_layer.setdefault(site.layer, []).append(site)

    def observe(here: list[Site], call: AttentionCall) -> None:
        for site in here:
            reader = SITES[site.name].read
            assert reader is not None  # side == "attention"
            record(site, partial(reader, call))

    return [(points[here[0]].module, partial(observe, here)) for here in by_layer.values()]


def hidden_states(model: LoadedModel, ids: mx.array, sites: Sequence[Site]) -> dict[Site, mx.array]:
    """Return what each site holds for token ids (k, T), lazily: (k, T, width).

    ``attn_pattern`` is (k, T, n_heads, T).
    """
    seen: dict[Site, mx.array] = {}
    # An identity operation makes a new array: some models scale a hidden state in place later.
    with recording(model, sites, lambda site, read: seen.update({site: read(mx.stop_gradient)})):
        model.network(ids)
    return seen


def check_family(model: LoadedModel, names: Sequence[str]) -> None:
    """Check on a short forward pass that the family's row describes this model.

    Only what the sites in ``names`` depend on is computed: see ``family_check``. Raises
    ``ModelError`` for an identity that does not hold.
    """
    with_row = [name for name in names if SITES[name].needs_row]
    if not with_row:
        return
    row = family_row(model, with_row[0])
    wanted = {k: _compared(model, names, k) for k in range(model.n_layers)}
    sites = [Site(name, layer) for layer, here in wanted.items() for name in here]
    seen = hidden_states(model, mx.array([[1, 2, 3]]), sites)
    mx.eval(list(seen.values()))
    bound = 1e-4 if model.dtype == "float32" else 5e-2
    for layer, here in wanted.items():
        value = {name: np.array(seen[Site(name, layer)].astype(mx.float32))[0] for name in here}
        if broken := broken_identity(row, names, value, bound):
            raise ModelError(
                "family-row-wrong",
                f"block {layer} of this `{model.family}` model does not add up: {broken.failure}",
                hint="correct its row in circuit/model/checkpoint/families.py",
                layer=layer,
                family=model.family,
                sites=broken.needs,
            )


def _compared(model: LoadedModel, names: Sequence[str], layer: int) -> list[str]:
    offered = [name for name in MEASURED if why_absent(model, name, layer) is None]
    return [name for name in compared_sites(names, offered) if name != "embed"]
