"""``circuit report``."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Artifacts of probes run, analyze, directions, steer and visualize, or folders of them."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page: one HTML file.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Join the artifacts of a run in one page: what was found, how sure that is, and where it comes from.

    The page loads nothing from anywhere, so it can be sent, kept and read on a phone. Of a folder, every
    artifact in it is shown, and the pictures of visualize in the folders below it.

    \b
    Examples:
      circuit report . -o run.html
      circuit report analysis.json directions.json -o layers.html --json
    """
    from circuit.stages.report.report import report as run

    results = run(paths, output, force=force)
    words = Counter(found["word"] for found in results["findings"])
    for warning in results["warnings"]:
        console.note(f"warning: {warning}")
    lines = [f"  {n} {word}" for word, n in words.items()]
    text = "\n".join([f"Findings: {words.total()}", *lines, "", f"Saved to: {output}"])
    console.result({"output": str(output), **results}, text, as_json=as_json)
