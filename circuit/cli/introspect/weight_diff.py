"""``circuit introspect weight-diff``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import Force, Json, Revision, SaveJson


def command(
    base: Annotated[str, typer.Option("--base", "-b", help="Hub id, checkpoint folder, or tiny.")],
    finetuned: Annotated[
        str, typer.Option("--finetuned", "-f", help="The checkpoint that was made from it.")
    ],
    spectrum: Annotated[
        int, typer.Option("--spectrum", min=0, help="Singular values to keep; 0 computes none.")
    ] = 5,
    largest_svd: Annotated[
        int,
        typer.Option(
            "--largest-svd", min=1, help="No spectrum of matrices whose shorter side is longer."
        ),
    ] = 1024,
    top: Annotated[int, typer.Option("--top", min=1, help="Tensors to show.")] = 10,
    output: SaveJson = None,
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """See which weights fine-tuning changed, how much, and along how many directions.

    Both checkpoints are read from the disk tensor by tensor; neither model is loaded.

    \b
    Examples:
      circuit introspect weight-diff -b tiny -f tiny
      circuit introspect weight-diff -b tiny -f tiny --spectrum 0 -o weights.json
    """
    from circuit.cli.weight_diff_text import weight_diff_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.weight_diff import weight_diff

    asked = {"base": base, "finetuned": finetuned, "revision": revision}
    parameters = {**asked, "spectrum": spectrum, "largest_svd": largest_svd}
    refuse_existing([(output, "weight-diff")], parameters, force=force)
    found = weight_diff(
        base,
        finetuned,
        revision=revision,
        top=spectrum,
        largest_svd=largest_svd,
        track=console.track,
    )
    results: dict[str, Any] = found.as_dict()
    if output is not None:
        save(output, "weight-diff", results, parameters=parameters, force=force)
    console.result(results, weight_diff_text(results, top=top), as_json=as_json)
