"""Activation patching: where, at which token and in which component, is what makes two prompts end differently?

What a component holds in one prompt's run (the source) is put into the other prompt's run (the base), and the logit difference
d = logit(answer) − logit(wrong) at the last token is read again. Two directions, each as a share of the whole difference:

    denoising   base corrupt, source clean    (d_patched − d_corrupt) / (d_clean − d_corrupt)    what the component brings back
    noising     base clean, source corrupt    (d_clean − d_patched) / (d_clean − d_corrupt)      what breaks with it

0 is no effect and 1 all of it. They differ where components stand in for each other: noising one of two that do the same does nothing,
denoising either does all (Zhang & Nanda 2023, 2309.16042). ``resid_pre``, ``attn_out`` and ``mlp_out`` are patched token by token,
heads (their part of z) at all chosen tokens together, and a head that is named by itself token by token. Where both runs hold the same numbers the effect is 0 and nothing is run.

With ``attribution`` every effect is first estimated from one backward pass, and the largest ones are verified by real patching:
both numbers, and the rank correlation of the two among those verified. A pair whose clean run is not at least ``GAP`` above its
corrupt one shows no behaviour: it is left out and counted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError
from circuit.introspect.inputs.choices import token_text
from circuit.introspect.patching.patch_runs import (
    PairRun,
    What,
    estimated_cells,
    head_count,
    layer_cells,
    patched_cells,
    positions_of,
)
from circuit.introspect.patching.prompt_pairs import Pair, align
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimates
from circuit.stages.run import Track, untracked
from circuit.values.prompt_format import PromptFormat

GAP = 0.1  # logits


@dataclass(frozen=True)
class Grid:
    """Effects of one component in one direction, (n_layers, n_columns): columns are tokens, or heads where the component is ``heads``.

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
    n_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def patch(
    model: Any,
    pairs: Sequence[Pair],
    what: What,
    *,
    form: PromptFormat,
    alignment: str = "same",
    attribution: bool = False,
    verify: int = 20,
    seed: int = 0,
    track: Track = untracked,
) -> Patching:
    """Patch, or estimate, every cell for every pair.

    Raises ``UsageError`` for a component or a position that there is not, ``DataError`` for pairs that cannot be compared.
    """
    what.check(model)
    aligned = align(model, pairs, form, alignment)
    runs = [PairRun.of(model, each, what) for each in aligned]
    used = [run for run in runs if run.gap >= GAP]
    if not used:
        message = f"in no pair is the clean run {GAP} logits above the corrupt one"
        raise DataError(message, hint="check --answer and --wrong, or choose prompts that differ")
    positions = positions_of(used, what)
    keys = [(c, d) for c in what.components for d in what.directions]
    how = estimated_cells if attribution else patched_cells
    found = [how(run, what, positions) for run in track(used, "Patching", len(used))]
    groups = [run.pair.pair.group or str(k) for k, run in enumerate(used)]
    grids = []
    for key in keys:
        cells = np.stack([each[key] for each in found])
        names = _columns(model, used, key[0], positions)
        grids.append(_grid(key, what.layers_of(key[0]), names, cells, groups, seed))
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
        len(set(groups)),
    )


def _columns(
    model: Any, runs: Sequence[PairRun], component: str, positions: Sequence[int]
) -> list[str]:
    """Name the columns: the token where all runs have the same there, both where a pair differs, else the position."""
    if component == "heads":
        layer = next(iter(runs[0].clean)).layer
        return [f"H{h}" for h in range(head_count(model, layer))]
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
    grids: Sequence[Grid], runs: Sequence[PairRun], what: What, positions: Sequence[int], n: int
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
                layer_cells(run, grid.component, direction, layer, positions, [column])[0]
                for run in runs
            ]
            estimate, effect = grid.effect[k][column], float(np.mean(real))
            found.append(Checked(grid.component, direction, layer, column, estimate, effect))
    return found


def _correlation(checked: Sequence[Checked]) -> float | None:
    """Return Spearman's rank correlation of estimates and effects; None where one of them does not vary."""
    from circuit.methods.uncertainty.ranks import rank_correlation

    return rank_correlation([c.estimate for c in checked], [c.effect for c in checked])


def _described(model: Any, run: PairRun) -> PairResult:
    pair = run.pair
    return PairResult(
        pair.pair.clean,
        pair.pair.corrupt,
        token_text(model, pair.answer),
        token_text(model, pair.wrong),
        *run.difference,
        run.gap >= GAP,
    )
