"""Which arrays an archive of activations will have, and where in each the rows of a prompt are.

Both follow from the prompts and the plan, so the size of the file is known before a model runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.activations.contents import (
    TOKEN_IDS,
    Arrays,
    full_shapes,
    indices_name,
    layers_by_site,
    offsets_name,
)
from circuit.artifacts.archive.dtypes import float_spelling
from circuit.artifacts.archive.layout import Layout, Tensor
from circuit.artifacts.archive.ragged import Offsets, offsets_of
from circuit.values import schemas

Tokens = NDArray[np.integer]
Key = tuple[str, str]


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayPlan:
    """What is collected from each prompt, before it is computed.

    ``shapes`` has the shape of a token's value at sites where it is not ``(d_model,)``, ``counts``
    the rows of each prompt at the sites and positions that do not have exactly one, ``token_ids``
    the tokens of each prompt, ``indices`` the chosen ones by position.
    """

    sites_layers: Sequence[tuple[str, int]]
    positions: Sequence[str]
    d_model: int
    dtype: str = "float32"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[Key, Sequence[int]] = field(default_factory=dict)
    token_ids: Sequence[Tokens] | None = None
    indices: Mapping[str, Sequence[Tokens]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The arrays of activations, the lists of integers beside them, and the offsets of both.

    ``lists`` are token ids and indices, by the name of their array, with their offsets in
    ``list_offsets``; ``ragged`` has the offsets of sites and positions that do not have exactly one
    row per prompt.
    """

    arrays: Arrays
    lists: Mapping[str, Sequence[Tokens]]
    list_offsets: Mapping[str, Offsets]
    ragged: Mapping[Key, Offsets]

    @classmethod
    def of(cls, n_prompts: int, plan: ArrayPlan) -> Self:
        """Arrange the arrays of ``n_prompts`` prompts."""
        layers = layers_by_site(plan.sites_layers)
        arrays = Arrays(
            n_prompts=n_prompts,
            d_model=plan.d_model,
            dtype=plan.dtype,
            positions=tuple(plan.positions),
            layers=layers,
            shapes=full_shapes(list(layers), plan.d_model, plan.shapes),
        )
        lists = {} if plan.token_ids is None else {TOKEN_IDS: plan.token_ids}
        lists |= {indices_name(position): each for position, each in plan.indices.items()}
        list_offsets = {name: _divided(n_prompts, map(len, each)) for name, each in lists.items()}
        ragged = {key: _divided(n_prompts, rows) for key, rows in plan.counts.items()}
        return cls(arrays, lists, list_offsets, ragged)

    @cached_property
    def layout(self) -> Layout:
        """The header and the place of every array."""
        n_prompts, float_type = self.arrays.n_prompts, float_spelling(self.arrays.dtype)
        tensors = {}
        for name, (site, position) in self.arrays.tensors().items():
            offsets = self.ragged.get((site, position))
            rows = n_prompts if offsets is None else int(offsets[-1])
            tensors[name] = Tensor(float_type, (rows, self.arrays.width(site)))
        for name, offsets in self.list_offsets.items():
            tensors[name] = Tensor("I32", (int(offsets[-1]),))
            tensors[offsets_name(name)] = Tensor("I64", (n_prompts + 1,))
        for key in self.ragged:
            tensors[offsets_name(*key)] = Tensor("I64", (n_prompts + 1,))
        return Layout.of(tensors, {"schema": schemas.ACTIVATIONS})

    def row_offsets(self) -> dict[str, Offsets]:
        """Return for each array of activations where the rows of a prompt are."""
        single = np.arange(self.arrays.n_prompts + 1, dtype=np.int64)
        return {name: self.ragged.get(key, single) for name, key in self.arrays.tensors().items()}


def _divided(n_prompts: int, counts: Iterable[int]) -> Offsets:
    """Return the offsets of prompts with the given numbers of rows."""
    offsets = offsets_of(list(counts))
    if len(offsets) != n_prompts + 1:
        message = f"{len(offsets) - 1} prompts were described, not {n_prompts}"
        raise ValueError(message)
    return offsets
