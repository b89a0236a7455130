"""``circuit introspect analyze``: the logit lens, or a tuned lens, at the last token of prompts.

What a lens is, and what it does not say: ``circuit.introspect.lens.logit_lens``.
"""

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
from circuit.present.document import Document, Facts, Figure, Number, Part, Section, Share, Table
from circuit.stages.figures.picture_files import check_picture, write_picture
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions
from circuit.stages.rows.prompt_input import read_prompt_input
from circuit.stages.run import Command, Plan, Result, Session
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
    form, file, scale = given.form(request.prompts.chat), request.lens_file, request.embedding_scale

    def answer(model: "LoadedModel", _: Session) -> AnalyzeResult:
        lens = None if file is None else read_lens(file, model)
        found = analyze(model, given.texts, config, form=form, lens=lens, embedding_scale=scale)
        return AnalyzeResult(model=describe(model), format=form.name, analyses=found)

    return question(
        request,
        AnalyzeResult,
        schemas.LENS,
        inputs=[*given.inputs, *([] if file is None else [file])],
        parameters={
            **vars(config),
            "prompts": given.texts,
            "embedding_scale": scale,
            "lens": request.lens,
            "format": form.name,
        },
        answer=answer,
        pictures={request.plot: _draw},
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
    from circuit.introspect.lens.pictures import lens_figure

    write_picture(path, lens_figure(result.analyses), force=force)


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
        from circuit.introspect.lens.pictures import lens_figure
        from circuit.plots.style import render

        return render(lens_figure(result.analyses), "png")

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
        evolutions = [_evolution(each) for each in found.token_evolutions]
        parts.append(Section("Token Evolution", evolutions))
    return Section(f"Analyzing: {found.prompt!r}", parts)


def _final(predictions: list[TokenPrediction]) -> Table:
    return Table.of(
        predictions,
        {
            "token": lambda each: repr(each.token),
            "probability": lambda each: Share(each.probability, ".4f"),
        },
        title="Final Prediction",
    )


def _layers(layers: list[LayerPredictionResult]) -> Table:
    return Table.of(
        layers,
        {
            "layer": lambda each: f"Layer {each.layer_idx}",
            "token": lambda each: repr(each.top_token),
            "probability": lambda each: Number(each.top_probability, ".4f"),
            "entropy": lambda each: Number(each.entropy),
            "of the largest": lambda each: Number(each.normalized_entropy, ".2f"),
        },
        title="Logit Lens (top prediction at each layer)",
    )


def _transitions(steps: list[LayerTransition]) -> Table:
    largest = max(steps, key=lambda step: step.kl_divergence)
    return Table.of(
        steps,
        {
            "layers": lambda step: f"{step.from_layer} -> {step.to_layer}",
            "KL": lambda step: Number(step.kl_divergence),
            "JS": lambda step: Number(step.js_divergence),
        },
        title="Layer Transitions (nats)",
        note=f"Largest KL: {largest.from_layer} -> {largest.to_layer}",
    )


def _evolution(found: TokenEvolutionResult) -> Table:
    pieces, emerged = found.pieces, found.emergence_layer
    several = f" ({len(pieces)} tokens: {pieces}; the first is tracked)" if len(pieces) > 1 else ""
    if emerged is None:
        note = "  --> Not top-1 at any layer that was read"
    else:
        note = f"  --> Becomes top-1 at layer {emerged}"
    return Table.of(
        found.layer_probabilities,
        {
            "layer": lambda layer: f"Layer {layer}",
            "probability": lambda layer: Share(found.layer_probabilities[layer], ".4f"),
            "rank": lambda layer: found.layer_ranks[layer],
        },
        title=f"Token {found.token!r}{several}",
        note=note,
    )


COMMAND = Command(request=AnalyzeRequest, plan=plan, present=present, result=AnalyzeResult)
