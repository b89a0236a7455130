"""Activation patching: where, at which token and in which component, is what makes two prompts end differently?

What a component holds in one prompt's run (the source) is put into the other prompt's run (the base), and the logit difference
d = logit(answer) − logit(wrong) at the last token is read again. Two directions, each as a share of the whole difference:

    denoising   base corrupt, source clean    (d_patched − d_corrupt) / (d_clean − d_corrupt)    what the component brings back
    noising     base clean, source corrupt    (d_clean − d_patched) / (d_clean − d_corrupt)      what breaks with it

0 is no effect and 1 all of it. They differ where components stand in for each other: noising one of two that do the same does nothing,
denoising either does all (Zhang & Nanda 2023, 2309.16042). ``resid_pre``, ``attn_out`` and ``mlp_out`` are patched token by token,
heads (their part of z) at all chosen tokens together. Where both runs hold the same numbers the effect is 0 and nothing is run.

With ``attribution`` every effect is first estimated from one backward pass, and the largest ones are verified by real patching:
both numbers, and the rank correlation of the two among those verified. A pair whose clean run is not at least ``GAP`` above its
corrupt one shows no behaviour: it is left out and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit.errors import DataError, UsageError
from circuit.introspect.choices import token_text
from circuit.introspect.pairs import Aligned, Pair, align
from circuit.methods.arrays import Array
from circuit.methods.layers import parse_layers
from circuit.methods.means import mean_estimates
from circuit.stages.prompting import Format
from circuit.stages.running import Track, untracked

COMPONENTS = ("resid_pre", "attn_out", "mlp_out", "heads")
DIRECTIONS = ("denoising", "noising")
GAP = 0.1  # logits


@dataclass(frozen=True)
class Grid:
    """Effects of one component in one direction, (n_layers, n_columns): columns are tokens, or heads.

    ``low`` and ``high`` bound the mean over pairs; None where there are fewer than two groups of pairs.
    """

    component: str
    direction: str
    layers: list[int]
    columns: list[str]
    effect: list[list[float]]
    low: list[list[float]] | None
    high: list[list[float]] | None


@dataclass(frozen=True)
class Checked:
    """One cell of a grid, by its layer and the index of its column: its effect as estimated from the gradient, and as it is when patched."""

    component: str
    direction: str
    layer: int
    column: int
    estimate: float
    effect: float


@dataclass(frozen=True)
class PairResult:
    """A pair, its answers, and its logit difference in either run."""

    clean: str
    corrupt: str
    answer: str
    wrong: str
    clean_difference: float
    corrupt_difference: float
    is_used: bool


@dataclass(frozen=True)
class Patching:
    """All grids, and what was verified where they are estimates (``method`` is ``attribution``)."""

    method: str
    pairs: list[PairResult]
    n_excluded: int
    positions: list[int]
    grids: list[Grid]
    checked: list[Checked]
    rank_correlation: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class What:
    """Which cells: layers, components, directions, and positions counted from the end (negative) or None for all."""

    layers: Sequence[int] = ()
    components: Sequence[str] = COMPONENTS
    directions: Sequence[str] = DIRECTIONS
    positions: Sequence[int] | None = None

    def at(self, layers: str, n_layers: int) -> "What":
        """Return the same at the layers that ``layers`` names."""
        return replace(self, layers=parse_layers(layers, range(n_layers), n_layers))


def what(components: str, direction: str, position: str) -> What:
    """Read what options name; raise ``UsageError`` for a component, a direction or a position that there is not."""
    parts = tuple(part.strip() for part in components.split(","))
    directions = DIRECTIONS if direction == "both" else (direction,)
    for given, known, word in (
        (parts, COMPONENTS, "component"),
        (directions, DIRECTIONS, "direction"),
    ):
        for name in given:
            if name not in known:
                message = f"there is no {word} `{name}` to patch"
                raise UsageError(message, hint=f"use {', '.join(known)}")
    return What((), parts, directions, parse_positions(position))


def patch(
    model: Any,
    pairs: Sequence[Pair],
    what: What,
    *,
    form: Format,
    alignment: str = "same",
    attribution: bool = False,
    verify: int = 20,
    seed: int = 0,
    track: Track = untracked,
) -> Patching:
    """Patch, or estimate, every cell for every pair.

    Raises ``UsageError`` for a component or a position that there is not, ``DataError`` for pairs that cannot be compared.
    """
    aligned = align(model, pairs, form, alignment)
    runs = [_Run.of(model, each, what) for each in aligned]
    used = [run for run in runs if run.gap >= GAP]
    if not used:
        message = f"in no pair is the clean run {GAP} logits above the corrupt one"
        raise DataError(message, hint="check --answer and --wrong, or choose prompts that differ")
    positions = _positions(used, what)
    keys = [(c, d) for c in what.components for d in what.directions]
    how = _estimated if attribution else _patched
    found = [how(run, what, positions) for run in track(used, "Patching", len(used))]
    groups = [run.pair.pair.group or str(k) for k, run in enumerate(used)]
    grids = []
    for key in keys:
        cells = np.stack([each[key] for each in found])
        names = _columns(model, used, key[0], positions)
        grids.append(_grid(key, what.layers, names, cells, groups, seed))
    checked = _verified(grids, used, what, positions, verify) if attribution else []
    return Patching(
        "attribution" if attribution else "patching",
        [_described(model, run) for run in runs],
        len(runs) - len(used),
        positions,
        grids,
        checked,
        {d: _correlation([c for c in checked if c.direction == d]) for d in what.directions}
        if attribution
        else {},
    )


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
class _Run:
    """A pair with everything that both of its runs hold, (n_tokens, width) at each site."""

    model: Any
    pair: Aligned
    score: Any
    clean: Mapping[Any, Array]
    corrupt: Mapping[Any, Array]
    difference: tuple[float, float]

    @classmethod
    def of(cls, model: Any, pair: Aligned, what: What) -> "_Run":
        from circuit.model.patching import logit_difference, read_last, states
        from circuit.model.sites import Site

        names = {"resid_pre", *(_site(name) for name in what.components)}
        sites = [Site(name, layer) for name in sorted(names) for layer in what.layers]
        found = []
        for ids in (pair.clean, pair.corrupt):
            logits = read_last(model, ids)
            found.append(float(logits[pair.answer] - logits[pair.wrong]))
        clean, corrupt = (states(model, ids, sites) for ids in (pair.clean, pair.corrupt))
        score = logit_difference(pair.answer, pair.wrong)
        return cls(model, pair, score, clean, corrupt, (found[0], found[1]))

    @property
    def gap(self) -> float:
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
    return "z" if component == "heads" else component


def _moved_to(source: Array, length: int) -> Array:
    """Return ``source`` (T_source, width) with its end at the end of ``length`` tokens, NaN where it has none."""
    out = np.full((length, source.shape[1]), np.nan, np.float32)
    n = min(length, len(source))
    out[length - n :] = source[len(source) - n :]
    return out


def _positions(runs: Sequence[_Run], what: What) -> list[int]:
    """Return the positions, counted from the end, that all pairs have."""
    n = min(run.pair.n_compared for run in runs)
    if what.positions is None:
        return list(range(-n, 0))
    if min(what.positions) < -n:
        message = f"position {min(what.positions)} is out of range: {n} tokens can be compared"
        raise UsageError(message, hint=f"positions are -{n} to -1")
    return list(what.positions)


def _n_heads(model: Any, layer: int) -> int:
    from circuit.model.ablation import Component, count

    return count(model, Component("head", layer, 0))


def _masks(
    run: _Run, component: str, layer: int, length: int, positions: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Return what each cell of a layer changes, (n_cells, T, width or 1)."""
    at = np.zeros((len(positions), length, 1), dtype=bool)
    at[np.arange(len(positions)), [length + p for p in positions]] = True
    if component != "heads":
        return at
    n_heads = _n_heads(run.model, layer)
    width = next(v.shape[1] for s, v in run.clean.items() if (s.name, s.layer) == ("z", layer))
    owner = np.repeat(np.arange(n_heads), width // n_heads)
    own = owner == np.arange(n_heads)[:, None]
    masks: npt.NDArray[np.bool_] = np.logical_and(np.any(at, axis=0)[None], own[:, None, :])
    return masks


def _patched(run: _Run, what: What, positions: Sequence[int]) -> dict[tuple[str, str], Array]:
    """Return the effect of every cell, (n_layers, n_columns)."""
    return {
        (component, direction): np.stack(
            [_layer(run, component, direction, layer, positions) for layer in what.layers]
        )
        for component in what.components
        for direction in what.directions
    }


def _layer(
    run: _Run,
    component: str,
    direction: str,
    layer: int,
    positions: Sequence[int],
    only: Sequence[int] | None = None,
) -> Array:
    """Patch the cells of one layer, all or ``only`` some, as a batch; cells that change nothing are not run."""
    from circuit.model.patching import patched_scores
    from circuit.model.sites import Site

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
            run.model, ids, site, masks[differs], source, run.score, before=before
        )
        found[differs] = run.share(scores - plain, direction)
    return found


def _estimated(run: _Run, what: What, positions: Sequence[int]) -> dict[tuple[str, str], Array]:
    """Return the estimated effect of every cell, from one backward pass in each direction."""
    from circuit.model.patching import attributions
    from circuit.model.sites import Site

    found: dict[tuple[str, str], Array] = {}
    for direction in what.directions:
        ids, _, other, _ = run.side(direction)
        wanted = {_site(name) for name in what.components}
        others = {s: _moved_to(v, len(ids)) for s, v in other.items() if s.name in wanted}
        products = attributions(run.model, ids, others, run.score)
        for component in what.components:
            rows = []
            for layer in what.layers:
                masks = _masks(run, component, layer, len(ids), positions)
                cells = products[Site(_site(component), layer)]
                rows.append((masks * cells).sum(axis=(1, 2), dtype=np.float64))
            found[component, direction] = run.share(np.stack(rows), direction)
    return found


def _columns(
    model: Any, runs: Sequence[_Run], component: str, positions: Sequence[int]
) -> list[str]:
    """Name the columns: the token where all runs have the same there, both where a pair differs, else the position."""
    if component == "heads":
        layer = next(iter(runs[0].clean)).layer
        return [f"H{h}" for h in range(_n_heads(model, layer))]
    names = []
    for p in positions:
        here = {(int(run.pair.clean[p]), int(run.pair.corrupt[p])) for run in runs}
        if len(here) > 1:
            names.append(str(p))
            continue
        ((a, b),) = here
        shown = token_text(model, a)
        names.append(shown if a == b else f"{shown}|{token_text(model, b)}")
    return names


def _grid(
    key: tuple[str, str],
    layers: Sequence[int],
    columns: list[str],
    cells: Array,
    groups: Sequence[str],
    seed: int,
) -> Grid:
    """Average cells (n_pairs, n_layers, n_columns) over the pairs."""
    shape = cells.shape[1:]
    found = mean_estimates(cells.reshape(len(cells), -1), groups, seed=seed)
    low, high = (None, None) if found is None else (b.reshape(shape).tolist() for b in found[1:])
    return Grid(*key, list(layers), columns, cells.mean(axis=0).tolist(), low, high)


def _verified(
    grids: Sequence[Grid], runs: Sequence[_Run], what: What, positions: Sequence[int], n: int
) -> list[Checked]:
    """Patch the ``n`` cells of the largest estimates in each direction; strongest first."""
    found = []
    for direction in what.directions:
        cells = [
            (abs(value), grid, k, column)
            for grid in grids
            if grid.direction == direction
            for k, row in enumerate(grid.effect)
            for column, value in enumerate(row)
        ]
        for _, grid, k, column in sorted(cells, key=lambda cell: -cell[0])[:n]:
            layer = grid.layers[k]
            real = [
                _layer(run, grid.component, direction, layer, positions, [column])[0]
                for run in runs
            ]
            estimate, effect = grid.effect[k][column], float(np.mean(real))
            found.append(Checked(grid.component, direction, layer, column, estimate, effect))
    return found


def _correlation(checked: Sequence[Checked]) -> float | None:
    """Return Spearman's rank correlation of estimates and effects; None where one of them does not vary."""
    from circuit.methods.ranks import rank_correlation

    return rank_correlation([c.estimate for c in checked], [c.effect for c in checked])


def _described(model: Any, run: _Run) -> PairResult:
    pair = run.pair
    return PairResult(
        pair.pair.clean,
        pair.pair.corrupt,
        token_text(model, pair.answer),
        token_text(model, pair.wrong),
        *run.difference,
        run.gap >= GAP,
    )
