"""``circuit introspect attribute``."""

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
    answer: Annotated[
        str | None, typer.Option("--answer", help="A token [default: each prompt's likeliest].")
    ] = None,
    wrong: Annotated[
        str | None, typer.Option("--wrong", help="Another token [default: the runner-up].")
    ] = None,
    chat: ChatOrText = None,
    output: SaveJson = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=picture, help="Draw the largest terms (png, pdf, svg)."),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Divide a logit difference among the components that write it: embedding, attentions, heads, MLPs.

    \b
    Examples:
      circuit introspect attribute -m tiny -p "50 + 25 = " --answer 7 --wrong 2
      circuit introspect attribute -m tiny -p "50 + 25 = |31 + 4 = |64 + 22 = " -o attribution.json --plot attribution.png
    """
    from circuit.cli.attribution_text import attribution_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.patching.prompt_pairs import choose_pair_format
    from circuit.introspect.questions.attribute import attribute
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompt)
    asked = {"prompts": given.texts, "answer": answer, "wrong": wrong, "seed": seed}
    refuse_existing([(output, "attribution")], asked, others=[plot], force=force)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = choose_pair_format(given.prompt_set, chat)
    found = attribute(
        loaded,
        given.texts,
        form=form,
        answer=answer,
        wrong=wrong,
        groups=given.groups,
        seed=seed,
    )
    results: dict[str, Any] = {"model": loaded.id, "format": form.name, **found.as_dict()}
    if output is not None:
        parameters = {**asked, "format": form.name}
        save(output, "attribution", results, parameters=parameters, model=loaded, force=force)
    if plot is not None:
        from circuit.introspect.output.pictures import draw_attribution

        draw_attribution(found, plot, force=force)
    console.result(results, attribution_text(results), as_json=as_json)
