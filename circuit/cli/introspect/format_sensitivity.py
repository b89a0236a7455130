"""``circuit introspect format-sensitivity``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Layers,
    MaxTokens,
    Model,
    Prompts,
    RemoteCode,
    Revision,
    SaveJson,
)


def command(
    model: Model,
    prompt: Prompts,
    layers: Layers = "all",
    summary_only: Annotated[
        bool, typer.Option("--summary-only", "-s", help="Leave out the prompts one by one.")
    ] = False,
    max_tokens: MaxTokens = 12,
    output: SaveJson = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """See what a blank at the end of a prompt, and the chat template, change in the layers and in the output.

    Blanks at the end of the prompts are taken off first.

    \b
    Examples:
      circuit introspect format-sensitivity -m tiny -p "58 + 31 =|50 + 25 ="
      circuit introspect format-sensitivity -m tiny -p "58 + 31 =|50 + 25 =" --layers 0,3 -s -n 4
    """
    from circuit.cli.sensitivity_text import sensitivity_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.format_sensitivity import format_sensitivity
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompt)
    parameters = {"prompts": given.texts, "layers": layers, "max_tokens": max_tokens}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "format-sensitivity")], parameters, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = format_sensitivity(loaded, given, layers=layers, max_tokens=max_tokens)
    results: dict[str, Any] = {"model": loaded.id, **found.as_dict()}
    if output is not None:
        save(output, "format-sensitivity", results, parameters=parameters, model=loaded, **files)
    text = sensitivity_text(results, summary_only=summary_only)
    console.result(results, text, as_json=as_json)
