"""The runs that activation patching is made of: what is asked for, both runs of a pair, and the effect of every cell.

A cell is a layer and a column: a token for parts of the residual stream and for one named head, a head for the parts of z. See ``circuit.introspect.questions.patch``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.errors import UsageError
from circuit.introspect.patching.prompt_pairs import Aligned
from circuit.methods.arrays import Array
from circuit.values.layers import parse_layers
from circuit.values.sites import Site

COMPONENTS = ("resid_pre", "attn_out", "mlp_out", "heads")
DIRECTIONS = ("denoising", "noising")


@dataclass(frozen=True)
class What:
    """Which cells: layers, components, directions, and positions counted from the end (negative) or None for all.

    A component is one of ``COMPONENTS``, at ``layers``, or one head, ``head 2.3``, at its own layer.
    """

    layers: Sequence[int] = ()
    components: Sequence[str] = COMPONENTS
    directions: Sequence[str] = DIRECTIONS
    positions: Sequence[int] | None = None

    def at(self, layers: str, n_layers: int) -> "What":
        """Return the same at the layers that ``layers`` names."""
        return replace(self, layers=parse_layers(layers, range(n_layers), n_layers))

    def layers_of(self, component: str) -> Sequence[int]:
        """Return the layers of one component's cells."""
        head = head_of(component)
        return self.layers if head is None else [head[0]]

    def sites(self) -> list[Any]:
        """Return what has to be known of either run: the components' sites, and what their blocks read."""
        found = [
            Site(name, layer)
            for component in self.components
            for layer in self.layers_of(component)
            for name in ("resid_pre", _site(component))
        ]
        return list(dict.fromkeys(found))

    def check(self, model: Any) -> None:
        """Raise ``UsageError`` for a head that the model does not have."""
        from circuit.model.interventions.ablation import Component, check_components

        heads = filter(None, map(head_of, self.components))
        check_components(model, [Component("head", *head) for head in heads])


def head_of(component: str) -> tuple[int, int] | None:
    """Return the layer and the number of a head that is named by itself, or None for another component."""
    layer, dot, head = component.removeprefix("head ").partition(".")
    return (int(layer), int(head)) if dot and layer.isdecimal() and head.isdecimal() else None


def what(components: str, direction: str, position: str) -> What:
    """Read what options name; raise ``UsageError`` for a component, a direction or a position that there is not."""
    parts = tuple(part.strip() for part in components.split(","))
    directions = DIRECTIONS if direction == "both" else (direction,)
    for given, known, word in (
        (parts, COMPONENTS, "component"),
        (directions, DIRECTIONS, "direction"),
    ):
        for name in given:
            if name not in known and (word == "direction" or head_of(name) is None):
                message = f"there is no {word} `{name}` to patch"
                one = "" if word == "direction" else ", or one head as 2.3"
                raise UsageError(message, hint=f"use {', '.join(known)}{one}")
    named = tuple(f"head {part}" if head_of(part) else part for part in parts)
    return What((), named, directions, parse_positions(position))


def parse_positions(text: str) -> list[int] | None:
    """Read positions counted from the end: ``-1`` or ``-4,-2,-1`` or ``-8--5``; None for all."""
    if text == "all":
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("--")
        try:
            low, high = int(first), int(f"-{last}") if dash else int(first)
        except ValueError:
            low, high = 0, 0
        if not low <= high < 0:
            message = f"`{part}` is no position counted from the end"
            raise UsageError(message, hint="write -1 for the last token, -4,-2 or -8--5")
        found += range(low, high + 1)
    return sorted(set(found))


@dataclass(frozen=True, eq=False)
class PairRun:
    """A pair with everything that both of its runs hold, (n_tokens, width) at each site."""

    model: Any
    pair: Aligned
    score: Any
    clean: Mapping[Any, Array]
    corrupt: Mapping[Any, Array]
    difference: tuple[float, float]

    @classmethod
    def of(cls, model: Any, pair: Aligned, what: What) -> "PairRun":
        """Run both prompts of a pair."""
        from circuit.model.patching.patching import logit_difference, read_last, states

        found = []
        for ids in (pair.clean, pair.corrupt):
            logits = read_last(model, ids)
            found.append(float(logits[pair.answer] - logits[pair.wrong]))
        clean, corrupt = (states(model, ids, what.sites()) for ids in (pair.clean, pair.corrupt))
        score = logit_difference(pair.answer, pair.wrong)
        return cls(model, pair, score, clean, corrupt, (found[0], found[1]))

    @property
    def gap(self) -> float:
        """How far the clean run's logit difference is above the corrupt run's."""
        return self.difference[0] - self.difference[1]

    def side(self, direction: str) -> tuple[Any, Mapping[Any, Array], Mapping[Any, Array], float]:
        """Return the base's ids and states, the source's states, and the base's logit difference."""
        if direction == "denoising":
            return self.pair.corrupt, self.corrupt, self.clean, self.difference[1]
        return self.pair.clean, self.clean, self.corrupt, self.difference[0]

    def share(self, moved: Array, direction: str) -> Array:
        """Return a change of the logit difference as a share of the whole."""
        return np.asarray(moved / (self.gap if direction == "denoising" else -self.gap))


def _site(component: str) -> str:
    return "z" if component == "heads" or head_of(component) else component


def _moved_to(source: Array, length: int) -> Array:
    """Return ``source`` (T_source, width) with its end at the end of ``length`` tokens, NaN where it has none."""
    out = np.full((length, source.shape[1]), np.nan, np.float32)
    n = min(length, len(source))
    out[length - n :] = source[len(source) - n :]
    return out


def positions_of(runs: Sequence[PairRun], what: What) -> list[int]:
    """Return the positions, counted from the end, that all pairs have."""
    n = min(run.pair.n_compared for run in runs)
    if what.positions is None:
        return list(range(-n, 0))
    if min(what.positions) < -n:
        message = f"position {min(what.positions)} is out of range: {n} tokens can be compared"
        raise UsageError(message, hint=f"positions are -{n} to -1")
    return list(what.positions)


def head_count(model: Any, layer: int) -> int:
    """Return how many heads a layer has."""
    from circuit.model.interventions.ablation import Component, count

    return count(model, Component("head", layer, 0))


def _masks(
    run: PairRun, component: str, layer: int, length: int, positions: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Return what each cell of a layer changes, (n_cells, T, width or 1)."""
    at = np.zeros((len(positions), length, 1), dtype=bool)
    at[np.arange(len(positions)), [length + p for p in positions]] = True
    if _site(component) != "z":
        return at
    n_heads = head_count(run.model, layer)
    width = run.clean[Site("z", layer)].shape[1]
    owner = np.repeat(np.arange(n_heads), width // n_heads)
    if (head := head_of(component)) is not None:
        return np.asarray(np.logical_and(at, owner == head[1]))
    own = owner == np.arange(n_heads)[:, None]
    return np.asarray(np.logical_and(np.any(at, axis=0)[None], own[:, None, :]))


def patched_cells(
    run: PairRun, what: What, positions: Sequence[int]
) -> dict[tuple[str, str], Array]:
    """Return the effect of every cell, (n_layers, n_columns)."""
    return {
        (component, direction): np.stack(
            [
                layer_cells(run, component, direction, layer, positions)
                for layer in what.layers_of(component)
            ]
        )
        for component in what.components
        for direction in what.directions
    }


def layer_cells(
    run: PairRun,
    component: str,
    direction: str,
    layer: int,
    positions: Sequence[int],
    only: Sequence[int] | None = None,
) -> Array:
    """Patch the cells of one layer, all or ``only`` some, as a batch; cells that change nothing are not run."""
    from circuit.model.patching.patching import patched_scores

    ids, base, other, plain = run.side(direction)
    site = Site(_site(component), layer)
    source = _moved_to(other[site], len(ids))
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


def estimated_cells(
    run: PairRun, what: What, positions: Sequence[int]
) -> dict[tuple[str, str], Array]:
    """Return the estimated effect of every cell, from one backward pass in each direction."""
    from circuit.model.patching.patching import attributions

    found: dict[tuple[str, str], Array] = {}
    for direction in what.directions:
        ids, _, other, _ = run.side(direction)
        wanted = {_site(name) for name in what.components}
        others = {s: _moved_to(v, len(ids)) for s, v in other.items() if s.name in wanted}
        products = attributions(run.model, ids, others, run.score)
        for component in what.components:
            rows = []
            for layer in what.layers_of(component):
                masks = _masks(run, component, layer, len(ids), positions)
                cells = products[Site(_site(component), layer)]
                rows.append((masks * cells).sum(axis=(1, 2), dtype=np.float64))
            found[component, direction] = run.share(np.stack(rows), direction)
    return found
