"""The contents of an archive of activations, and the names of its arrays.

    <site>.<layer>               resid_post.12        (rows, width): a row per prompt, in order
    embed                                             the embedding, listed as layer 0
    <site>.<layer>@<position>    resid_post.12@last   the same, with more than one position
    <site>.offsets@<position>    where a prompt has several rows: int64 (n_prompts + 1)
    token_ids, token_ids.offsets                      all prompts, concatenated: int32, int64
    indices@<position>, indices.offsets@<position>    the chosen tokens: int32, int64

The rows of prompt ``i`` are ``offsets[i]:offsets[i + 1]``. Arrays that are not activations always
name their position, so a name means the same with one position or several. A position comes last,
so it may be spelled with any characters. A site whose values have their own shape, such as
``(n_heads, head_dim)``, is stored flat, and ``shapes`` has the shape.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Self

from pydantic import BaseModel, Field, model_validator

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.values.json_values import JsonObject

TOKEN_IDS = "token_ids"


class Arrays(BaseModel):
    """The shapes of an archive, or of one shard."""

    n_prompts: int
    d_model: int
    dtype: str
    positions: tuple[str, ...] = Field(min_length=1)
    layers: dict[str, tuple[int, ...]] = Field(min_length=1)
    shapes: dict[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if set(self.shapes) != set(self.layers):
            message = "layers and shapes are not of the same sites"
            raise ValueError(message)
        return self

    def width(self, site: str) -> int:
        """The length of a row of a site."""
        return prod(self.shapes[site])

    def tensors(self) -> dict[str, tuple[str, str]]:
        """The site and the position of each array of activations, by its name."""
        return {
            tensor_name(site, layer, position, self.positions): (site, position)
            for site, layers in self.layers.items()
            for layer in layers
            for position in self.positions
        }


class Contents(Arrays):
    """The part of the manifest's results that says what the archive holds."""

    prompts: PromptSet


class ShardContents(Arrays):
    """The contents of a shard: its number, its rows among all prompts, the results of its run."""

    shard: tuple[int, int]
    rows: tuple[int, int]
    found: JsonObject


def tensor_name(site: str, layer: int, position: str, positions: Sequence[str]) -> str:
    """Name the array of one site, layer and position of an archive that has ``positions``."""
    name = site if site == "embed" else f"{site}.{layer}"
    return f"{name}@{position}" if len(positions) > 1 else name


def indices_name(position: str) -> str:
    """Name the array of the tokens that a position chose."""
    return f"indices@{position}"


def offsets_name(name: str, position: str | None = None) -> str:
    """Return the name of the offsets of a site at a position, of ``token_ids``, or of indices."""
    base, at, own = name.partition("@")
    return f"{base}.offsets" + (f"@{position}" if position is not None else at + own)


def is_offsets(name: str) -> bool:
    """Return whether an array holds offsets."""
    return name.partition("@")[0].endswith(".offsets")


def layers_by_site(sites_layers: Sequence[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    """Return the layers of each site, sorted; the embedding has the layer 0."""
    layers: dict[str, set[int]] = {}
    for site, layer in sites_layers:
        layers.setdefault(site, set()).add(0 if site == "embed" else layer)
    return {site: tuple(sorted(found)) for site, found in layers.items()}


def full_shapes(
    sites: Sequence[str], d_model: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row at every site; by default it is ``(d_model,)``."""
    return {site: tuple(shapes.get(site, (d_model,))) for site in sites}
