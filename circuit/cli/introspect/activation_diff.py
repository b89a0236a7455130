"""``circuit introspect activation-diff``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Prompts,
    Raw,
    RemoteCode,
    Revision,
    SaveJson,
)


def command(
    base: Annotated[str, typer.Option("--base", "-b", help="Hub id, checkpoint folder, or tiny.")],
    prompts: Prompts,
    finetuned: Annotated[
        str | None,
        typer.Option("--finetuned", "-f", help="The other [default: the base, with --adapter]."),
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", help="Of the base: all | 0,4,8 | 8-13 | -1 | 50%.")
    ] = "all",
    raw: Raw = None,
    output: SaveJson = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """See in which layers fine-tuning moved what the model holds for some prompts.

    --adapter belongs to the fine-tuned model. The models are loaded one after the other.

    \b
    Examples:
      circuit introspect activation-diff -b tiny -f tiny -p "What is the weather in Oslo?|50 + 25 ="
      circuit introspect activation-diff -b tiny -f tiny -p @prompts.json --layers -1 -o moved.json
    """
    from circuit.cli.activation_diff_text import activation_diff_text
    from circuit.introspect.compare.two_models import two_models
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.activation_diff import activation_diff
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompts)
    first = ModelOptions(base, revision, None, dtype, trust_remote_code)
    options = two_models(first, finetuned, adapter, option="-f")
    asked = {"prompts": given.texts, "layers": layers}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "activation-diff")], asked, **files)
    console.note(f"Loading models: {options[0].id}, {options[1].id}")
    found = activation_diff(options, given, layers=layers, raw=raw)
    results: dict[str, Any] = found.as_dict()
    if output is not None:
        parameters = {
            **asked,
            "models": [each["name"] for each in results["models"]],
            "format": found.format,
        }
        save(output, "activation-diff", results, parameters=parameters, **files)
    console.result(results, activation_diff_text(results), as_json=as_json)
