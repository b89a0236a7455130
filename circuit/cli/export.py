"""``circuit export``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json


def export(
    file: Annotated[Path, typer.Argument(help="Steering file, of circuit or another program.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="gguf, npz, json, svec, steering-lite or saklas [default: as -o ends].",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="One direction of the file [default: the recommended one]."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            help="all | 0,4,8 | 8-13 | -1 | every:4 | 50% [default: all that the format takes].",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            help="Length of the vectors: natural (distance of the class means), unit, or a number [default: natural].",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write directions for other programs, or for circuit in another format.

    A GGUF control vector is what llama.cpp and repeng take. circuit reads every format that it writes, and
    what it wrote comes back to the bit.

    \b
    Examples:
      circuit export directions.safetensors -o tool.gguf
      circuit export directions.safetensors -o tool.safetensors --format steering-lite --layers 2-4 --scale unit
      circuit export directions.safetensors -o tool.npz --layer 3
    """
    from circuit.stages.exchange.export import Request, export_directions

    request = Request(name, layers, format_, scale)
    results = export_directions(file, output, request, force=force, note=console.note)
    blocks = ("blocks " if results["blocks"][1:] else "block ") + ", ".join(
        map(str, results["blocks"])
    )
    lines = [
        f"Exported: {results['name']} (d = {results['d']}), after {blocks}",
        f"  Format: {results['format']}; {results['convention']}",
        f"  Length: {_length(results)}",
        f"  Saved to: {output}",
    ]
    if results["commands"]:
        now, before = results["commands"]
        lines += ["", "llama.cpp:", f"  {now}", "its older builds:", f"  {before}"]
    console.result(results, "\n".join(lines), as_json=as_json)


def _length(results: dict[str, Any]) -> str:
    if results["length"] != "natural":
        return f"{results['length']:g}"
    low, high = min(results["lengths"]), max(results["lengths"])
    return f"natural, {low:.4g}" if low == high else f"natural, {low:.4g} to {high:.4g}"
