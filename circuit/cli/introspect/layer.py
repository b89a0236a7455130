"""``circuit introspect layer``."""

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
    labels: Annotated[
        str | None,
        typer.Option("--labels", "-l", help="A label for each prompt: working,broken."),
    ] = None,
    layers: Layers = "all",
    attention: Annotated[
        bool, typer.Option("--attention", help="Say where the last token attends.")
    ] = False,
    raw: Raw = None,
    output: SaveJson = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare what the model holds for several prompts, within labels and between them, layer by layer.

    \b
    Examples:
      circuit introspect layer -m tiny -p "100 - 37 = |100 - 37 =" -l working,broken --layers 2,4
      circuit introspect layer -m tiny -p "58 + 31 = |50 + 25 = |58 + 31 =|50 + 25 =" -l works,works,fails,fails --layers 3 --attention
    """
    from circuit.cli.similarity_text import similarity_text
    from circuit.introspect.inputs.prompts import read_given
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.layer import check_several, labels_of, layer_similarity
    from circuit.stages.run import ModelOptions

    given = read_given(prompt)
    check_several(given)
    named = labels_of(given, labels)
    asked = {"prompts": given.texts, "labels": named, "layers": layers, "seed": seed}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "layer-similarity")], {**asked, "attention": attention}, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = layer_similarity(
        loaded, given, named, layers=layers, attention=attention, raw=raw, seed=seed
    )
    results: dict[str, Any] = {"model": loaded.id, **found.as_dict()}
    if output is not None:
        parameters = {**asked, "attention": attention, "format": found.format}
        save(output, "layer-similarity", results, parameters=parameters, model=loaded, **files)
    console.result(results, similarity_text(results), as_json=as_json)
