"""``circuit introspect attention``: attention patterns, and what each head does.

Each head gets the scores of ``circuit.methods.geometry.head_patterns`` on each prompt: how much it
attends to the previous token, the first, itself, an earlier copy of the token, and to what came
after that copy. The scores of several prompts have a mean and an interval over prompts. Text
repeats itself by chance only, so induction and duplicate heads are looked for on sequences of
random tokens that occur twice: there, only the repetition can be predicted.

A pattern says where a head looks, not what it moves or whether anything reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.errors import DataError
from circuit.introspect.attention.head_scores import (
    HeadScore,
    Pattern,
    patterns,
    repeated_tokens,
    scores_of,
)
from circuit.introspect.inputs.choices import check_heads, from_first, parse_numbers, token_text
from circuit.introspect.plans import asked, question
from circuit.methods.geometry.head_patterns import SCORES
from circuit.present.document import Document, Estimate, Part, Table, Text
from circuit.present.numbers import counted, few_groups
from circuit.stages.figures.picture_files import check_picture, write_picture
from circuit.stages.options import LAYERS, ModelOptions, OutputOptions, PromptsOptions, SeedOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Command, Plan, Result, Session
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.plots.cells import Cells

ON_REPEATS = ("duplicate", "induction")
TOP = 5  # heads of each kind that are shown
ABOUT = {
    "previous": "attends to the token before",
    "first": "attends to the first token",
    "self": "attends to the token itself",
    "duplicate": "attends to an earlier copy of the token",
    "induction": "attends to what came after an earlier copy",
    "entropy": "spreads its attention (entropy relative to the largest)",
}


@dataclass(frozen=True, kw_only=True)
class AttentionRequest:
    r"""Where every head attends: the token before, the first one, an earlier copy, its successor.

    Examples:
      circuit introspect attention -m tiny -p "The cat saw the dog and the cat" --plot heads.png
      circuit introspect attention -m tiny -p "50 + 25 = |31 + 4 = " --heads 0.0,5.3 --plot \
        patterns.png -o attention.json
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    layers: str = option("--layers", "-l", help=LAYERS, default="all")
    heads: str | None = option(
        "--heads",
        help="Heads whose patterns are kept and drawn, as layer.head: 3.0,-1.2.",
        default=None,
    )
    plot: Path | None = option(
        "--plot", help="Draw the patterns of --heads, or all scores (png, pdf, svg).", default=None
    )
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class AttentionResult(Result):
    """Scores of all heads; ``uniform`` are those of a head that attends to all tokens equally.

    ``patterns`` holds the chosen heads of each prompt.
    """

    model: str
    format: str
    n_groups: int
    prompts: list[str]
    tokens: list[list[str]]
    n_repeated: int
    scores: list[HeadScore]
    uniform: dict[str, float]
    patterns: list[list[Pattern]]


def plan(request: AttentionRequest) -> Plan[AttentionResult]:
    """Read the prompts and the heads."""
    check_picture(request.plot)
    heads = parse_numbers("head", request.heads)
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)

    def answer(model: "LoadedModel", _: Session) -> AttentionResult:
        layers = parse_layers(request.layers, range(model.n_layers), model.n_layers)
        seed = request.seed.seed
        return attention(model, given, layers=layers, heads=heads, form=form, seed=seed)

    return question(
        request,
        AttentionResult,
        schemas.ATTENTION,
        inputs=given.inputs,
        parameters=asked(request, prompts=given.texts, format=form.name),
        answer=answer,
        pictures={request.plot: draw_attention},
    )


def attention(
    model: "LoadedModel",
    given: PromptInput,
    *,
    layers: Sequence[int],
    heads: Sequence[tuple[int, int]] = (),
    form: PromptFormat = RAW,
    seed: int = 0,
) -> AttentionResult:
    """Score every head of ``layers`` on prompts and on repeats; keep the patterns of ``heads``.

    Raises ``ModelError`` for a model whose patterns cannot be read and ``UsageError`` for a head
    that is out of range.
    """
    encoded = [prompt.ids for prompt in encode(model, given.texts, form)]
    if all(len(ids) < 2 for ids in encoded):
        message = "an attention pattern needs a prompt of at least 2 tokens"
        raise DataError("prompts-too-short", message, hint="give a longer prompt")
    heads = [(from_first(layer, model.n_layers), head) for layer, head in heads]
    check_heads(model, heads)
    read = sorted({*layers, *(layer for layer, _ in heads)})
    own = [patterns(model, ids, read) for ids in encoded]
    repeated = repeated_tokens(model, seed)
    in_text = [name for name in SCORES if name not in ON_REPEATS]
    scores, even = scores_of(encoded, own, layers, in_text, seed)
    on_repeats = [patterns(model, ids, layers) for ids in repeated]
    more = scores_of(repeated, on_repeats, layers, ON_REPEATS, seed)
    return AttentionResult(
        model=model.id,
        format=form.name,
        n_groups=given.n_groups,
        prompts=given.texts,
        tokens=[[token_text(model, int(token)) for token in ids] for ids in encoded],
        n_repeated=len(repeated),
        scores=scores + more[0],
        uniform={**even, **more[1]},
        patterns=[
            [Pattern(layer=k, head=h, weights=found[k][:, h].tolist()) for k, h in heads]
            for found in own
        ],
    )


def draw_attention(result: AttentionResult, path: Path, *, force: bool = False) -> None:
    """Draw the patterns of the chosen heads for the first prompt, or all scores."""
    from circuit.plots.cells import Cells, Scale, cells
    from circuit.plots.tokens import axis_label

    if not result.patterns[0]:
        drawings = [_score_cells(result, name) for name in SCORES if name in result.uniform]
        own_scales = Scale("", signed=False, least=0, own=True)
        write_picture(path, cells(drawings, own_scales, across=3), force=force)
        return
    tokens = [axis_label(token) for token in result.tokens[0]]
    drawings = [
        Cells(
            f"Layer {each.layer}, head {each.head}",
            np.array(each.weights),
            tokens,
            tokens,
            xlabel="Key",
            ylabel="Query",
            upwards=False,
        )
        for each in result.patterns[0]
    ]
    n = len(result.prompts)
    title = f"Prompt 1 of {n}" if n > 1 else ""
    scale = Scale("attention", signed=False)
    figure = cells(drawings, scale, across=min(3, len(drawings)), title=title)
    write_picture(path, figure, force=force)


def _score_cells(result: AttentionResult, name: str) -> "Cells":
    from circuit.plots.cells import Cells

    own = [score for score in result.scores if score.score == name]
    layers = sorted({score.layer for score in own})
    matrix = np.full((len(layers), 1 + max(score.head for score in own)), np.nan)
    for score in own:
        matrix[layers.index(score.layer), score.head] = score.value
    heads = [str(h) for h in range(matrix.shape[1])]
    title = f"{name} / largest" if name == "entropy" else name
    return Cells(title, matrix, [str(layer) for layer in layers], heads, xlabel="Head")


def present(result: AttentionResult) -> Document:
    """Show of each kind of head those that are most of that kind."""
    about = (
        f"Attention of `{result.model}`: {counted(len(result.prompts))}, {result.format}; "
        f"duplicate and induction on {result.n_repeated} sequences of random tokens that occur "
        "twice"
    )
    tables = [_table(result, name) for name in ABOUT if name in result.uniform]
    parts: list[Part] = [Text([about]), *tables]
    if (first := result.patterns[0]) and len(result.prompts) > 1:
        names = ", ".join(f"L{each.layer}.H{each.head}" for each in first)
        parts.append(
            Text(
                [
                    f"Patterns of {names}: the file has those of every prompt, "
                    f"the picture those of {result.prompts[0]!r}."
                ]
            )
        )
    parts.append(Text(["A pattern says where a head looks, not what it moves."]))
    return Document("", [*parts, *few_groups(result.n_groups)])


def _table(result: AttentionResult, name: str) -> Table:
    own = [each for each in result.scores if each.score == name]
    return Table.of(
        sorted(own, key=lambda each: -each.value)[:TOP],
        {
            "head": lambda each: f"L{each.layer}.H{each.head}",
            "score": lambda each: Estimate.within(each.value, each.interval, ".3f"),
        },
        title=f"{name}: {ABOUT[name]} (even attention: {result.uniform[name]:.3f})",
    )


COMMAND = Command(request=AttentionRequest, plan=plan, present=present)
