"""``circuit steer select``: which direction, layer and strength, on validation prompts under a bound on the damage."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Chat,
    DirectionName,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    Seed,
    System,
)
from circuit.cli.steering_options import Directions, Operator, Rule, Scope, SteeringLayers
from circuit.cli.sweep_options import (
    Criterion,
    MaxTokens,
    Negative,
    Positive,
    Prefill,
    Tools,
    numbers,
    readout_of,
)


def select(
    model: Model,
    validation: Annotated[
        Path, typer.Option("--validation", help="Prompt set on which the choice is made.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Candidates; the direction goes to NAME.direction."),
    ],
    direction: Directions = None,
    layer: SteeringLayers = None,
    name: DirectionName = None,
    positive_answers: Positive = None,
    negative_answers: Negative = None,
    criterion: Criterion = None,
    max_tokens: MaxTokens = 20,
    prefill: Prefill = "",
    kl: Annotated[
        float, typer.Option("--kl", help="Largest divergence on neutral prompts, in nats.")
    ] = 1.0,
    strengths: Annotated[
        str, typer.Option("--strengths", help="Shares of the c* at which --kl is met.")
    ] = "0.5,1",
    max_depth: Annotated[
        float,
        typer.Option("--max-depth", help="Layers from this share of the depth on do not count."),
    ] = 0.8,
    rule: Rule = "norm",
    operator: Operator = "add",
    scope: Scope = "all",
    chat: Chat = None,
    system: System = None,
    tools: Tools = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Choose direction, layer and strength: the largest effect on validation prompts with KL at most --kl.

    Every direction of every file -d is tried at every layer of the file (or at --layer). The effect of the
    chosen one is the largest of many: report what `steer sweep` finds for it on test prompts.

    \b
    Examples:
      circuit steer select -m tiny -d directions.safetensors --layer 1,3 --strengths 1 --validation held_out.json --positive-answers "<tool_call>" -o selection.json
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.steering.intervention import Manner
    from circuit.stages.steering.setup import Setup

    readout = readout_of(positive_answers, negative_answers, criterion, max_tokens, prefill)
    shares = numbers(strengths, "--strengths")
    setup = replace(
        Setup.of(direction or [], None, name, layer),
        form={"chat": chat, "system": system, "tools": tools},
        allow_other=allow_other_model,
        manner=Manner(rule, operator, scope),
    )
    options = ModelOptions(model, revision, adapter, dtype, trust_remote_code)
    asked = (validation, readout, kl, shares, max_depth, seed)
    results, reused = _run(options, setup, asked, output, force=force)
    if reused:
        console.note("this run is there already (--force repeats it)")
    console.result(results, selection_text(results, output, kl), as_json=as_json)


def _run(
    options: Any, setup: Any, asked: tuple[Any, ...], output: Path, *, force: bool
) -> tuple[dict[str, Any], bool]:
    from circuit.stages.sweep.select import select
    from circuit.stages.sweep.select_request import choosing

    ready = choosing(setup, *asked)
    console.note(f"Loading model: {options.id}")
    model = options.load()
    return select(
        model,
        ready(model),
        out=output,
        inputs=[*setup.files, asked[0]],
        force=force,
        track=console.track,
    )


def selection_text(results: dict[str, Any], output: Path, kl: float) -> str:
    """Lay out the candidates, the chosen one marked."""
    chosen = results["chosen"]
    rows = [
        [
            f"{each['name']}{' *' if each == chosen else ''}",
            str(each["layer"]),
            each["method"] or "",
            f"{each['coefficient']:.3f}",
            f"{each['effect'][0]:+.3f}",
            f"{each['effect'][1]:+.2f}..{each['effect'][2]:+.2f}",
            f"{each['kl']:.2f}",
            "" if each["valid"] is None else f"{each['valid']:.0%}",
            "" if each["allowed"] else "no",
        ]
        for each in results["candidates"]
    ]
    header = [
        "direction",
        "layer",
        "method",
        "c",
        "effect",
        "95% interval",
        "KL p95",
        "valid",
        "allowed",
    ]
    direction = output.with_name(f"{output.name.removesuffix('.json')}.direction.safetensors")
    return "\n".join(
        [
            f"{results['configs_tried']} configurations on {results['n_validation']} validation prompts in {results['n_groups']} groups, "
            f"KL on neutral prompts at most {kl:g} nats",
            "",
            console.table(header, rows),
            "",
            f"Chosen: {chosen['name']} at layer {chosen['layer']}, c = {chosen['coefficient']:.3f}. Its effect is the largest of "
            f"{results['configs_tried']}: measure it on test prompts (circuit steer sweep).",
            f"Direction: {direction}",
        ]
    )
