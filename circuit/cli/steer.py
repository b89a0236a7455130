"""``circuit steer``: without a verb it steers; the verbs calibrate, choose and measure."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import (
    console,
    steer_calibrate,
    steer_select,
    steer_specificity,
    steer_sweep,
    steer_table,
)
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Chat,
    Dtype,
    Force,
    Json,
    MaxTokens,
    Model,
    RemoteCode,
    Revision,
    Seed,
    System,
    Temperature,
    ToolSchemas,
)
from circuit.cli.steering_options import Directions, Operator, Rule, Scope, SteeringLayers
from circuit.cli.steering_text import answer_start, answers_text, extracted_text, trial_text
from circuit.cli.verbs import WorksWithoutAVerb
from circuit.errors import UsageError
from circuit.values.sampling import Sampling

app = typer.Typer(cls=WorksWithoutAVerb, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def steer(
    ctx: typer.Context,
    model: Model,
    direction: Directions = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Only extract a direction and save it to -o.")
    ] = False,
    positive: Annotated[
        str | None, typer.Option("--positive", help="Prompt of the positive class.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", help="Prompt of the negative class.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", "-p", help="a|b, @lines.txt or @prompts.json; blanks are kept."),
    ] = None,
    coefficient: Annotated[
        float | None,
        typer.Option("--coefficient", "--strength", "-c", help="Steering strength [default: 1]."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help='Several strengths: "-2,-1,0,1,2".')
    ] = None,
    layer: SteeringLayers = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the direction to save, or to use.")
    ] = None,
    rule: Rule = "norm",
    operator: Operator = "add",
    scope: Scope = "all",
    when: Annotated[
        str | None,
        typer.Option(
            "--when",
            help="Steer only prompts on which a saved probe fires: FILE,probe=NAME,layer=L,above=LOGIT.",
        ),
    ] = None,
    positive_label: Annotated[
        str, typer.Option("--positive-label", help="What the positive class is called.")
    ] = "positive",
    negative_label: Annotated[
        str, typer.Option("--negative-label", help="What the negative class is called.")
    ] = "negative",
    max_tokens: MaxTokens = 50,
    temperature: Temperature = 0.0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0, max=1, help="Sample from this share of the mass.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Sample from so many tokens.")] = 0,
    min_p: Annotated[
        float, typer.Option("--min-p", min=0, max=1, help="Least share of the likeliest token's p.")
    ] = 0.0,
    repetition_penalty: Annotated[
        float | None, typer.Option("--repetition-penalty", min=0, help="Above 1: repeat less.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Show a single answer while it is written [default: on a terminal].",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            "--criterion",
            help="Count answers that meet it: function_call, refusal, sorry, positive, negative, "
            "number, expected, regex:PATTERN, or a text.",
        ),
    ] = None,
    controls: Annotated[
        int, typer.Option("--controls", min=0, help="Random directions beside it (--criterion).")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the direction or the answers.")
    ] = None,
    chat: Chat = None,
    system: System = None,
    tools: ToolSchemas = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Add a direction to the residual stream while the model writes: h' = h + c v ||h||.

    --rule says what coefficient 1 is, --operator what is done to the residual, --scope to which
    tokens. Coefficient 0 is always the model as it is.

    \b
    Examples:
      circuit steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" --layer 3 -o extracted.npz
      circuit steer -m tiny -d computation.npz -p "50 + 25 =|10 * 10 =" -c 0.8
      circuit steer -m tiny -d computation.npz -p "50 + 25 =" --compare "-2,-1,0,1,2"
      circuit steer -m tiny --positive "I am so happy" --negative "I am so sad" -p "The meeting went" -c 0.5
      circuit steer -m tiny -d directions.safetensors --layer all --operator ablate -p "What is the weather in Oslo?" -n 8
      circuit steer -m tiny -d computation.npz,weight=0.5 -d directions.safetensors,layer=1 --rule raw --scope prompt -p "50 + 25 =" -n 8
      circuit steer -m tiny -d directions.safetensors -p @prompts.json --compare "-1,0,1" --criterion function_call --controls 2 -n 8 -o steering.json
    """
    if ctx.invoked_subcommand is not None:
        if model is not None:
            message = f"the options of steering stand before `{ctx.invoked_subcommand}`"
            raise UsageError(message, hint=f"circuit steer {ctx.invoked_subcommand} --help")
        return
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.steering.setup import Setup

    options = ModelOptions(model, revision, adapter, dtype, trust_remote_code)
    pair = _pair(positive, negative, name, positive_label, negative_label)
    form = {"chat": chat, "system": system, "tools": tools}
    if extract:
        manner = (rule, operator, scope, when)
        if manner != ("norm", "add", "all", None):
            message = "--extract makes a direction; how it acts is said where it is used"
            raise UsageError(message, hint="leave out --rule, --operator, --scope and --when")
        _extract(options, pair, direction, layer, form, output, prompts, force, as_json=as_json)
        return
    if criterion is None and controls:
        raise UsageError("--controls needs --criterion", hint="say what the answers are judged by")
    if prompts is None:
        raise UsageError("there are no prompts to steer", hint="give them with -p")
    setup = Setup.of(direction or [], pair, name if pair is None else None, layer)
    setup = replace(setup, form=form, when=when, allow_other=allow_other_model)
    sampling = Sampling(max_tokens, temperature, top_p, top_k, min_p, repetition_penalty, seed=seed)
    asked = _Asked(prompts, _coefficients(compare, coefficient), sampling, criterion, controls)
    shown = _Shown(stream, output, as_json, compared=compare is not None)
    _apply(options, setup.acting(rule, operator, scope), asked, shown, force=force)


def _pair(positive: str | None, negative: str | None, name: str | None, *labels: str) -> Any:
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        raise UsageError("--positive needs --negative", hint="give both prompts of the pair")
    from circuit.stages.steering.from_prompts import Pair

    return Pair(positive, negative, name or "direction", *labels)


def _extract(
    options: Any,
    pair: Any,
    files: list[str] | None,
    layer: str | None,
    form: dict[str, Any],
    output: Path | None,
    prompts: str | None,
    force: bool,
    *,
    as_json: bool,
) -> None:
    from circuit.stages.steering.from_prompts import extract_direction
    from circuit.stages.steering.steer import format_for, save_direction

    if pair is None or files or output is None or prompts is not None:
        message = "--extract takes --positive, --negative and -o, and no prompts"
        raise UsageError(message, hint="leave out --extract to generate")
    console.note(f"Loading model: {options.id}")
    found = extract_direction(options.load(), pair, layer=layer, form=format_for([], None, **form))
    save_direction(output, found, force=force)
    cosine = found.extra["cosine_similarity"]
    data = {
        "name": found.name,
        "layer": found.layer,
        "norm": found.norm,
        "cosine_similarity": cosine,
        "separation": 1 - cosine,
        "output": str(output),
    }
    console.result(data, extracted_text(data, pair.positive, pair.negative), as_json=as_json)


@dataclass(frozen=True)
class _Asked:
    """Which answers are wanted, and how they are judged."""

    prompts: str
    coefficients: list[float]
    sampling: Any
    criterion: str | None
    controls: int


@dataclass(frozen=True)
class _Shown:
    """Where answers go."""

    stream: bool | None
    output: Path | None
    as_json: bool
    compared: bool

    def streams(self, job: Any) -> bool:
        """Say whether the answer is shown while it is written."""
        wanted = sys.stdout.isatty() if self.stream is None else self.stream
        if self.stream and (not job.is_one_answer or self.as_json):
            message = "--stream shows one answer in plain text"
            raise UsageError(message, hint="give one prompt and one coefficient, without --json")
        return wanted and job.is_one_answer and not self.as_json


def _apply(options: Any, setup: Any, asked: _Asked, shown: _Shown, *, force: bool) -> None:
    from circuit.stages.rows.prompting import parse_prompts
    from circuit.stages.steering.steer import Job, check_choices, steer

    prompts = parse_prompts(asked.prompts)
    check_choices(prompts, asked.coefficients, asked.sampling, asked.criterion)
    setup.check(asked.coefficients)
    console.note(f"Loading model: {options.id}")
    model = options.load()
    intervention, form, condition = setup.on(model, prompts)
    if intervention.factor != 1:
        rule = intervention.manner.rule
        console.note(f"by the rule {rule}, coefficient 1 stands for {intervention.factor:.4g}")
    how = (asked.sampling, asked.criterion, asked.controls, condition)
    job = Job(intervention, prompts, asked.coefficients, form, *how)
    show = None
    if shown.streams(job):
        start = answer_start(job.texts[0], asked.coefficients[0])
        show = console.Writer(start)
    results, reused = steer(
        model,
        job,
        out=shown.output,
        inputs=[
            *setup.files,
            *([Path(asked.prompts[1:])] if asked.prompts.startswith("@") else []),
        ],
        force=force,
        track=console.track,
        show=show,
    )
    if reused:
        console.note("this run is there already: nothing was generated again (--force repeats it)")
    elif show is not None:
        show.end()
        return
    text = trial_text(results) if results["trial"] else answers_text(results, shown.compared)
    console.result(results, text, as_json=shown.as_json)


def _coefficients(compare: str | None, coefficient: float | None) -> list[float]:
    if compare is None:
        return [1.0 if coefficient is None else coefficient]
    if coefficient is not None:
        raise UsageError("-c and --compare both name strengths", hint="give one of them")
    try:
        return [float(part) for part in compare.split(",")]
    except ValueError as error:
        message = f"`{compare}` is not a list of numbers"
        raise UsageError(message, hint='write --compare "-2,-1,0,1,2"') from error


app.command()(steer_calibrate.calibrate)
app.command()(steer_select.select)
app.command()(steer_sweep.sweep)
app.command()(steer_specificity.specificity)
app.command()(steer_table.table)
