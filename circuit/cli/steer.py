"""``circuit steer``: without a verb it steers; the verbs calibrate, choose and measure."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Chat,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    Seed,
    System,
)
from circuit.cli.steering_text import answers_text, trial_text
from circuit.cli.verbs import WorksWithoutAVerb
from circuit.errors import UsageError

app = typer.Typer(cls=WorksWithoutAVerb, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def steer(
    ctx: typer.Context,
    model: Model,
    direction: Annotated[
        Path | None,
        typer.Option("--direction", "-d", help="Steering file: .safetensors, .npz or .json."),
    ] = None,
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
    layer: Annotated[
        str | None,
        typer.Option("--layer", "-l", help="Block to steer after [default: the file's, or 50%]."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the direction to save, or to use.")
    ] = None,
    positive_label: Annotated[
        str, typer.Option("--positive-label", help="What the positive class is called.")
    ] = "positive",
    negative_label: Annotated[
        str, typer.Option("--negative-label", help="What the negative class is called.")
    ] = "negative",
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="Tokens to generate at most.")
    ] = 50,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 is greedy.")] = 0.0,
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
    tools: Annotated[
        Path | None, typer.Option("--tools", help="JSON list of tool schemas (with --chat).")
    ] = None,
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

    \b
    Examples:
      circuit steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" --layer 3 -o extracted.npz
      circuit steer -m tiny -d computation.npz -p "50 + 25 =|10 * 10 =" -c 0.8
      circuit steer -m tiny -d computation.npz -p "50 + 25 =" --compare "-2,-1,0,1,2"
      circuit steer -m tiny --positive "I am so happy" --negative "I am so sad" -p "The meeting went" -c 0.5
      circuit steer -m tiny -d directions.safetensors -p @prompts.json --compare "-1,0,1" --criterion function_call --controls 2 -n 8 -o steering.json
    """
    if ctx.invoked_subcommand is not None:
        return
    from circuit.stages.extract import Pair
    from circuit.stages.running import ModelOptions
    from circuit.stages.steer import Decoding

    pair = None
    if positive is not None and negative is not None:
        named = name or "direction"
        pair = Pair(positive, negative, named, positive_label, negative_label)
    elif positive is not None or negative is not None:
        raise UsageError("--positive needs --negative", hint="give both prompts of the pair")
    source = _Source(direction, pair, layer, name, allow_other_model)
    form = {"chat": chat, "system": system, "tools": tools}
    options = ModelOptions(model, revision, adapter, dtype, trust_remote_code)
    if extract:
        _extract(options, source, form, output, prompts, force=force, as_json=as_json)
        return
    if criterion is None and controls:
        raise UsageError("--controls needs --criterion", hint="say what the answers are judged by")
    _apply(
        options,
        source,
        form,
        prompts,
        _coefficients(compare, coefficient),
        Decoding(max_tokens, temperature, seed),
        criterion=criterion,
        controls=controls,
        compared=compare is not None,
        output=output,
        force=force,
        as_json=as_json,
    )


class _Source:
    """Where the direction comes from: a file, or a pair of prompts."""

    def __init__(
        self, file: Path | None, pair: Any, layer: str | None, name: str | None, allow_other: bool
    ) -> None:
        if (file is None) == (pair is None):
            what = "no direction is given" if file is None else "a direction is given twice"
            raise UsageError(what, hint="use -d FILE, or --positive with --negative")
        self.file, self.pair, self.layer, self.name = file, pair, layer, name
        self.allow_other = allow_other

    def direction(self, model: Any, prompts: Any, form: dict[str, Any]) -> tuple[Any, Any]:
        """Return the direction and the format in which prompts are given to the model."""
        from circuit.stages.extract import extract_direction
        from circuit.stages.steer import check_model, choose_direction, format_for

        if self.file is None:
            chosen = format_for(prompts, None, **form)
            return extract_direction(model, self.pair, layer=self.layer, form=chosen), chosen
        found = choose_direction(
            self.file, name=self.name, layer=self.layer, n_layers=model.n_layers
        )
        check_model(found, model, allow_other=self.allow_other)
        return found, format_for(prompts, found, **form)


def _extract(
    options: Any,
    source: _Source,
    form: dict[str, Any],
    output: Path | None,
    prompts: str | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from circuit.stages.steer import save_direction

    if source.pair is None or output is None or prompts is not None:
        message = "--extract takes --positive, --negative and -o, and no prompts"
        raise UsageError(message, hint="leave out --extract to generate")
    console.note(f"Loading model: {options.id}")
    direction, _ = source.direction(options.load(), [], form)
    save_direction(output, direction, force=force)
    cosine = direction.extra["cosine_similarity"]
    data = {
        "name": direction.name,
        "layer": direction.layer,
        "norm": direction.norm,
        "cosine_similarity": cosine,
        "separation": 1 - cosine,
        "output": str(output),
    }
    lines = [
        f"Extracting direction from layer {direction.layer}...",
        f"  Positive: {source.pair.positive!r}",
        f"  Negative: {source.pair.negative!r}",
        "",
        "Direction extracted:",
        f"  Layer: {direction.layer}",
        f"  Norm: {direction.norm:.4f}",
        f"  Cosine similarity (pos, neg): {cosine:.4f}",
        f"  Separation: {1 - cosine:.4f}",
        "",
        f"Direction saved to: {output}",
    ]
    console.result(data, "\n".join(lines), as_json=as_json)


def _apply(
    options: Any,
    source: _Source,
    form: dict[str, Any],
    spec: str | None,
    coefficients: list[float],
    decoding: Any,
    *,
    criterion: str | None,
    controls: int,
    compared: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    from circuit.stages.prompting import parse_prompts
    from circuit.stages.steer import Job, check_choices, steer

    if spec is None:
        raise UsageError("there are no prompts to steer", hint="give them with -p")
    prompts = parse_prompts(spec)
    check_choices(prompts, coefficients, decoding, criterion, source.file)
    console.note(f"Loading model: {options.id}")
    model = options.load()
    direction, chosen = source.direction(model, prompts, form)
    results, reused = steer(
        model,
        Job(direction, prompts, coefficients, chosen, decoding, criterion, controls),
        out=output,
        inputs=[path for path in (source.file, _file_of(spec)) if path is not None],
        force=force,
        track=console.track,
    )
    if reused:
        console.note("this run is there already: nothing was generated again (--force repeats it)")
    text = trial_text(results) if results["trial"] else answers_text(results, compared)
    console.result(results, text, as_json=as_json)


def _file_of(spec: str) -> Path | None:
    return Path(spec[1:]) if spec.startswith("@") else None


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
