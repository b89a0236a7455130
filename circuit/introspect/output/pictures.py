"""Figures of introspection commands, as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from circuit.introspect.questions.analyze import AnalysisResult, TokenEvolutionResult
from circuit.introspect.questions.attribute import Attribution
from circuit.introspect.questions.patch import Patching
from circuit.plots.bars import bars
from circuit.plots.cells import Cells, Scale, cells
from circuit.plots.curve import Panel, Series, curves
from circuit.stages.figures.picture_files import write_picture


def draw_analyses(found: Sequence[AnalysisResult], out: Path, *, force: bool = False) -> None:
    """Draw the probability of the answer, or of the tracked tokens, and the entropy along the layers.

    Of several prompts the median is drawn, with the quartiles as a band.
    """
    layers = found[0].captured_layers
    tracked = [_followed(evolution) for evolution in found[0].token_evolutions]
    probabilities: Mapping[str, list[list[float]]] = {
        name: [list(each.token_evolutions[i].layer_probabilities.values()) for each in found]
        for i, name in enumerate(tracked)
    }
    if not tracked:
        name = repr(found[0].predicted_token) if len(found) == 1 else "the model's answer"
        probabilities = {name: [list(each.answer_probabilities.values()) for each in found]}
    panels = [Panel("Probability", [_series(n, layers, p) for n, p in probabilities.items()])]
    if found[0].layer_predictions[0].entropy is not None:
        entropies = [
            [p.normalized_entropy or 0.0 for p in each.layer_predictions] for each in found
        ]
        panels.append(Panel("Entropy / log V", [_series("entropy", layers, entropies)]))
    write_picture(out, curves(panels), force=force)


def _followed(evolution: TokenEvolutionResult) -> str:
    """Name the token that a line is of, and the text that it begins where that is longer."""
    first, *more = evolution.pieces
    return f"{first!r} of {_shorten(repr(evolution.token), 14)}" if more else repr(evolution.token)


def _shorten(text: str, n: int) -> str:
    return text if len(text) <= n else f"{text[: n - 1]}…"


def _series(name: str, layers: Sequence[int], values: Sequence[Sequence[float]]) -> Series:

    low, middle, high = np.quantile(np.array(values, dtype=float), [0.25, 0.5, 0.75], axis=0)
    return Series(
        name.replace("$", r"\$"), list(layers), middle.tolist(), low.tolist(), high.tolist()
    )


def draw_patching(found: Patching, out: Path, *, force: bool = False) -> None:
    """Draw every grid: directions side by side, components below each other, and named heads as the rows of one grid."""
    drawings: dict[tuple[str, str], Cells] = {}
    for grid in found.grids:
        head = grid.component.startswith("head ")
        name = "heads by token" if head else grid.component
        rows = [grid.component.removeprefix("head ")] if head else [str(n) for n in grid.layers]
        before = drawings.get((name, grid.direction))
        values = np.array(grid.effect)
        drawings[name, grid.direction] = Cells(
            f"{name}, {grid.direction}",
            values if before is None else np.concatenate([before.matrix, values]),
            rows if before is None else [*before.rows, *rows],
            [shown(column) for column in grid.columns],
            ylabel="Head" if head else "Layer",
        )
    across = len({grid.direction for grid in found.grids})
    scale = Scale("share of the logit difference")
    if found.method == "attribution":
        scale = Scale("estimated share of the logit difference", least=0)
    write_picture(out, cells(list(drawings.values()), scale, across=across), force=force)


def shown(token: str) -> str:
    """Return a token as an axis can show it: blanks visible, mathematics off."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("$", r"\$") or "∅"


def draw_attribution(found: Attribution, out: Path, *, force: bool = False, top: int = 24) -> None:
    """Draw the largest terms: heads in the place of their attention where they are known."""
    split = {term.layer for term in found.heads}
    whole = [t for t in found.terms if not (t.kind == "attn_out" and t.layer in split)]
    terms = sorted([*whole, *found.heads], key=lambda term: -abs(term.mean))[:top]
    figure = bars(
        [term.name for term in terms],
        [term.mean for term in terms],
        [term.interval for term in terms],
        xlabel="Direct effect on the logit difference",
    )
    write_picture(out, figure, force=force)
