"""``circuit introspect ablate``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    MaxTokens,
    Model,
    RawOrTemplate,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
)


def command(
    model: Model,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="a|b, @lines.txt or @prompts.json.")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            "--criterion",
            "-c",
            help="What an answer has to meet: function_call, sorry, positive, negative, refusal, number, "
            "expected, regex:PATTERN, or a text.",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", help='Prompts with expected texts: "10*10=:100|45*45=:2025".'),
    ] = None,
    component: Annotated[
        str | None, typer.Option("--component", help="mlp, attention or both [default: both].")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50% [default: all]."),
    ] = None,
    heads: Annotated[
        str | None, typer.Option("--heads", help="Heads instead, as layer.head: 3.0,-1.2.")
    ] = None,
    neurons: Annotated[
        str | None, typer.Option("--neurons", help="Neurons instead, as layer.neuron: 3.17.")
    ] = None,
    multi: Annotated[
        bool, typer.Option("--multi", help="Take all of them out together, not one by one.")
    ] = False,
    method: Annotated[
        str, typer.Option("--method", help="What stands in their place: mean, resample, zero.")
    ] = "mean",
    max_tokens: MaxTokens = 60,
    raw: RawOrTemplate = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every answer.")] = False,
    output: SaveJson = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take components out, one by one or together, and see what the model can no longer do.

    Prompts that the model fails as it is are left out and counted.

    \b
    Examples:
      circuit introspect ablate -m tiny -p "50 + 25 = |31 + 4 = " -c number --raw --layers 0-2 -n 4
      circuit introspect ablate -m tiny -p x -c x --prompts "10 + 10 = :20|45 + 45 = :90" --raw --layers 2,3 --multi -n 4
    """
    from circuit.cli.ablation_text import study_text
    from circuit.introspect.ablation.components import (
        COMPONENT,
        LAYERS,
        check_parts,
        named_ablations,
    )
    from circuit.introspect.inputs.cases import read_cases
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.ablate import ablate
    from circuit.stages.legacy import ModelOptions

    check_parts(component, layers, heads, neurons, method)
    cases, given = read_cases(prompt, criterion, prompts)
    which = {"component": component, "layers": layers, "heads": heads, "neurons": neurons}
    if heads is None and neurons is None:
        which |= {"component": component or COMPONENT, "layers": layers or LAYERS}
    asked: dict[str, Any] = {**which, "prompts": [case.prompt for case in cases]}
    asked |= {"criteria": [case.criterion_name for case in cases]}
    asked |= {"multi": multi, "method": method, "max_tokens": max_tokens, "seed": seed}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "ablation")], asked, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    form = given.form(
        None if raw is None else not raw, default=bool(loaded.tokenizer.has_chat_template)
    )
    ablations = named_ablations(loaded, component, layers, heads, neurons, multi=multi)
    study = ablate(
        loaded,
        cases,
        ablations,
        form=form,
        method=method,
        max_tokens=max_tokens,
        seed=seed,
        track=console.track,
    )
    results: dict[str, Any] = {"model": loaded.id, "format": form.name, **study.as_dict()}
    if output is not None:
        parameters = {**asked, "format": form.name}
        save(output, "ablation", results, parameters=parameters, model=loaded, **files)
    console.result(results, study_text(results, verbose=verbose), as_json=as_json)
