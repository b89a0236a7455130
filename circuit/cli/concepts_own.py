"""``circuit concepts create`` and ``remove``: concepts of one's own texts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.concepts_text import built_text
from circuit.cli.options import Adapter, Dtype, Force, Json, RemoteCode, Revision


def create(
    name: Annotated[str, typer.Argument(help="What to call the concept.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Also build its vectors for this model.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", help="Prompt set of two labels, or YAML with positive, neutral."),
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option("--positive", help="A text that has it; again for more.")
    ] = None,
    neutral: Annotated[
        list[str] | None, typer.Option("--neutral", help="A neutral text; again for more.")
    ] = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a concept of your own texts and keep it in the library.

    From 8 pairs on its vector has a held-out score, from 16 on a quarter is held out for `scan`.

    \b
    Examples:
      circuit concepts create rainy --positive "It rained all day." --neutral "It was a day." --force
      circuit concepts create rainy -m tiny --positive "It rained all day." --neutral "It was a day." --force
    """
    from circuit.stages.concepts.library import build, create

    results = create(name, texts, positive or [], neutral or [], force=force)
    lines = [f"Concept `{name}`: {results['n']} texts", f"Saved to: {results['file']}"]
    if model is not None:
        loaded = load(model, revision, adapter, dtype, trust_remote_code)
        built, _ = build(loaded, [name], track=console.track)
        results, lines = {**results, **built}, [*lines, "", built_text(built)]
    console.result(results, "\n".join(lines), as_json=as_json)


def remove(
    name: Annotated[str, typer.Argument(help="A concept of your own.")], as_json: Json = False
) -> None:
    """Remove a concept of your own, and its vectors, from the library.

    \b
    Examples:
      circuit concepts remove mine
    """
    from circuit.stages.concepts.library import remove

    path = remove(name)
    console.result({"removed": str(path)}, f"Removed: {path}", as_json=as_json)


def load(
    model: str, revision: str | None, adapter: Path | None, dtype: str, trust_remote_code: bool
) -> Any:
    """Load a model and say so."""
    from circuit.stages.legacy import ModelOptions

    console.note(f"Loading model: {model}")
    return ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
