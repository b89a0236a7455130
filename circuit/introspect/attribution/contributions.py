"""What the last residual of a prompt is the sum of, and what each head adds to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circuit.methods.arrays import Array
from circuit.values.sites import EMBED, Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt


@dataclass(frozen=True, eq=False)
class Contribution:
    """What a component adds: a vector for each prompt (n, d_model), or its logits (n,)."""

    name: str
    kind: str
    values: Array
    layer: int | None = None
    head: int | None = None


def parts_of(model: "LoadedModel", held: Mapping[Site, Array]) -> Iterator[Contribution]:
    """Yield what adds up to the last residual: sublayers where the family is known, else blocks."""
    from circuit.model.sites.sites import available_sites

    yield Contribution("embed", "embed", held[EMBED])
    split = {"attn_out", "mlp_out"} <= set(available_sites(model))
    for k in range(model.n_layers):
        if split:
            yield Contribution(f"attention.{k}", "attn_out", held[Site("attn_out", k)], k)
            yield Contribution(f"mlp.{k}", "mlp_out", held[Site("mlp_out", k)], k)
        else:
            step = held[Site("resid_post", k)] - held[Site("resid_pre", k)]
            yield Contribution(f"block.{k}", "block", step, k)


def activations_of(model: "LoadedModel", encoded: "Sequence[EncodedPrompt]") -> dict[Site, Array]:
    """Return the activations of every site at the last token, (n_prompts, width) each."""
    from circuit.model.forward.last_token import last_states
    from circuit.model.sites.sites import available_sites, sites_at

    wanted = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "z"}
    names = sorted(wanted & {*available_sites(model), "embed"})
    sites = sites_at(names, range(model.n_layers))
    return last_states(model, encoded, sites)


def logits_of(vectors: Array, rows: Array) -> Array:
    """Return the product of each vector with its row, both (n, d_model)."""
    return np.asarray((vectors.astype(np.float64) * rows).sum(axis=1))


def heads_of(model: "LoadedModel", held: dict[Site, Array], vectors: Array) -> list[Contribution]:
    """Return the logits of every head, and of each layer what its attention adds without them."""
    from circuit.model.gradients.linear_form import head_forms
    from circuit.model.interventions.ablation import Component, count

    if Site("z", model.n_layers - 1) not in held or Site("attn_out", 0) not in held:
        return []
    z = [held[Site("z", k)] for k in range(model.n_layers)]
    forms = head_forms(model, z, vectors)
    found: list[Contribution] = []
    for k, (rows, v) in enumerate(zip(z, forms.vectors, strict=True)):
        n_heads = count(model, Component("head", k, 0))
        parts = (v.astype(np.float64) * rows).reshape(len(rows), n_heads, -1).sum(axis=2)
        found += [Contribution(f"head.{k}.{h}", "head", parts[:, h], k, h) for h in range(n_heads)]
        rest = logits_of(vectors, held[Site("attn_out", k)]) - parts.sum(axis=1)
        found.append(Contribution(f"attention rest.{k}", "rest", rest, k))
    return found
