"""``circuit introspect probe``."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
)


def command(
    model: Model,
    class_a: Annotated[
        str, typer.Option("--class-a", "-a", help="Prompts of class a: a|b, @lines.txt, @set.json.")
    ],
    class_b: Annotated[str, typer.Option("--class-b", "-b", help="Prompts of class b.")],
    label_a: Annotated[str, typer.Option("--label-a", help="What class a is called.")] = "class_a",
    label_b: Annotated[str, typer.Option("--label-b", help="What class b is called.")] = "class_b",
    layers: Annotated[
        str | None,
        typer.Option("--layer", "--layers", "-l", help="One layer, or those to choose from [all]."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="logistic, or difference (of the means).")
    ] = "logistic",
    test: Annotated[
        str | None, typer.Option("--test", "-t", help="Prompts to read with the probe.")
    ] = None,
    save_direction: Annotated[
        Path | None,
        typer.Option("--save-direction", help="Save the direction: .npz, .json or .safetensors."),
    ] = None,
    save_probe: Annotated[
        Path | None,
        typer.Option("--save-probe", help="Save the probe, for `circuit probes apply`."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of what is saved [default: the labels].")
    ] = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--chat",
            help="The text as it stands, or a user's turn [default: class a's set's, or raw].",
        ),
    ] = None,
    output: SaveJson = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Tell two lists of prompts apart by a linear probe at every layer, and keep probe and direction.

    The direction points to class a. Scores are cross-validated; with under 10 groups of prompts
    nothing is claimed.

    \b
    Examples:
      circuit introspect probe -m tiny --class-a "I feel great|What a lovely day|We won" --class-b "I feel awful|What a dull day|We lost" -l 3 -t "I love it" --save-direction mood.npz --save-probe mood
      circuit introspect probe -m tiny --class-a "58 + 31 = |50 + 25 = |7 + 8 = " --class-b "58 + 31 =|50 + 25 =|7 + 8 =" --label-a blank --label-b none --method difference -o probe.json
    """
    from circuit.cli.probe_text import probe_text
    from circuit.introspect.output.probe_files import check_names, outputs_of, saved_direction
    from circuit.introspect.output.probe_files import save_direction as save_one
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.probe import check_method, probe, two_classes
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    started = time.perf_counter()
    a, b = read_prompt_input(class_a), read_prompt_input(class_b)
    classes = two_classes(a, b, (label_a, label_b))
    tests = [] if test is None else read_prompt_input(test).texts
    check_method(method)
    check_names(save_direction, save_probe)
    parameters: dict[str, Any] = {
        "class_a": a.texts,
        "class_b": b.texts,
        "labels": [label_a, label_b],
        "layers": layers or "all",
        "method": method,
        "seed": seed,
    }
    inputs = [*a.inputs, *b.inputs]
    paths = list(dict.fromkeys(path for path in (save_direction, save_probe) if path is not None))
    documents, others = outputs_of(paths)
    files: dict[str, Any] = {"inputs": inputs, "force": force}
    refuse_existing([(output, "probe"), *documents], parameters, others=others, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = a.form(None if raw is None else not raw)
    found, fitted = probe(
        loaded, classes, form=form, layers=layers, method=method, tests=tests, seed=seed
    )
    parameters["format"] = form.name
    kept = saved_direction(loaded, found, fitted, form.name, name or f"{label_a}_vs_{label_b}")
    for path in paths:
        save_one(path, kept, loaded, parameters, inputs=inputs, started=started, force=force)
    results: dict[str, Any] = {
        "model": loaded.id,
        "format": form.name,
        **found.as_dict(),
        "saved": [str(path if path.suffix else f"{path}.safetensors") for path in paths],
    }
    if output is not None:
        asked = {**parameters, "tests": tests}
        save(output, "probe", results, parameters=asked, model=loaded, **files)
    console.result(results, probe_text(results), as_json=as_json)
