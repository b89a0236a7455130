"""``circuit directions``: without a verb it fits; the verbs read what was fitted."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console, directions_verbs
from circuit.cli.archive_options import Archive, Folds, Labels, Layers, Position, Site
from circuit.cli.directions_text import directions_text
from circuit.cli.options import Force, Json, Seed, Stem
from circuit.cli.verbs import WorksWithoutAVerb
from circuit.errors import UsageError

app = typer.Typer(cls=WorksWithoutAVerb, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def directions(
    ctx: typer.Context,
    activations: Archive,
    output: Stem,
    layers: Layers = "all",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="mean_diff, pca, lda, logistic, mean_centered, single; controls: random, random_within, shuffled.",
        ),
    ] = "mean_diff",
    per_category: Annotated[
        bool, typer.Option("--per-category", help="Also each category against the others.")
    ] = False,
    per_tool: Annotated[
        bool, typer.Option("--per-tool", help="Also each tool against the other tools.")
    ] = False,
    positive: Annotated[
        str | None, typer.Option("--positive", help="Label to point to [default: the second].")
    ] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", help="Label to point from [default: the others].")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus",
            help="Archive of prompts in general, for mean_centered [default: those in neither class].",
        ),
    ] = None,
    labels: Labels = "prompts",
    site: Site = None,
    position: Position = None,
    folds: Folds = 5,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit the direction between two labels at each layer and score it on held-out prompts.

    Every score is cross-fitted: the direction that scores a prompt was fitted without its group
    (template). The layer marked * is the best; its score as a choice is nested.

    \b
    Examples:
      circuit directions -a activations.safetensors -o directions
      circuit directions -a activations.safetensors -o tools --layer 50% --per-tool --method lda
      circuit directions -a activations.safetensors -o centered --layer 50% --method mean_centered
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    from circuit.stages.directions.run import Choices
    from circuit.stages.directions.run import directions as run

    contrasts = (layers, method, per_category, per_tool, positive, negative)
    choices = Choices(*contrasts, site, position, folds, seed, labels=labels, corpus=corpus)
    results, reused = run(
        activations, output, choices, force=force, note=console.note, track=console.track
    )
    if reused:
        console.note("this run is there already: nothing was fitted again (--force repeats it)")
    saved = output.with_name(output.name.removesuffix(".safetensors") + ".safetensors")
    console.result(results, f"{directions_text(results)}\n\nSaved to: {saved}", as_json=as_json)


def _refuse_options(ctx: typer.Context) -> None:
    if ctx.params.get("activations") is not None:
        message = f"the options of fitting stand before `{ctx.invoked_subcommand}`"
        raise UsageError(message, hint=f"circuit directions {ctx.invoked_subcommand} --help")


app.command()(directions_verbs.compare)
app.command()(directions_verbs.show)
app.command()(directions_verbs.transfer)
