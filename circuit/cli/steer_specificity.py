"""``circuit steer specificity``: does a direction move what it is for, and nothing else?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Adapter, Dtype, Force, Json, Model, RemoteCode, Revision
from circuit.cli.steer_table import named_sweeps
from circuit.cli.sweep_options import Output


def specificity(
    sweeps: Annotated[
        list[str], typer.Argument(help="What `steer sweep -o` wrote, or NAME=FILE for each.")
    ],
    model: Model,
    output: Output = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run the direction of every sweep on the test prompts and read-out of every other.

    \b
    Examples:
      circuit steer specificity -m tiny one=sweep.json same=sweep.json -o specificity.json
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.sweep.specificity import specificity as run

    files: dict[str, Path] = named_sweeps(sweeps)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    results, reused = run(loaded, files, out=output, force=force, track=console.track)
    if reused:
        console.note("this run is there already (--force repeats it)")
    console.result(results, specificity_text(results), as_json=as_json)


def specificity_text(results: dict[str, Any]) -> str:
    """Lay out slopes, and each as a share of the column's own."""
    names = results["names"]
    rows = []
    for name, slopes, shares in zip(names, results["slopes"], results["share"], strict=True):
        cells = [
            f"{slope[0]:+.2f} ({'n/a' if share is None else f'{share:.0%}'})"
            for slope, share in zip(slopes, shares, strict=True)
        ]
        rows.append([name, *cells])
    return "\n".join(
        [
            "Slope of each read-out (column) on the dose of each direction (row); in brackets, as a share of the column's own direction",
            "",
            console.table(["direction", *names], rows),
        ]
    )
