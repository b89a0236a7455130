"""``circuit concepts``: vectors of seventeen concepts and your own, to try, to mix and to measure."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.concepts_own import create, load, remove
from circuit.cli.concepts_text import built_text, listed_text, scan_text, trial_text
from circuit.cli.options import (
    Adapter,
    Chat,
    Dtype,
    Force,
    Json,
    Model,
    RemoteCode,
    Revision,
    Seed,
    System,
    picture,
)
from circuit.values.sampling import Sampling

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Vectors of seventeen concepts (moods, styles, voices) and your own: build, try, mix, measure.",
)

Prompts = Annotated[
    str, typer.Option("--prompts", "-p", help="a|b, @lines.txt or @prompts.json; blanks are kept.")
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-n", min=1, help="Tokens to generate at most.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Save the results as JSON.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", callback=picture, help="Draw what was measured (png, pdf, svg)."),
]
Rule = Annotated[
    str, typer.Option("--rule", help="What strength 1 is: raw, the natural length, or as in steer.")
]


@app.command()
def build(
    model: Model,
    concepts: Annotated[
        str | None, typer.Option("--concepts", help="Only these: happy,sad [default: built-in].")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="[default: early, middle and late, 25, 50 and 75 % deep.]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also save the archive under this stem.")
    ] = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Extract the concepts' vectors at three depths into the library, with held-out scores.

    They are all seventeen where --concepts names none, 51 vectors. They are kept in the cache for this very model, so that
    a second build has nothing to do.

    \b
    Examples:
      circuit concepts build -m tiny --concepts happy,sad -o moods
    """
    from circuit.stages.concepts.library import build, check_names
    from circuit.stages.legacy import ModelOptions

    names = [] if concepts is None else concepts.split(",")
    check_names(names)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    results, reused = build(loaded, names, layers, output, force=force, track=console.track)
    if reused:
        console.note("taken from the library: nothing was computed again (--force repeats it)")
    console.result(results, built_text(results), as_json=as_json)


@app.command("list")
def list_(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Show what is built for this model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the concepts, and with a model what has been built for it.

    \b
    Examples:
      circuit concepts list
      circuit concepts list -m tiny
    """
    from circuit.stages.concepts.library import listed

    found = listed(model)
    console.result(found, listed_text(found, model), as_json=as_json)


@app.command("try")
def try_(
    mix: Annotated[str, typer.Argument(help="happy, happy:2 or happy:1.5+formal:0.5.")],
    model: Model,
    prompts: Prompts,
    strength: Annotated[
        float, typer.Option("--strength", "-c", help="Of a concept that names none.")
    ] = 1.5,
    layer: Annotated[
        str, typer.Option("--layer", "-l", help="early, middle, late or a layer.")
    ] = "middle",
    rule: Rule = "raw",
    max_tokens: MaxTokens = 50,
    output: Output = None,
    plot: Plot = None,
    chat: Chat = None,
    system: System = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Answer prompts with concepts added, beside the plain answer.

    Strength 1 is one natural length of the concept: from the mean of neutral texts to that of texts that have it.

    \b
    Examples:
      circuit concepts try happy -m tiny -p "The meeting went" --strength 4 -n 8
      circuit concepts try happy:4+pirate:1 -m tiny -p "The meeting went|The garden is" --layer late -n 8 --plot mix.png
    """
    from circuit.stages.concepts.try_concepts import Trial, parse_mix, try_concepts
    from circuit.stages.options import ActionOptions
    from circuit.stages.steering.rules import check_action

    ingredients = parse_mix(mix, strength)
    manner = ActionOptions(rule=rule)
    check_action(manner)
    texts, form = _prompts(prompts, chat, system)
    loaded = load(model, revision, adapter, dtype, trust_remote_code)
    trial = Trial(ingredients, texts, layer, manner, form, Sampling(max_tokens))
    results, _ = try_concepts(loaded, trial, output, force=force, track=console.track)
    if plot is not None:
        from circuit.stages.concepts.pictures import draw_trial

        console.note(f"{plot}: {draw_trial(results, plot, force=force)}")
    console.result(results, trial_text(results), as_json=as_json)


@app.command()
def scan(
    name: Annotated[str, typer.Argument(help="A concept.")],
    model: Model,
    prompts: Annotated[
        str | None, typer.Option("--prompts", "-p", help="Also answer these: a|b, @lines.txt.")
    ] = None,
    over: Annotated[str, typer.Option("--over", help="layers or strengths.")] = "layers",
    layers: Annotated[
        str | None,
        typer.Option("--layer", "--layers", "-l", help="[default: all, or middle over strengths]"),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            "--strength", "--strengths", "-c", help="[default: 0.5 to 5, or 1.5 over layers]"
        ),
    ] = None,
    controls: Annotated[
        int, typer.Option("--controls", min=0, help="Random directions of the same length.")
    ] = 5,
    rule: Rule = "raw",
    max_tokens: MaxTokens = 24,
    output: Output = None,
    plot: Plot = None,
    chat: Chat = None,
    system: System = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure what a concept does at every layer, or at strengths 0.5 to 5, beside random directions.

    The effect is measured on texts that had no part in the vector, the damage on neutral prompts.

    \b
    Examples:
      circuit concepts scan happy -m tiny --layers 2,4 --controls 1
      circuit concepts scan happy -m tiny -p "The meeting went" --over strengths --strengths 1,4 --layer 2 --controls 1 -n 8 --plot scan.png
    """
    from circuit.stages.concepts.scan import planned, scan

    texts, form = ((), None) if prompts is None else _prompts(prompts, chat, system)
    asked = planned(
        name,
        over,
        layers,
        strengths,
        prompts=texts,
        form=form,
        controls=controls,
        rule=rule,
        sampling=Sampling(max_tokens),
        seed=seed,
    )
    loaded = load(model, revision, adapter, dtype, trust_remote_code)
    results, _ = scan(loaded, asked, output, force=force, track=console.track)
    if plot is not None:
        from circuit.stages.concepts.pictures import draw_scan

        console.note(f"{plot}: {draw_scan(results, plot, force=force)}")
    console.result(results, scan_text(results), as_json=as_json)


def _prompts(spec: str, chat: bool | None, system: str | None) -> tuple[tuple[str, ...], Any]:
    """Return the prompts' texts and their format: raw unless a set or an option says otherwise."""
    from circuit.stages.options import FormatOptions
    from circuit.stages.rows.prompting import format_for, parse_prompts

    prompts = parse_prompts(spec)
    form = format_for(prompts, FormatOptions(chat=chat, system=system))
    return tuple(prompts if isinstance(prompts, list) else prompts.texts), form


app.command()(create)
app.command()(remove)
