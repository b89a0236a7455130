"""``circuit introspect neurons``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Dtype,
    Force,
    Json,
    Model,
    Prompts,
    Raw,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
)


def command(
    model: Model,
    prompt: Prompts,
    layer: Annotated[
        str | None,
        typer.Option("--layer", "-l", help="One layer: 3, -1, 50% [default: the direction's]."),
    ] = None,
    neurons: Annotated[
        list[str] | None,
        typer.Option("--neurons", "-n", help="Numbers of neurons: 5,7; repeatable."),
    ] = None,
    from_direction: Annotated[
        Path | None,
        typer.Option("--from-direction", help="Those that write most along a steering file's."),
    ] = None,
    auto_discover: Annotated[
        bool, typer.Option("--auto-discover", help="Those that tell the labels apart.")
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Neurons to choose.")] = 10,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="A label for each prompt [default: the set's]."),
    ] = None,
    raw: Raw = None,
    output: SaveJson = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Look at single neurons: their activations, what tells labels apart, and which tokens they promote.

    \b
    Examples:
      circuit introspect neurons -m tiny -p "50 + 25 = |50 + 25 =" -l 3 -n 5,7 --labels works,fails
      circuit introspect neurons -m tiny -p "50 + 25 = " --from-direction computation.npz --top-k 3
      circuit introspect neurons -m tiny -p @prompts.json -l 2 --auto-discover --top-k 3 -o neurons.json
    """
    from circuit.cli.neurons_text import neurons_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.layer import labels_of
    from circuit.introspect.questions.neurons import (
        Wanted,
        look_at_neurons,
        parse_indices,
        read_direction,
    )
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompt)
    named = None if labels is None and given.prompt_set is None else labels_of(given, labels)
    wanted = Wanted(parse_indices(neurons or []), from_direction, auto_discover, top_k)
    if from_direction is not None:
        read_direction(from_direction)
    asked = {"prompts": given.texts, "labels": named, "top_k": top_k, "neurons": wanted.indices}
    asked |= {"auto_discover": auto_discover, "seed": seed}
    inputs = [*given.inputs, *([from_direction] if from_direction else [])]
    files: dict[str, Any] = {"inputs": inputs, "force": force}
    refuse_existing([(output, "neurons")], asked, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = look_at_neurons(
        loaded,
        given,
        wanted,
        layer=layer,
        labels=named,
        raw=raw,
        seed=seed,
        allow_other_model=allow_other_model,
    )
    results: dict[str, Any] = {"model": loaded.id, **found.as_dict()}
    if output is not None:
        parameters = {**asked, "layer": found.layer, "format": found.format}
        save(output, "neurons", results, parameters=parameters, model=loaded, **files)
    console.result(results, neurons_text(results), as_json=as_json)
