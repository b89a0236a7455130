"""``circuit introspect analyze``: the logit lens, or a tuned lens, at the last token of prompts.

What a lens is, and what it does not say: ``circuit.introspect.lens.logit_lens``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.introspect.inputs.choices import STEP, check_tracked, strategy_of
from circuit.introspect.inputs.model_description import ModelDescription, describe
from circuit.introspect.lens.logit_lens import (
    AnalysisConfig,
    AnalysisResult,
    LayerPredictionResult,
    LayerTransition,
    TokenEvolutionResult,
    TokenPrediction,
    analyze,
)
from circuit.introspect.lens.tuned_lens import check_lens_options, read_lens
from circuit.introspect.plans import question
from circuit.present.document import (
    Cell,
    Document,
    Facts,
    Figure,
    Number,
    Part,
    Section,
    Share,
    Table,
)
from circuit.stages.figures.picture_files import check_picture
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompt_input import read_prompt_input
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class AnalyzeRequest:
    """Logit lens: what the model would predict if it stopped after each block.

    An early layer writes in another basis than the last one reads, so an early reading is not
    what the block "thinks".

    Examples:
      circuit introspect analyze -m tiny -p "The capital of France is" --all-layers
      circuit introspect analyze -m tiny -p "2 + 2 =" -t " 4" -t "4" --layers 0,3,-1 -o lens.json
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    all_layers: bool = option("--all-layers", help="Read every layer.", default=False)
    layer_step: int | None = option(
        "--layer-step",
        "-s",
        help="Read every Nth layer.",
        default=None,
        minimum=1,
        shown_default=str(STEP),
    )
    layer_strategy: str | None = option(
        "--layer-strategy",
        help="all, evenly_spaced, first_last or custom (--layers).",
        default=None,
    )
    layers: str | None = option(
        "--layers", help="Read these layers: all | 0,4,8 | 8-13 | -1 | 50%.", default=None
    )
    track: list[str] | None = option(
        "--track", "-t", help="Track this token through the layers; repeatable.", default=None
    )
    top_k: int = option("--top-k", help="Tokens to show per layer.", default=5, minimum=1)
    embedding_scale: float | None = option(
        "--embedding-scale",
        help="Factor on the token embeddings.",
        default=None,
        shown_default="the model's own",
    )
    lens: str = option(
        "--lens", help="logit, or tuned with the file of tune-lens.", default="logit"
    )
    lens_file: Path | None = option(
        "--lens-file", help="A lens that tune-lens made for this model.", default=None
    )
    plot: Path | None = option(
        "--plot", help="Draw probabilities and entropy by layer (png, pdf, svg).", default=None
    )
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class AnalyzeResult(Result):
    """The model and the lens on every prompt."""

    model: ModelDescription
    format: str
    analyses: list[AnalysisResult]


def plan(request: AnalyzeRequest) -> Plan[AnalyzeResult]:
    """Check the lens, the layers and the tracked texts."""
    check_lens_options(request.lens, request.lens_file)
    check_picture(request.plot)
    config = _config(request)
    check_tracked(config.track_tokens)
    given = read_prompt_input(request.prompts.prompts)
    form = given.form(request.prompts.chat)
    parameters = {
        **vars(config),
        "prompts": given.texts,
        "embedding_scale": request.embedding_scale,
        "lens": request.lens,
        "format": form.name,
    }

    def answer(model: "LoadedModel") -> AnalyzeResult:
        lens = None if request.lens_file is None else read_lens(request.lens_file, model)
        scale = request.embedding_scale
        found = analyze(model, given.texts, config, form=form, lens=lens, embedding_scale=scale)
        return AnalyzeResult(model=describe(model), format=form.name, analyses=found)

    return question(
        request,
        AnalyzeResult,
        schemas.LENS,
        inputs=[*given.inputs, *([request.lens_file] if request.lens_file else [])],
        parameters=parameters,
        answer=answer,
        pictures={request.plot: _draw} if request.plot else {},
    )


def _config(request: AnalyzeRequest) -> AnalysisConfig:
    strategy = strategy_of(
        request.layer_strategy,
        all_layers=request.all_layers,
        layers=request.layers,
        step=request.layer_step,
    )
    return AnalysisConfig(
        layer_strategy=strategy,
        layer_step=STEP if request.layer_step is None else request.layer_step,
        custom_layers=request.layers,
        top_k=request.top_k,
        track_tokens=request.track or [],
    )


def _draw(result: AnalyzeResult, path: Path, *, force: bool = False) -> None:
    from circuit.introspect.lens.pictures import draw_analyses

    draw_analyses(result.analyses, path, force=force)


def present(result: AnalyzeResult) -> Document:
    """Show the model, the lens by layer of all prompts as a figure, and each prompt in numbers."""
    about = result.model
    facts = Facts(
        [
            ("Model", about.id),
            ("  Family", about.family),
            ("  Layers", about.n_layers),
            ("  Hidden size", about.d_model),
            ("  Vocab size", about.vocab_size),
            ("  Tied embeddings", str(about.tied_embeddings)),
        ]
    )
    return Document("", [facts, _figure(result), *map(_section, result.analyses)])


def _figure(result: AnalyzeResult) -> Figure:
    def png() -> bytes:
        from circuit.introspect.lens.pictures import lens_png

        return lens_png(result.analyses)

    caption = (
        "Probability and entropy at the last token by layer; "
        "of several prompts the median, with the quartiles as a band."
    )
    return Figure(name="lens", png=png, caption=caption)


def _section(found: AnalysisResult) -> Section:
    tokens = f"{found.tokens}"
    parts: list[Part] = [
        Facts(
            [
                (f"Tokens ({len(found.tokens)})", tokens),
                ("Captured layers", str(found.captured_layers)),
            ]
        ),
        _final(found.final_prediction),
        _layers(found.layer_predictions),
    ]
    if found.layer_transitions:
        parts.append(_transitions(found.layer_transitions))
    decision = "none" if found.decision_layer is None else found.decision_layer
    parts.append(Facts([("Decision layer", decision)]))
    if found.token_evolutions:
        evolutions = [part for each in found.token_evolutions for part in _evolution(each)]
        parts.append(Section("Token Evolution", evolutions))
    return Section(f"Analyzing: {found.prompt!r}", parts)


def _final(predictions: list[TokenPrediction]) -> Table:
    rows: list[list[Cell]] = [
        [repr(each.token), Share(each.probability, ".4f")] for each in predictions
    ]
    return Table(title="Final Prediction", header=["token", "probability"], rows=rows)


def _layers(layers: list[LayerPredictionResult]) -> Table:
    rows: list[list[Cell]] = [
        [
            f"Layer {each.layer_idx}",
            repr(each.top_token),
            Number(each.top_probability, ".4f"),
            Number(each.entropy),
            Number(each.normalized_entropy, ".2f"),
        ]
        for each in layers
    ]
    return Table(
        title="Logit Lens (top prediction at each layer)",
        header=["layer", "token", "probability", "entropy", "of the largest"],
        rows=rows,
    )


def _transitions(steps: list[LayerTransition]) -> Table:
    largest = max(steps, key=lambda step: step.kl_divergence)
    rows: list[list[Cell]] = [
        [f"{s.from_layer} -> {s.to_layer}", Number(s.kl_divergence), Number(s.js_divergence)]
        for s in steps
    ]
    return Table(
        title="Layer Transitions (nats)",
        header=["layers", "KL", "JS"],
        rows=rows,
        note=f"Largest KL: {largest.from_layer} -> {largest.to_layer}",
    )


def _evolution(found: TokenEvolutionResult) -> Iterator[Part]:
    pieces = found.pieces
    several = f" ({len(pieces)} tokens: {pieces}; the first is tracked)" if len(pieces) > 1 else ""
    rows: list[list[Cell]] = [
        [f"Layer {layer}", Share(p, ".4f"), found.layer_ranks[layer]]
        for layer, p in found.layer_probabilities.items()
    ]
    emerged = found.emergence_layer
    yield Table(
        title=f"Token {found.token!r}{several}",
        header=["layer", "probability", "rank"],
        rows=rows,
        note="  --> Not top-1 at any layer that was read"
        if emerged is None
        else f"  --> Becomes top-1 at layer {emerged}",
    )


COMMAND = Command(
    request=AnalyzeRequest,
    plan=plan,
    present=present,
    result=AnalyzeResult,
)
