"""Effects of patching, averaged over pairs, and which estimates were verified."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from circuit.errors import DataError
from circuit.introspect.inputs.choices import token_text
from circuit.introspect.patching.cells import CellChoice
from circuit.introspect.patching.patch_runs import (
    Key,
    RunPair,
    estimated_cells,
    head_count,
    layer_cells,
    patched_cells,
    positions_of,
)
from circuit.introspect.patching.prompt_pairs import Pair, align
from circuit.methods.arrays import Array
from circuit.methods.uncertainty.means import mean_estimates
from circuit.methods.uncertainty.ranks import rank_correlation
from circuit.stages.figures.picture_files import write_picture
from circuit.stages.run import SILENT, Result, Session
from circuit.values.prompt_format import PromptFormat
from circuit.values.thresholds import MIN_BEHAVIOUR

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Effects of one component in one direction, (n_layers, n_columns).

    Columns are tokens, or heads where the component is ``heads``. ``low`` and ``high`` bound the
    mean over pairs; None where there are fewer than two groups of pairs.
    """

    component: str
    direction: str
    layers: list[int]
    columns: list[str]
    effect: list[list[float]]
    low: list[list[float]] | None
    high: list[list[float]] | None


@dataclass(frozen=True, kw_only=True)
class VerifiedCell:
    """One cell of a grid, by layer and index of the column: its estimate and its real effect."""

    component: str
    direction: str
    layer: int
    column: int
    estimate: float
    effect: float


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """A pair, its answers, and its logit difference in either run."""

    clean: str
    corrupt: str
    answer: str
    wrong: str
    clean_difference: float
    corrupt_difference: float
    is_used: bool


@dataclass(frozen=True, kw_only=True)
class PatchResult(Result):
    """All grids; where ``method`` is ``attribution`` they are estimates, and some are verified."""

    COMMAND: ClassVar[str] = "circuit.introspect.questions.patch:COMMAND"

    model: str
    format: str
    method: str
    pairs: list[PairResult]
    n_excluded: int
    positions: list[int]
    grids: list[Grid]
    checked: list[VerifiedCell]
    rank_correlation: dict[str, float | None]
    n_groups: int


def patch(
    model: "LoadedModel",
    pairs: Sequence[Pair],
    choice: CellChoice,
    *,
    form: PromptFormat,
    alignment: str = "same",
    verify: int | None = None,
    seed: int = 0,
    session: Session = SILENT,
) -> PatchResult:
    """Patch every cell for every pair; with ``verify``, estimate all and patch so many.

    Raises ``UsageError`` for a head or a position that is out of range and ``DataError`` for pairs
    that cannot be compared.
    """
    choice.check(model)
    runs = [RunPair.of(model, each, choice) for each in align(model, pairs, form, alignment)]
    used = [run for run in runs if run.gap >= MIN_BEHAVIOUR]
    if not used:
        message = f"in no pair is the clean run {MIN_BEHAVIOUR} logits above the corrupt one"
        hint = "check --answer and --wrong, or choose prompts that differ"
        raise DataError("no-behaviour", message, hint=hint)
    positions = positions_of(used, choice)
    effects_of = patched_cells if verify is None else estimated_cells
    tracked = session.track(used, "Patching", len(used))
    found = [effects_of(run, choice, positions) for run in tracked]
    groups = [run.pair.pair.group or str(k) for k, run in enumerate(used)]
    keys = [(c, d) for c in choice.components for d in choice.directions]
    grids = []
    for key in keys:
        effects = np.stack([each[key] for each in found])
        names = _columns(model, used, key[0], positions)
        grids.append(_grid(key, choice.layers_of(key[0]), names, effects, groups, seed=seed))
    checked = [] if verify is None else verified(grids, used, choice, positions, verify)
    return PatchResult(
        model=model.id,
        format=form.name,
        method="patching" if verify is None else "attribution",
        pairs=[_described(model, run) for run in runs],
        n_excluded=len(runs) - len(used),
        positions=positions,
        grids=grids,
        checked=checked,
        rank_correlation={
            direction: _correlation([c for c in checked if c.direction == direction])
            for direction in ([] if verify is None else choice.directions)
        },
        n_groups=len(set(groups)),
    )


def _columns(
    model: "LoadedModel", runs: Sequence[RunPair], component: str, positions: Sequence[int]
) -> list[str]:
    """Name the columns: heads, or the token where all pairs have the same one, else the position.

    Where the two prompts of every pair differ in one way, both tokens are named.
    """
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
    key: Key,
    layers: Sequence[int],
    columns: list[str],
    effects: Array,
    groups: Sequence[str],
    *,
    seed: int,
) -> Grid:
    """Average effects (n_pairs, n_layers, n_columns) over the pairs."""
    shape = effects.shape[1:]
    found = mean_estimates(effects.reshape(len(effects), -1), groups, seed=seed)
    low, high = (None, None) if found is None else (b.reshape(shape).tolist() for b in found[1:])
    return Grid(
        component=key[0],
        direction=key[1],
        layers=list(layers),
        columns=columns,
        effect=effects.mean(axis=0).tolist(),
        low=low,
        high=high,
    )


def verified(
    grids: Sequence[Grid],
    runs: Sequence[RunPair],
    choice: CellChoice,
    positions: Sequence[int],
    n: int,
) -> list[VerifiedCell]:
    """Patch the ``n`` cells of the largest estimates in each direction; strongest first."""
    found = []
    for direction in choice.directions:
        estimates = [
            (value, grid, k, column)
            for grid in grids
            if grid.direction == direction
            for k, row in enumerate(grid.effect)
            for column, value in enumerate(row)
        ]
        for estimate, grid, k, column in sorted(estimates, key=lambda each: -abs(each[0]))[:n]:
            key, layer = (grid.component, direction), grid.layers[k]
            real = [layer_cells(run, key, layer, positions, [column])[0] for run in runs]
            found.append(
                VerifiedCell(
                    component=grid.component,
                    direction=direction,
                    layer=layer,
                    column=column,
                    estimate=estimate,
                    effect=float(np.mean(real)),
                )
            )
    return found


def _correlation(checked: Sequence[VerifiedCell]) -> float | None:
    """Return Spearman's rank correlation; None where estimates or effects do not vary."""
    return rank_correlation([c.estimate for c in checked], [c.effect for c in checked])


def _described(model: "LoadedModel", run: RunPair) -> PairResult:
    pair, (clean, corrupt) = run.pair, run.difference
    return PairResult(
        clean=pair.pair.clean,
        corrupt=pair.pair.corrupt,
        answer=token_text(model, pair.answer),
        wrong=token_text(model, pair.wrong),
        clean_difference=clean,
        corrupt_difference=corrupt,
        is_used=run.gap >= MIN_BEHAVIOUR,
    )


def draw_patching(result: PatchResult, path: Path, *, force: bool = False) -> None:
    """Draw every grid: directions in columns, components in rows, named heads as one grid."""
    from circuit.plots.cells import Cells, Scale, cells
    from circuit.plots.tokens import axis_label

    drawings: dict[Key, Cells] = {}
    for grid in result.grids:
        head = grid.component.startswith("head ")
        name = "heads by token" if head else grid.component
        rows = [grid.component.removeprefix("head ")] if head else [str(n) for n in grid.layers]
        before = drawings.get((name, grid.direction))
        values = np.array(grid.effect)
        drawings[name, grid.direction] = Cells(
            f"{name}, {grid.direction}",
            values if before is None else np.concatenate([before.matrix, values]),
            rows if before is None else [*before.rows, *rows],
            [axis_label(column) for column in grid.columns],
            ylabel="Head" if head else "Layer",
        )
    across = len({grid.direction for grid in result.grids})
    scale = Scale("share of the logit difference")
    if result.method == "attribution":
        scale = Scale("estimated share of the logit difference", least=0)
    write_picture(path, cells(list(drawings.values()), scale, across=across), force=force)
