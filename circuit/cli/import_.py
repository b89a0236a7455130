"""``circuit import``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json, Revision, Stem


def import_(
    file: Annotated[Path, typer.Argument(help="Steering file of another program.")],
    output: Stem,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The model that it is for: its width and depth must fit."
        ),
    ] = None,
    model_id: Annotated[
        str | None, typer.Option("--model-id", help="The model's id, when it is not at hand.")
    ] = None,
    layer_offset: Annotated[
        int, typer.Option("--layer-offset", help="Added to the layers' numbers in the file.")
    ] = 0,
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take over a steering file of another program as an archive with a manifest.

    GGUF control vectors, npz, json, .svec, and the safetensors of steering-lite and saklas; pickles are never
    loaded. `circuit steer -d` takes the same files without this. Here the model is checked (its weights are not
    read), and where the vectors come from is written down.

    \b
    Examples:
      circuit import computation.gguf -o control -m tiny
      circuit import computation.npz -o pair --model-id tiny
    """
    from circuit.stages.exchange.import_ import Request, import_directions

    request = Request(model, revision, model_id, layer_offset)
    results, reused = import_directions(file, output, request, force=force, note=console.note)
    if reused:
        console.note("this import is there already (--force repeats it)")
    saved = output.with_name(output.name.removesuffix(".safetensors") + ".safetensors")
    text = "\n".join([*_lines(results), f"  Saved to: {saved}"])
    console.result({**results, "output": str(saved)}, text, as_json=as_json)


def _lines(results: dict[str, Any]) -> list[str]:
    found, model = results["directions"], results["model"] or {}
    names = ", ".join(dict.fromkeys(each["name"] for each in found))
    layers = "; ".join(
        f"{site} {', '.join(str(each['layer']) for each in found if each['site'] == site)}"
        for site in dict.fromkeys(each["site"] for each in found)
    )
    about = [
        f"{model[key]} {word}"
        for key, word in (("n_layers", "layers"), ("d_model", "wide"))
        if key in model
    ]
    said = f" ({', '.join(about)})" if about else ""
    return [
        f"Imported: {names} (d = {results['d']}) at {layers}",
        f"  Format: {results['format']}; {results['convention']}",
        f"  Model: {model.get('id', 'unknown')}{said}",
    ]
