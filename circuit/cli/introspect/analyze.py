"""``circuit introspect analyze``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Model,
    Prompt,
    Raw,
    RemoteCode,
    Revision,
    SaveJson,
    picture,
)


def command(
    model: Model,
    prompt: Prompt,
    all_layers: Annotated[bool, typer.Option("--all-layers", help="Look at every layer.")] = False,
    layer_step: Annotated[
        int | None,
        typer.Option("--layer-step", "-s", min=1, help="Look at every Nth layer [default: 4]."),
    ] = None,
    layer_strategy: Annotated[
        str | None,
        typer.Option(
            "--layer-strategy", help="all, evenly_spaced, first_last or custom (--layers)."
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Look at these: all | 0,4,8 | 8-13 | -1 | 50%.")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option("--track", "-t", help="Follow this token through the layers; repeatable."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Tokens to show of each.")] = 5,
    embedding_scale: Annotated[
        float | None,
        typer.Option(
            "--embedding-scale", help="Scale embeddings so, instead of as the model does."
        ),
    ] = None,
    lens: Annotated[
        str, typer.Option("--lens", help="logit, or tuned with the file of tune-lens.")
    ] = "logit",
    lens_file: Annotated[
        Path | None, typer.Option("--lens-file", help="A lens that tune-lens made for this model.")
    ] = None,
    raw: Raw = None,
    output: SaveJson = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            callback=picture,
            help="Draw probabilities and entropy by layer (png, pdf, svg).",
        ),
    ] = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Logit lens: what the model would say if it stopped after each block.

    An early layer writes in another basis than the last one reads, so an early reading is not
    what the block "thinks".

    \b
    Examples:
      circuit introspect analyze -m tiny -p "The capital of France is" --all-layers
      circuit introspect analyze -m tiny -p "2 + 2 =" -t " 4" -t "4" --layers 0,3,-1 -o lens.json
    """
    from circuit.cli.lens_text import analysis_text
    from circuit.introspect.inputs.choices import STEP, check_tracked, strategy_of
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.analyze import AnalysisConfig, analyze, describe
    from circuit.introspect.questions.tune_lens import check_lens_options, read_lens
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    check_lens_options(lens, lens_file)
    strategy = strategy_of(layer_strategy, all_layers=all_layers, layers=layers, step=layer_step)
    check_tracked(track or [])
    given = read_prompt_input(prompt)
    config = AnalysisConfig(
        strategy, STEP if layer_step is None else layer_step, layers, top_k, track or []
    )
    asked = {
        **config.as_dict(),
        "prompts": given.texts,
        "embedding_scale": embedding_scale,
        "lens": lens,
    }
    inputs = [*given.inputs, *([lens_file] if lens_file else [])]
    refuse_existing([(output, "lens")], asked, inputs=inputs, others=[plot], force=force)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = given.form(None if raw is None else not raw)
    found = analyze(
        loaded,
        given.texts,
        config,
        form=form,
        lens=None if lens_file is None else read_lens(lens_file, loaded),
        embedding_scale=embedding_scale,
    )
    results: dict[str, Any] = {
        "model": describe(loaded),
        "format": form.name,
        "analyses": [each.as_dict() for each in found],
    }
    if output is not None:
        parameters = {**asked, "format": form.name}
        files: dict[str, Any] = {"inputs": inputs, "force": force}
        save(output, "lens", results, parameters=parameters, model=loaded, **files)
    if plot is not None:
        from circuit.introspect.output.pictures import draw_analyses

        draw_analyses(found, plot, force=force)
    console.result(results, analysis_text(results), as_json=as_json)
