"""``circuit analyze``."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.analysis_text import analysis_text
from circuit.cli.archive_options import Archive, Folds, Labels, Layers, Position, Site
from circuit.cli.options import Force, Json, Seed


def analyze(
    activations: Archive,
    layers: Layers = "all",
    labels: Labels = "prompts",
    site: Site = None,
    position: Position = None,
    umap: Annotated[
        bool, typer.Option("--umap", help="Also lay the prompts out by UMAP; kept in the output.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare", help="Archive of the same prompts: what moved, what still reads."
        ),
    ] = None,
    folds: Folds = 5,
    threshold: Annotated[
        float, typer.Option("--threshold", help="AUROC whose first crossing is reported.")
    ] = 0.75,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write everything to this JSON file.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure each layer: its geometry, and what a probe reads from it on held-out prompts.

    Probes are cross-validated with whole groups (templates) held out. Intervals are 95 % and
    count groups, not prompts. A star: the interval is above 0.5, and the p of a permutation test
    with all layers is at most 0.05.

    \b
    Examples:
      circuit analyze -a activations.safetensors
      circuit analyze -a activations.safetensors --layers 0,-1 --umap -o layers.json
      circuit analyze -a activations.safetensors --compare activations.safetensors --layer -1
    """
    from circuit.stages.analyze.run import analyze as run

    results, reused = run(
        activations,
        output,
        layers=layers,
        site=site,
        position=position,
        umap=umap,
        folds=folds,
        seed=seed,
        threshold=threshold,
        labels=labels,
        other=compare,
        force=force,
        note=console.note,
        track=console.track,
    )
    if reused:
        console.note("this run is there already: nothing was computed again (--force repeats it)")
    text = analysis_text(results) + (f"\n\nSaved to: {output}" if output else "")
    console.result(results, text, as_json=as_json)
