"""Both runs of a pair of prompts, and the effect of patching every cell between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from circuit.errors import UsageError
from circuit.introspect.patching.cells import CellChoice, head_of, site_of
from circuit.introspect.patching.prompt_pairs import AlignedPair
from circuit.methods.arrays import Array
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.patching.patching import Score
    from circuit.model.prompts.lists import Ids

Key = tuple[str, str]  # component, direction


@dataclass(frozen=True, eq=False)
class RunPair:
    """A pair of prompts with the activations of both runs, (n_tokens, width) at each site."""

    model: "LoadedModel"
    pair: AlignedPair
    score: "Score"
    clean: Mapping[Site, Array]
    corrupt: Mapping[Site, Array]
    difference: tuple[float, float]

    @classmethod
    def of(cls, model: "LoadedModel", pair: AlignedPair, choice: CellChoice) -> "RunPair":
        """Run both prompts of a pair."""
        from circuit.model.patching.patching import logit_difference, read_last, states

        found = []
        for ids in (pair.clean, pair.corrupt):
            logits = read_last(model, ids)
            found.append(float(logits[pair.answer] - logits[pair.wrong]))
        clean, corrupt = (states(model, ids, choice.sites()) for ids in (pair.clean, pair.corrupt))
        score = logit_difference(pair.answer, pair.wrong)
        return cls(model, pair, score, clean, corrupt, (found[0], found[1]))

    @property
    def gap(self) -> float:
        """How far the clean run's logit difference is above the corrupt run's."""
        return self.difference[0] - self.difference[1]

    def side(
        self, direction: str
    ) -> "tuple[Ids, Mapping[Site, Array], Mapping[Site, Array], float]":
        """Return ids and states of the base, states of the source, the base's logit difference."""
        if direction == "denoising":
            return self.pair.corrupt, self.corrupt, self.clean, self.difference[1]
        return self.pair.clean, self.clean, self.corrupt, self.difference[0]

    def share(self, moved: Array, direction: str) -> Array:
        """Return a change of the logit difference as a fraction of the whole."""
        return np.asarray(moved / (self.gap if direction == "denoising" else -self.gap))


def _aligned_at_end(source: Array, length: int) -> Array:
    """Align ``source`` (T_source, width) at the end of ``length`` tokens, NaN before it begins."""
    out = np.full((length, source.shape[1]), np.nan, np.float32)
    n = min(length, len(source))
    out[length - n :] = source[len(source) - n :]
    return out


def positions_of(runs: Sequence[RunPair], choice: CellChoice) -> list[int]:
    """Return the positions, counted from the end, that all pairs have."""
    n = min(run.pair.n_compared for run in runs)
    if choice.positions is None:
        return list(range(-n, 0))
    if min(choice.positions) < -n:
        first = min(choice.positions)
        message = f"position {first} is out of range: {n} tokens can be compared"
        hint = f"use -{n} to -1"
        raise UsageError("position-out-of-range", message, hint=hint, position=first, n=n)
    return list(choice.positions)


def head_count(model: "LoadedModel", layer: int) -> int:
    """Return how many heads a layer has."""
    from circuit.model.interventions.ablation import Component, count

    return count(model, Component("head", layer, 0))


def _masks(
    run: RunPair, component: str, layer: int, length: int, positions: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Return what each cell of a layer changes, (n_cells, T, width or 1)."""
    at = np.zeros((len(positions), length, 1), dtype=bool)
    at[np.arange(len(positions)), [length + p for p in positions]] = True
    if site_of(component) != "z":
        return at
    n_heads = head_count(run.model, layer)
    width = run.clean[Site("z", layer)].shape[1]
    owner = np.repeat(np.arange(n_heads), width // n_heads)
    if (head := head_of(component)) is not None:
        return np.asarray(np.logical_and(at, owner == head[1]))
    own = owner == np.arange(n_heads)[:, None]
    return np.asarray(np.logical_and(np.any(at, axis=0)[None], own[:, None, :]))


def patched_cells(run: RunPair, choice: CellChoice, positions: Sequence[int]) -> dict[Key, Array]:
    """Return the effect of every cell, (n_layers, n_columns)."""
    return {
        (component, direction): np.stack(
            [
                layer_cells(run, (component, direction), layer, positions)
                for layer in choice.layers_of(component)
            ]
        )
        for component in choice.components
        for direction in choice.directions
    }


def layer_cells(
    run: RunPair, key: Key, layer: int, positions: Sequence[int], only: Sequence[int] | None = None
) -> Array:
    """Patch the cells of one layer, all or ``only`` some, as a batch.

    Cells in which both runs are equal have no effect and are not run.
    """
    from circuit.model.patching.patching import patched_scores

    component, direction = key
    ids, base, other, plain = run.side(direction)
    site = Site(site_of(component), layer)
    source = _aligned_at_end(other[site], len(ids))
    source = np.where(np.isnan(source), base[site], source)
    masks = _masks(run, component, layer, len(ids), positions)
    masks = masks if only is None else masks[list(only)]
    differs = np.any(np.logical_and(masks, source != base[site]), axis=(1, 2))
    found = np.zeros(len(masks))
    if differs.any():
        before = base[Site("resid_pre", layer)]
        scores = patched_scores(
            run.model, ids, site, masks[differs], source, score=run.score, before=before
        )
        found[differs] = run.share(scores - plain, direction)
    return found


def estimated_cells(run: RunPair, choice: CellChoice, positions: Sequence[int]) -> dict[Key, Array]:
    """Return the estimated effect of every cell, from one backward pass in each direction."""
    from circuit.model.patching.patching import attributions

    found: dict[Key, Array] = {}
    for direction in choice.directions:
        ids, _, other, _ = run.side(direction)
        wanted = {site_of(name) for name in choice.components}
        others = {s: _aligned_at_end(v, len(ids)) for s, v in other.items() if s.name in wanted}
        products = attributions(run.model, ids, others, run.score)
        for component in choice.components:
            rows = []
            for layer in choice.layers_of(component):
                masks = _masks(run, component, layer, len(ids), positions)
                cells = products[Site(site_of(component), layer)]
                rows.append((masks * cells).sum(axis=(1, 2), dtype=np.float64))
            found[component, direction] = run.share(np.stack(rows), direction)
    return found
