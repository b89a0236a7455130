"""``circuit steer sweep``: the held-out dose-response of a steering, beside its controls and its cost."""

from dataclasses import dataclass, replace
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
    Kl,
    MaxTokens,
    Negative,
    Output,
    Positive,
    Prefill,
    Tools,
    numbers,
    readout_of,
)
from circuit.cli.sweep_text import sweep_text


def sweep(
    model: Model,
    test: Annotated[Path, typer.Option("--test", help="Prompt set that is measured, once.")],
    direction: Directions = None,
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Prompts of the fit [default: as the manifest says]."),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option("--validation", help="Prompts that choices were made on.")
    ] = None,
    layer: SteeringLayers = None,
    name: DirectionName = None,
    positive_answers: Positive = None,
    negative_answers: Negative = None,
    criterion: Criterion = None,
    max_tokens: MaxTokens = 20,
    prefill: Prefill = "",
    doses: Annotated[
        str, typer.Option("--doses", help="In units of c*, with 0 and both signs.")
    ] = "-1.5,-1,-0.5,-0.25,0,0.25,0.5,1,1.5",
    kl: Kl = 1.0,
    dose_one: Annotated[
        float | None,
        typer.Option("--dose-one", help="Coefficient of dose 1, in place of a calibrated c*."),
    ] = None,
    random: Annotated[int, typer.Option("--random", min=0, help="Random directions.")] = 10,
    shuffled: Annotated[
        int, typer.Option("--shuffled", min=0, help="Directions fitted to shuffled labels.")
    ] = 10,
    same_kl: Annotated[
        bool, typer.Option("--same-kl", help="Controls of the same KL instead of the same norm.")
    ] = False,
    prompt_baseline: Annotated[
        str | None,
        typer.Option(
            "--prompt-baseline", help="Ask in words: a system message, or text before a raw prompt."
        ),
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", "-a", help="Archive of the fit, if it was moved."),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Draw the response and its cost here (with -o).")
    ] = None,
    rule: Rule = "norm",
    operator: Operator = "add",
    scope: Scope = "all",
    output: Output = None,
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
    """Measure a steering on prompts it never saw: dose-response, controls of the same size, and its cost.

    Doses count in c*, at which neutral text changes by --kl nats. A read-out is --positive-answers with
    --negative-answers, or a --criterion of the written text. A slope counts when random directions, and
    directions fitted to shuffled labels, do not have it as well.

    \b
    Examples:
      circuit steer sweep -m tiny -d directions.safetensors --layer 2 --test held_out.json --positive-answers "<tool_call>" --dose-one 0.3 --doses "-1,-0.5,0,0.5,1" --random 1 --shuffled 1 -o tool_sweep.json --plots tool_pictures
      circuit steer sweep -m tiny -d computation.npz --test sums.json --criterion number -n 3 --dose-one 0.5 --doses "-1,-0.5,0,0.5,1" --random 1 --shuffled 0
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.steering.intervention import Manner
    from circuit.stages.steering.setup import Setup
    from circuit.stages.sweep.job import Choices

    readout = readout_of(positive_answers, negative_answers, criterion, max_tokens, prefill)
    asked = numbers(doses, "--doses")
    choices = Choices(asked, kl, dose_one, random, shuffled, same_kl, prompt_baseline, seed=seed)
    form = {"chat": chat, "system": system, "tools": tools}
    setup = replace(
        Setup.of(direction or [], None, name, layer),
        form=form,
        allow_other=allow_other_model,
        manner=Manner(rule, operator, scope),
    )
    options = ModelOptions(model, revision, adapter, dtype, trust_remote_code)
    files = _Files(test, train, validation, activations)
    results, reused = _run(options, setup, files, readout, choices, output, force=force)
    if reused:
        console.note("this run is there already: nothing was measured again (--force repeats it)")
    _draw(output, plots, force=force)
    console.result(results, sweep_text(results), as_json=as_json)


@dataclass(frozen=True)
class _Files:
    """The three prompt sets, and the archive of the fit."""

    test: Path
    train: Path | None
    validation: Path | None
    archive: Path | None

    @property
    def given(self) -> list[Path]:
        """Those that were named."""
        return [path for path in vars(self).values() if path is not None]


def _run(
    options: Any,
    setup: Any,
    files: _Files,
    readout: Any,
    choices: Any,
    output: Path | None,
    *,
    force: bool,
) -> tuple[dict[str, Any], bool]:
    from circuit.stages.sweep.request import Asked
    from circuit.stages.sweep.run import sweep

    others = {"train": files.train, "validation": files.validation}
    asked = Asked.of(setup, files.test, others, readout, choices, files.archive)
    asked.check()
    console.note(f"Loading model: {options.id}")
    model = options.load()
    return sweep(
        model,
        asked.on(model),
        out=output,
        inputs=[
            files.test,
            *setup.files,
            *files.given[1:],
        ],  # the test prompts first: see specificity
        force=force,
        note=console.note,
        track=console.track,
    )


def _draw(output: Path | None, plots: Path | None, *, force: bool) -> None:
    if plots is None:
        return
    if output is None:
        raise typer.BadParameter("--plots draws what -o wrote")
    from circuit.stages.figures.request import VisualizeRequest
    from circuit.stages.run import run

    run(VisualizeRequest(report=output, output=plots, force=force))
    console.note(f"Pictures: {plots}")
