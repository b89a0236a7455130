"""``circuit introspect compare``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Prompt,
    Raw,
    RemoteCode,
    Revision,
    SaveJson,
)


def command(
    model1: Annotated[
        str, typer.Option("--model1", "-m1", help="Hub id, checkpoint folder, or tiny.")
    ],
    prompt: Prompt,
    model2: Annotated[
        str | None,
        typer.Option("--model2", "-m2", help="The other [default: the first, with --adapter]."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Tokens to show of each.")] = 5,
    track: Annotated[
        list[str] | None,
        typer.Option("--track", "-t", help="Say what both make of this token; repeatable."),
    ] = None,
    raw: Raw = None,
    output: SaveJson = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare what two models would say, where in depth they come to it, and the rank of each other's answer.

    --adapter belongs to the second model. They are loaded one after the other.

    \b
    Examples:
      circuit introspect compare -m1 tiny -m2 tiny -p "The capital of France is" --top-k 3
      circuit introspect compare -m1 tiny -m2 tiny -p "50 + 25 = |50 + 25 =" -t 7 --json
    """
    from circuit.cli.comparison_text import comparison_text
    from circuit.introspect.compare.two_models import two_models
    from circuit.introspect.inputs.choices import check_tracked
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.compare import compare
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    check_tracked(track or [])
    given = read_prompt_input(prompt)
    first = ModelOptions(model1, revision, None, dtype, trust_remote_code)
    options = two_models(first, model2, adapter, option="-m2")
    asked = {"prompts": given.texts, "top_k": top_k, "track": track or []}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "comparison")], asked, **files)
    console.note(f"Loading models: {options[0].id}, {options[1].id}")
    found = compare(options, given, top_k=top_k, track=track or [], raw=raw)
    results: dict[str, Any] = found.as_dict()
    if output is not None:
        parameters = {
            **asked,
            "models": [each["name"] for each in results["models"]],
            "format": found.format,
        }
        save(output, "comparison", results, parameters=parameters, **files)
    console.result(results, comparison_text(results), as_json=as_json)
