"""``circuit introspect attention``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    ChatOrText,
    Dtype,
    Force,
    Json,
    Model,
    Prompt,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
    picture,
)


def command(
    model: Model,
    prompt: Prompt,
    layers: Annotated[
        str, typer.Option("--layers", "-l", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50%.")
    ] = "all",
    heads: Annotated[
        str | None,
        typer.Option(
            "--heads", help="Heads whose patterns are kept and drawn, as layer.head: 3.0,3.2."
        ),
    ] = None,
    chat: ChatOrText = None,
    output: SaveJson = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            callback=picture,
            help="Draw the patterns of --heads, or all scores (png, pdf, svg).",
        ),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Where every head looks: at the token before, the first one, an earlier copy, what followed it.

    \b
    Examples:
      circuit introspect attention -m tiny -p "The cat saw the dog and the cat" --plot heads.png
      circuit introspect attention -m tiny -p "50 + 25 = |31 + 4 = " --heads 0.0,5.3 --plot patterns.png -o attention.json
    """
    from circuit.cli.head_kinds_text import attention_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.patching.prompt_pairs import choose_pair_format
    from circuit.introspect.questions.attention import attention, parse_heads, parse_where
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    chosen = parse_heads(heads)
    given = read_prompt_input(prompt)
    asked = {"prompts": given.texts, "layers": layers, "heads": heads, "seed": seed}
    refuse_existing([(output, "attention")], asked, others=[plot], force=force)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = choose_pair_format(given.prompt_set, chat)
    at = parse_where(layers, loaded.n_layers)
    found = attention(loaded, given.texts, layers=at, heads=chosen, form=form, seed=seed)
    about = {"model": loaded.id, "format": form.name, "n_groups": given.n_groups}
    results: dict[str, Any] = {**about, **found.as_dict()}
    if output is not None:
        parameters = {**asked, "format": form.name}
        save(output, "attention", results, parameters=parameters, model=loaded, force=force)
    if plot is not None:
        from circuit.introspect.output.attention_pictures import draw_attention

        draw_attention(found, plot, force=force)
    console.result(results, attention_text(results), as_json=as_json)
