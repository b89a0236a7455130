"""Sites: the named places of a model where a hidden state can be read.

Block indices are 0-based. ``embed`` is what block 0 reads (for Gemma after its scaling, for GPT-2
with position embeddings); ``resid_pre.k`` and ``resid_post.k`` are what block k reads and returns;
``attn_out.k`` and ``mlp_out.k`` are what it adds to the residual stream, and ``resid_mid.k`` lies
between the two. ``hidden_states[i]`` of Hugging Face is ``resid_post[i-1]``, except that its last
entry is taken after the final norm.

``resid_post.3`` and TransformerLens spellings (``blocks.3.hook_resid_post``, ``hook_embed``) name
one layer; ``resid_post`` alone stands for all that are asked for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from circuit.errors import ModelError, UsageError
from circuit.model.families import Family, find_family
from circuit.model.loading import LoadedModel
from circuit.model.taps import Tap, tapped

SITES = ("embed", "resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
NEED_NO_ROW = ("embed", "resid_pre", "resid_post")
Gather = Callable[[mx.array], mx.array]  # (B, T, width) -> (B, K, width)
Read = Callable[[Gather], mx.array]


@dataclass(frozen=True, order=True)
class Site:
    """One place: a site's name and the block it belongs to (None for ``embed``)."""

    name: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}.{self.layer}"


_SPELLING = re.compile(
    r"(?:blocks\.(?P<block>\d+)\.)?(?:hook_)?(?P<name>[a-z_]+)(?:\.(?P<layer>\d+))?"
)


def parse_sites(text: str, layers: Sequence[int], n_layers: int) -> list[Site]:
    """Return the sites in a comma-separated list: ``embed`` first, the others as they are listed.

    A name alone stands for that site at every one of ``layers``; ``resid_post.3`` and
    ``blocks.3.hook_resid_post`` name one layer, whatever ``layers`` says.
    """
    sites: list[Site] = []
    for spelling in (part.strip() for part in text.split(",")):
        match = _SPELLING.fullmatch(spelling)
        if match is None or match["name"] not in SITES:
            hint = f"use one of: {', '.join(SITES)}"
            raise UsageError(f"unknown site `{spelling}`", hint=hint)
        number = match["block"] or match["layer"]
        if number is not None and int(number) >= n_layers:
            message = f"site `{spelling}` is out of range: the model has layers 0 to {n_layers - 1}"
            raise UsageError(message, hint="name a layer that it has")
        sites += sites_at([match["name"]], layers if number is None else [int(number)])
    return sorted(dict.fromkeys(sites), key=lambda site: site.name != "embed")


def sites_at(names: Sequence[str], layers: Sequence[int]) -> list[Site]:
    """Return every site in ``names`` at every layer; ``embed`` once."""
    listed = [Site(name, layer) for name in names if name != "embed" for layer in layers]
    return ([Site("embed")] if "embed" in names else []) + listed


def site_shape(model: LoadedModel, site: Site) -> tuple[int, ...]:
    """Return the shape of what ``site`` holds for one token."""
    _place(model, site)
    return (model.d_model,)


def is_linear(site: Site) -> bool:
    """Say whether a weighted mean over tokens may be taken before ``site`` is computed."""
    return site.name in SITES


@contextmanager
def recording(
    model: LoadedModel, sites: Sequence[Site], record: Callable[[Site, Read], None]
) -> Iterator[None]:
    """Call ``record(site, read)`` once per site while ``model.network`` runs once in the block.

    ``read(gather)`` is for use inside ``record``: ``gather`` selects or averages along the token
    axis, (B, T, width) -> (B, K, width), and what it returns has (B, K, width) too. Everything is
    lazy, and a site is computed for the K gathered rows only.
    """
    with tapped([_recording_tap(model, site, record) for site in sites]):
        yield


def _recording_tap(model: LoadedModel, site: Site, record: Callable[[Site, Read], None]) -> Tap:
    module, side, scale = _place(model, site)

    def look(hidden: mx.array) -> mx.array:
        record(site, lambda gather: gather(hidden) if scale is None else gather(hidden) * scale)
        return hidden

    sides = {side: look}
    return Tap(module, before=sides.get("before"), after=sides.get("after"), name=str(site))


def _place(model: LoadedModel, site: Site) -> tuple[nn.Module, str, float | None]:
    """Return the module to tap, which side of it, and the factor the block applies."""
    block = model.blocks[site.layer or 0]
    if site.name in ("embed", "resid_pre"):
        return block, "before", None
    if site.name == "resid_post":
        return block, "after", None
    row = _row(model, site)
    if site.name == "resid_mid":
        return _part(model, block, _mid_input(model, row)), "before", None
    name = row.attn_out if site.name == "attn_out" else row.mlp_out
    scale = None if row.scale is None else float(getattr(block, row.scale))
    return _part(model, block, name), "after", scale


def _row(model: LoadedModel, site: Site) -> Family:
    if (row := find_family(model.family)) is None:
        message = f"site `{site.name}` is not known for family `{model.family}`"
        hint = f"use one of: {', '.join(NEED_NO_ROW)}; or add a row to circuit/model/families.py"
        raise ModelError(message, hint=hint)
    return row


def _mid_input(model: LoadedModel, row: Family) -> str:
    if row.mid_input is None:
        message = f"family `{model.family}` runs attention and MLP side by side: no `resid_mid`"
        raise ModelError(message, hint="use resid_pre or resid_post")
    return row.mid_input


def _part(model: LoadedModel, block: nn.Module, name: str) -> nn.Module:
    part = getattr(block, name, None)
    if not isinstance(part, nn.Module):
        message = f"a block of this `{model.family}` model has no part `{name}`"
        raise ModelError(message, hint="its row in circuit/model/families.py does not fit it")
    return part


def available_sites(model: LoadedModel) -> list[str]:
    """Return the sites that this model offers."""
    row = find_family(model.family)
    if row is None:
        return list(NEED_NO_ROW)
    return [name for name in SITES if name != "resid_mid" or row.mid_input is not None]


def check_row(model: LoadedModel, names: Sequence[str]) -> None:
    """Check on a short forward pass that the family's row describes this model.

    ``resid_pre + attn_out + mlp_out = resid_post`` must hold at every layer to the precision of the
    model's dtype, and ``resid_mid`` must be the sum after the first of the two.
    """
    in_need = [name for name in names if name not in NEED_NO_ROW]
    if not in_need:
        return
    _row(model, Site(in_need[0]))
    wanted = [name for name in available_sites(model) if name != "embed"]
    seen = hidden_states(model, mx.array([[1, 2, 3]]), sites_at(wanted, range(model.n_layers)))
    mx.eval(list(seen.values()))
    for layer in range(model.n_layers):
        here = {s.name: np.array(h.astype(mx.float32)) for s, h in seen.items() if s.layer == layer}
        _check_sums(model, here, layer)


def hidden_states(model: LoadedModel, ids: mx.array, sites: Sequence[Site]) -> dict[Site, mx.array]:
    """Return the whole hidden state (k, T, d_model) at each site for token ids (k, T), lazily."""
    seen: dict[Site, mx.array] = {}
    # An identity operation makes a new array: some models scale a hidden state in place later.
    with recording(model, sites, lambda site, read: seen.update({site: read(mx.stop_gradient)})):
        model.network(ids)
    return seen


def _check_sums(model: LoadedModel, value: dict[str, np.ndarray], layer: int) -> None:
    middle = value["resid_pre"] + value["attn_out"]
    pairs = [(middle + value["mlp_out"], value["resid_post"])]
    if "resid_mid" in value:
        pairs.append((middle, value["resid_mid"]))
    bound = 1e-4 if model.dtype == "float32" else 5e-2
    if any(np.abs(a - b).max() > bound * np.abs(b).max() for a, b in pairs):
        message = f"block {layer} of this `{model.family}` model does not add up from its parts"
        raise ModelError(message, hint="its row in circuit/model/families.py does not fit it")
