"""``circuit introspect patch``: where, at which token and in which component two prompts differ.

The activation of a component in one prompt's run (the source) replaces that in the other prompt's
run (the base), and the logit difference d = logit(answer) − logit(wrong) at the last token is read
again. Two directions, each as a fraction of the whole difference:

    denoising   base corrupt, source clean    (d_patched − d_corrupt) / (d_clean − d_corrupt)
    noising     base clean, source corrupt    (d_clean − d_patched) / (d_clean − d_corrupt)

Denoising is what the component restores, noising what breaks without it; 0 is no effect and 1 all
of it. They differ where components can replace each other: noising one of two that do the same has
no effect, denoising either has the whole (Zhang & Nanda 2023, 2309.16042). ``resid_pre``,
``attn_out`` and ``mlp_out`` are patched token by token, heads (their part of z) at all chosen
tokens together, and a head that is named by itself token by token. Where both runs hold the same
numbers the effect is 0 and nothing is run.

With ``--attribution`` every effect is first estimated from one backward pass, and the largest are
verified by real patching: both numbers, and their rank correlation among those verified. A pair
whose clean run is not at least 0.1 logits above its corrupt one shows no behaviour: it is left
out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit.introspect.patching.cells import cell_choice
from circuit.introspect.patching.effects import Grid, PatchResult, draw_patching, patch
from circuit.introspect.patching.prompt_pairs import check_alignment, check_pairs, read_pairs
from circuit.introspect.plans import asked, question
from circuit.present.document import Cell, Document, Estimate, Number, Part, Table, Text
from circuit.present.numbers import few_groups, formatted
from circuit.stages.figures.picture_files import check_picture
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, SeedOptions, chat_option
from circuit.stages.run import Command, Plan
from circuit.values import schemas
from circuit.values.requests import group, option

TOP = 8  # cells of a grid that are shown; all are in the file
SHOWN = 3  # pairs that are shown


@dataclass(frozen=True, kw_only=True)
class PatchRequest:
    r"""Patch activations of one prompt into the run of another: where do the two differ?

    Examples:
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " --answer 7 \
        --wrong 2 -o patching.json
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " \
        --attribution --plot patching.png
      circuit introspect patch -m tiny --clean "50 + 25 = " --corrupt "50 - 25 = " \
        --components "mlp_out,3.1" --position=-5--1
    """

    model: ModelOptions = group(ModelOptions)
    clean: str | None = option(
        "--clean", "--source", help="The prompt that shows the behaviour.", default=None
    )
    corrupt: str | None = option(
        "--corrupt", "--target", help="One that differs in what matters only.", default=None
    )
    pairs: str | None = option(
        "--pairs",
        "-d",
        help="Pairs instead: a JSON list of clean, corrupt, answer, wrong; or prompts in pairs.",
        default=None,
    )
    answer: str | None = option(
        "--answer",
        help="Token that answers the clean prompt.",
        default=None,
        shown_default="its top-1",
    )
    wrong: str | None = option(
        "--wrong",
        help="Token that answers the corrupt one.",
        default=None,
        shown_default="its top-1",
    )
    layers: str = option("--layers", "--layer", "-l", help=LAYERS, default="all")
    position: str = option(
        "--position", help="Tokens counted from the end: all | -1 | -8--1.", default="all"
    )
    components: str = option(
        "--components",
        help="Of resid_pre, attn_out, mlp_out, heads; or one head as 2.3, token by token.",
        default="resid_pre,attn_out,mlp_out,heads",
    )
    direction: str = option("--direction", help="denoising, noising or both.", default="both")
    align: str = option(
        "--align",
        help="same: equally many tokens; end: compare prompts of unequal length from the end.",
        default="same",
    )
    attribution: bool = option(
        "--attribution", help="Estimate all from a gradient, verify the largest.", default=False
    )
    verify: int = option(
        "--verify", help="Estimates to verify in each direction.", default=20, minimum=3
    )
    chat: bool | None = chat_option()
    plot: Path | None = option("--plot", help="Draw heat maps (png, pdf, svg).", default=None)
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


def plan(request: PatchRequest) -> Plan[PatchResult]:
    """Read the pairs and which cells are patched."""
    check_picture(request.plot)
    choice = cell_choice(request.components, request.direction, request.position)
    check_alignment(request.align)
    pairs, given = read_pairs(
        request.clean, request.corrupt, request.pairs, answer=request.answer, wrong=request.wrong
    )
    check_pairs(pairs)
    form = given.form(request.chat)
    replaced = ("clean", "corrupt", "answer", "wrong")
    return question(
        request,
        PatchResult,
        schemas.PATCHING,
        inputs=given.inputs,
        parameters=asked(request, without=replaced, pairs=pairs, format=form.name),
        answer=lambda model, session: patch(
            model,
            pairs,
            choice.at(request.layers, model.n_layers),
            form=form,
            alignment=request.align,
            verify=request.verify if request.attribution else None,
            seed=request.seed.seed,
            session=session,
        ),
        pictures={request.plot: draw_patching},
    )


def present(result: PatchResult) -> Document:
    """Show the pairs, the strongest cells of each grid, and estimates with their effects."""
    parts: list[Part] = [Text(_about(result))]
    parts += [_grid_table(grid, result.positions) for grid in result.grids]
    parts += [_verified_table(result, each) for each in result.rank_correlation]
    return Document("", [*parts, *few_groups(result.n_groups, "pair")])


def _about(result: PatchResult) -> list[str]:
    used = [pair for pair in result.pairs if pair.is_used]
    lines = [
        f"Activation patching of `{result.model}`: {len(used)} of {len(result.pairs)} pairs, "
        f"{len(result.positions)} positions, {result.format}"
    ]
    if result.n_excluded:
        lines.append(f"{result.n_excluded} pairs show no logit difference and are left out")
    for pair in used[:SHOWN]:
        lines.append(
            f"  clean   {pair.clean!r}: {pair.answer!r} over {pair.wrong!r} by "
            f"{pair.clean_difference:+.3f} logits"
        )
        lines.append(f"  corrupt {pair.corrupt!r}: {pair.corrupt_difference:+.3f}")
    if len(used) > SHOWN:
        lines.append(f"… and {len(used) - SHOWN} more pairs")
    if result.method == "attribution":
        lines.append("Effects are estimates from one gradient; the largest are verified below.")
    return lines


def _grid_table(grid: Grid, positions: Sequence[int]) -> Part:
    verb = {"denoising": "restored", "noising": "removed"}[grid.direction]
    title = f"{grid.component}, {grid.direction}: fraction of the difference that is {verb}"
    effects = np.array(grid.effect)
    order = np.argsort(-np.abs(effects), axis=None, kind="stable")[:TOP]
    rows: list[list[Cell]] = []
    for k, column in zip(*np.unravel_index(order, effects.shape), strict=True):
        if effects[k, column]:
            where = _where(grid, int(column), positions)
            rows.append([f"L{grid.layers[k]}", where, _estimate(grid, int(k), int(column))])
    if not rows:
        return Text([f"{title}: no cell has an effect"])
    columns = "head" if grid.component == "heads" else "token"
    return Table(title=title, header=["layer", columns, "effect"], rows=rows)


def _estimate(grid: Grid, k: int, column: int) -> Estimate:
    bounds = [None if each is None else each[k][column] for each in (grid.low, grid.high)]
    return Estimate.of((grid.effect[k][column], *bounds), "+.3f")


def _where(grid: Grid, column: int, positions: Sequence[int]) -> str:
    name = grid.columns[column]
    if grid.component == "heads" or name == str(positions[column]):
        return name
    return f"{name!r} ({positions[column]})"


def _verified_table(result: PatchResult, direction: str) -> Table:
    grids = {grid.component: grid for grid in result.grids}
    return Table.of(
        [each for each in result.checked if each.direction == direction],
        {
            "component": lambda each: f"{each.component} L{each.layer}",
            "where": lambda each: _where(grids[each.component], each.column, result.positions),
            "estimate": lambda each: Number(each.estimate, "+.3f"),
            "effect": lambda each: Number(each.effect, "+.3f"),
        },
        title=f"Largest estimates of {direction}, verified by patching",
        note=f"Rank correlation: {formatted(result.rank_correlation[direction])}",
    )


COMMAND = Command(request=PatchRequest, plan=plan, present=present)
