"""``circuit directions compare``, ``show`` and ``transfer``: what was fitted, read again."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.archive_options import Archive, Layers, Position
from circuit.cli.directions_verbs_text import compared_text, shown_text, transferred_text
from circuit.cli.options import Adapter, AllowOtherModel, Dtype, Json, RemoteCode, Revision, Seed
from circuit.errors import UsageError

Name = Annotated[str | None, typer.Option("--name", help="One direction of the file.")]


def compare(
    files: Annotated[
        list[Path], typer.Argument(help="Steering files, of circuit or another program.")
    ],
    as_json: Json = False,
) -> None:
    """Show the cosines of all directions at the same site and layer, beside what chance gives.

    Directions fitted to the same activations share their strong axes, and are by that alone
    farther from orthogonal than random ones.

    \b
    Examples:
      circuit directions compare directions.safetensors computation.npz
      circuit directions compare directions.safetensors computation.npz --json
    """
    from circuit.stages.directions.compare import compare_directions

    results = compare_directions(files)
    console.result(results, compared_text(results), as_json=as_json)


def show(
    file: Annotated[Path, typer.Argument(help="Steering file.")],
    name: Name = None,
    layers: Layers = "all",
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Tokens that one direction promotes (with --model).")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Hub id, checkpoint folder, or tiny.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Tokens on each side.")] = 10,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", "-p", help="a|b or @lines.txt: where to look [default: eight short texts]."
        ),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    as_json: Json = False,
) -> None:
    """Say what a steering file holds: directions, their quality, and where they came from.

    With --tokens, the direct effect on the logits of a step along the direction, at real residuals
    and through the model's own final norm and head.

    \b
    Examples:
      circuit directions show directions.safetensors
      circuit directions show computation.npz
      circuit directions show directions.safetensors --layer -1 --tokens -m tiny --top 5
    """
    from circuit.stages.directions.show import show_directions

    if tokens != (model is not None):
        message = "--tokens needs --model" if tokens else "--model has no use without --tokens"
        raise UsageError(message, hint="circuit directions show FILE --tokens -m MODEL")
    results, chosen = show_directions(file, name=name, layers=layers)
    if model is not None:
        from circuit.stages.directions.tokens import promoted_tokens, the_one, token_prompts
        from circuit.stages.legacy import ModelOptions

        direction, texts = the_one(chosen), token_prompts(prompt)
        loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
        results["tokens"] = promoted_tokens(
            loaded,
            direction,
            prompts=texts,
            top=top,
            seed=seed,
            allow_other_model=allow_other_model,
        )
    console.result(results, shown_text(results), as_json=as_json)


def transfer(
    directions: Annotated[
        Path, typer.Option("--direction", "-d", help="Steering file, fitted elsewhere.")
    ],
    activations: Archive,
    name: Name = None,
    layers: Layers = "all",
    positive: Annotated[
        str | None,
        typer.Option("--positive", help="Label to point to [default: the direction's own]."),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option("--negative", help="Label to point from [default: the direction's own]."),
    ] = None,
    position: Position = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score directions that were fitted to one archive on the labels of another.

    Prompts that share a text or a group with those of the fit are left out and counted.

    \b
    Examples:
      circuit directions transfer -d computation.npz -a activations.safetensors --positive tool --negative no_tool
    """
    from circuit.stages.directions.transfer import Request, transfer_directions

    request = Request(name, layers, positive, negative, position, seed)
    results = transfer_directions(directions, activations, request, note=console.note)
    console.result(results, transferred_text(results), as_json=as_json)
