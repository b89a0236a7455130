"""``circuit introspect directions``: ``circuit directions compare``, with a threshold and a file."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json, SaveJson


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Steering files: .safetensors, .npz or .json.")
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="|cosine| up to which a pair is orthogonal [default: what chance gives].",
        ),
    ] = None,
    output: SaveJson = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Count which directions are orthogonal, correlated or aligned, at each site and layer.

    \b
    Examples:
      circuit introspect directions directions.safetensors computation.npz
      circuit introspect directions directions.safetensors computation.npz --threshold 0.1 -o cosines.json
    """
    from circuit.cli.directions_verbs_text import compared_text, tally_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.stages.directions.compare import compare_directions

    parameters = {"threshold": threshold}
    refuse_existing([(output, "cosines")], parameters, inputs=files, force=force)
    results = compare_directions(files, threshold)
    if output is not None:
        save(output, "cosines", results, parameters=parameters, inputs=files, force=force)
    console.result(results, f"{compared_text(results)}\n\n{tally_text(results)}", as_json=as_json)
