"""``circuit introspect circuit``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Chat,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
    picture,
)


def command(
    model: Model,
    prompts: Annotated[
        Path, typer.Option("--dataset", "-d", help="Prompts with two labels (prompts.json).")
    ],
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer", help="Token of the second label [default: its prompts' likeliest]."
        ),
    ] = None,
    wrong: Annotated[
        str | None, typer.Option("--wrong", help="Against this token [default: all others].")
    ] = None,
    keep: Annotated[float, typer.Option("--keep", help="Share of the effect to keep.")] = 0.9,
    verify: Annotated[
        int, typer.Option("--verify", min=0, help="Strongest nodes to verify by leaving them out.")
    ] = 20,
    random: Annotated[
        int, typer.Option("--random", min=0, help="Random sets of the same size to compare with.")
    ] = 20,
    chat: Chat = None,
    output: SaveJson = None,
    dot: Annotated[Path | None, typer.Option("--dot", help="Write the set as a DOT file.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=picture, help="Draw all nodes (png, pdf, svg)."),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find the heads and MLPs that decide: the set that keeps a behaviour, beside random sets.

    \b
    Examples:
      circuit introspect circuit -m tiny -d prompts.json -o circuit.json --dot circuit.dot --plot circuit.png
      circuit introspect circuit -m tiny -d prompts.json --answer "<tool_call>" --keep 0.5 --random 5 --verify 5
    """
    from circuit.cli.circuit_text import circuit_text
    from circuit.introspect.inputs.choices import check_share
    from circuit.introspect.output.circuit_files import draw_circuit, write_dot
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.circuit import find_circuit, read_labelled
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompting import choose_format

    check_share(keep)
    given = read_labelled(prompts, seed)
    form = choose_format(given, chat=chat, system=None, tools=None)
    asked = {"answer": answer, "wrong": wrong, "keep": keep, "verify": verify, "random": random}
    asked |= {"format": form.name, "seed": seed}
    files: dict[str, Any] = {"inputs": [prompts], "force": force}
    refuse_existing([(output, "circuit")], asked, others=[dot, plot], **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = find_circuit(
        loaded,
        given,
        form=form,
        answer=answer,
        wrong=wrong,
        keep=keep,
        verify=verify,
        n_random=random,
        seed=seed,
        track=console.track,
    )
    about = {"model": loaded.id, "format": form.name, "prompts_name": given.name}
    results: dict[str, Any] = {**about, **found.as_dict()}
    if output is not None:
        save(output, "circuit", results, parameters=asked, model=loaded, **files)
    if dot is not None:
        write_dot(found, dot, force=force)
    if plot is not None:
        draw_circuit(found, plot, force=force)
    console.result(results, circuit_text(results), as_json=as_json)
