"""``circuit probes``: the battery of questions, and the layers at which a model can answer them."""

from pathlib import Path
from typing import Annotated

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Chat,
    Dtype,
    Force,
    Json,
    Layers,
    Model,
    Prompt,
    RemoteCode,
    Revision,
    Seed,
)
from circuit.cli.probes_text import readings_text, report_text

app = typer.Typer(
    help="Find the layers at which questions about the prompt become readable.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Datasets = Annotated[
    Path | None,
    typer.Option("--datasets", help="Folder of probes.", show_default="the built-in battery"),
]
Category = Annotated[
    str, typer.Option("--category", help="syntactic,semantic,decision: some of them, by commas.")
]


@app.command()
def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    category: Category = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the built-in battery as prompt sets, to edit and to give to `--datasets`.

    \b
    Examples:
      circuit probes init -o battery
      circuit probes init -o decisions --category decision
    """
    from circuit.stages.probes import battery

    files = [str(path) for path in battery.init(output, strata=_strata(category), force=force)]
    text = "\n".join([*files, f"{len(files)} probes: edit them, then give `--datasets {output}`"])
    console.result({"files": files}, text, as_json=as_json)


@app.command("list")
def list_probes(datasets: Datasets = None, category: Category = "", as_json: Json = False) -> None:
    """List the probes of a battery, with what they ask.

    \b
    Examples:
      circuit probes list
      circuit probes list --category semantic --json
    """
    from circuit.stages.probes import battery

    probes = [battery.summary(p) for p in battery.load_battery(datasets, _strata(category))]
    header = ["probe", "category", "format", "prompts", "groups", "labels"]
    rows = [
        [
            p["name"],
            p["category"],
            p["format"],
            str(p["prompts"]),
            str(p["groups"]),
            "/".join(p["labels"]),
        ]
        for p in probes
    ]
    console.result(probes, console.table(header, rows), as_json=as_json)


@app.command()
def run(
    model: Model,
    datasets: Datasets = None,
    category: Category = "",
    layers: Layers = "all",
    threshold: Annotated[
        float, typer.Option("--threshold", help="AUROC whose first crossing is reported.")
    ] = 0.75,
    stratigraphy: Annotated[
        bool, typer.Option("--stratigraphy/--no-stratigraphy", help="Show where each emerges.")
    ] = True,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights/--no-random-weights",
            help="Probe the same model with random weights too, as a baseline.",
        ),
    ] = True,
    chat: Chat = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Report (JSON); archives and probes go beside it."),
    ] = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score every probe at every layer, beside its baselines, from one collection.

    The report has the held-out scores of every prompt and a list of what was controlled; the
    probes themselves are in REPORT.fitted.safetensors, for `probes apply`.

    \b
    Examples:
      circuit probes run -m tiny -o probes.json
      circuit probes run -m tiny --category syntactic --layers 0,-1 --no-stratigraphy
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.probes.run import Settings, run_probes

    done = run_probes(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code),
        datasets=datasets,
        strata=_strata(category),
        layers=layers,
        chat=chat,
        settings=Settings(threshold=threshold, seed=seed, random_weights=random_weights),
        out=output,
        force=force,
        track=console.track,
    )
    if done.reused:
        console.note("this run is there already: nothing was probed again (--force repeats it)")
    text = report_text(model, done.results, stratigraphy=stratigraphy)
    console.result(done.results, text, as_json=as_json)


@app.command()
def apply(
    model: Model,
    probes: Annotated[
        Path, typer.Option("--probes", help="Fitted probes: REPORT.fitted.safetensors.")
    ],
    prompt: Prompt,
    probe: Annotated[str | None, typer.Option("--probe", help="Which probe of the file.")] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Its layer.", show_default="where it scored best")
    ] = None,
    generate: Annotated[
        int, typer.Option("--generate", min=0, help="Tokens that the model writes on, read too.")
    ] = 0,
    chat: Chat = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> None:
    """Read a fitted probe token by token along a prompt, and along what the model writes.

    It was trained at the last token of a prompt; at others its probability is an extrapolation.

    \b
    Examples:
      circuit probes apply -m tiny --probes report.fitted.safetensors --probe question -p "is it"
    """
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.probes.saved import apply_probe
    from circuit.stages.rows.prompting import parse_prompts

    given = parse_prompts(prompt)
    results = apply_probe(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code),
        probes,
        given if isinstance(given, list) else given.texts,
        name=probe,
        layer=layer,
        chat=chat,
        generate=generate,
    )
    console.result(results, readings_text(results), as_json=as_json)


def _strata(category: str) -> list[str]:
    return [name.strip() for name in category.split(",") if name.strip()]
