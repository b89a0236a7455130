"""``circuit visualize``."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.archive_options import Folds, Position, Site
from circuit.cli.options import Force, Json, Seed
from circuit.errors import UsageError

OneLayer = Annotated[
    str | None,
    typer.Option(
        "--layers",
        "--layer",
        help="Layers of the PCA and UMAP pictures.",
        show_default="the directions' best layer, else the last",
    ),
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the pictures and their numbers.")
]
Pca = Annotated[bool, typer.Option("--pca", help="Principal components and spectrum.")]
Umap = Annotated[bool, typer.Option("--umap", help="UMAP by label and category.")]
Probes = Annotated[
    bool, typer.Option("--probes", help="Held-out probe scores along the layers, and CKA.")
]
Directions = Annotated[bool, typer.Option("--directions", help="Quality, projections and cosines.")]
Everything = Annotated[bool, typer.Option("--all", help="All of these, as when none is named.")]
Analysis = Annotated[
    Path | None,
    typer.Option("--analysis", help="Results of analyze.", show_default="analysis.json beside -a"),
]
DirectionFile = Annotated[
    Path | None,
    typer.Option(
        "--direction-file",
        help="Directions to draw.",
        show_default="directions.safetensors beside -a",
    ),
]
Threshold = Annotated[float, typer.Option("--threshold", help="Line in the plot of the probes.")]


def visualize(
    output: Folder,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", "-a", help="Archive of activations, from collect."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="What probes run or steer wrote, instead of an archive."),
    ] = None,
    layers: OneLayer = None,
    pca: Pca = False,
    umap: Umap = False,
    probes: Probes = False,
    directions: Directions = False,
    everything: Everything = False,
    analysis: Analysis = None,
    direction_file: DirectionFile = None,
    site: Site = None,
    position: Position = None,
    folds: Folds = 5,
    threshold: Threshold = 0.75,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw what analyze and directions found, each picture with its numbers in JSON beside it.

    With --report, draw a battery of probes: the stratigraphy, and a panel for each probe; or what steering did: the share of answers that
    meet the criterion at each strength, beside random directions.

    \b
    Examples:
      circuit visualize -a activations.safetensors -o pictures
      circuit visualize -a activations.safetensors -o layers --pca --layer 0,-1
      circuit visualize --report report.json -o battery_pictures
      circuit visualize --report trial.json -o steering_pictures
    """
    from circuit.stages.figures.visualize import KINDS, Choices
    from circuit.stages.figures.visualize import visualize as run

    if (activations is None) == (report is None):
        message = "visualize draws either an archive or a report"
        raise UsageError(message, hint="give -a ACTIVATIONS or --report REPORT")
    if report is not None:
        from circuit.stages.figures.reports import visualize_report

        results, reused = visualize_report(report, output, force=force)
    elif activations is not None:
        asked = dict(zip(KINDS, (pca, umap, probes, directions), strict=True))
        chosen = tuple(kind for kind in KINDS if asked[kind])
        kinds = KINDS if everything or not chosen else chosen
        results, reused = run(
            activations,
            output,
            Choices(kinds, layers, site, position, folds, seed, threshold),
            analysis=analysis,
            direction_file=direction_file,
            force=force,
            note=console.note,
            track=console.track,
        )
    if reused:
        console.note("these pictures are there already (--force draws them again)")
    lines = [f"  {figure['file']}" for figure in results["figures"]]
    text = "\n".join([f"Visualizations saved to: {output}", *lines])
    console.result({"output": str(output), **results}, text, as_json=as_json)
