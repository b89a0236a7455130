"""``circuit introspect hooks``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Layers,
    Model,
    Prompt,
    Raw,
    RemoteCode,
    Revision,
    SaveJson,
)


def command(
    model: Model,
    prompt: Prompt,
    layers: Layers = "all",
    sites: Annotated[
        str, typer.Option("--sites", help="What to read, as `circuit sites -m MODEL` lists it.")
    ] = "resid_post",
    capture_attention: Annotated[
        bool, typer.Option("--capture-attention", help="Say where the last token attends.")
    ] = False,
    last_only: Annotated[
        bool, typer.Option("--last-only", help="Keep the last token only.")
    ] = False,
    no_logit_lens: Annotated[
        bool, typer.Option("--no-logit-lens", help="Leave the logit lens out.")
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Tokens of the lens to show.")] = 3,
    raw: Raw = None,
    output: SaveJson = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show what a model holds at its sites while it reads a prompt: shapes, norms, attention, the lens.

    \b
    Examples:
      circuit introspect hooks -m tiny -p "The capital of France is"
      circuit introspect hooks -m tiny -p "50 + 25 = " --layers 0,3,5 --sites resid_post,mlp_out --capture-attention --last-only --no-logit-lens
    """
    from circuit.cli.hooks_text import hooks_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.hooks import hook
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompt)
    asked: dict[str, Any] = {
        "layers": layers,
        "sites": sites,
        "capture_attention": capture_attention,
        "last_only": last_only,
        "logit_lens": not no_logit_lens,
        "top_k": top_k,
        "raw": raw,
    }
    parameters = {"prompts": given.texts, **asked}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "hooks")], parameters, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = hook(loaded, given, **asked)
    results: dict[str, Any] = {"model": loaded.id, "prompts": [each.as_dict() for each in found]}
    if output is not None:
        save(output, "hooks", results, parameters=parameters, model=loaded, **files)
    console.result(results, hooks_text(results), as_json=as_json)
