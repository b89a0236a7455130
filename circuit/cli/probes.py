"""``circuit probes``: the battery of questions, and the layers at which a model can answer them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
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
)

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
    from circuit.stages import battery

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
    from circuit.stages import battery

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
    layers: Annotated[
        str, typer.Option("--layers", help="all | 0,4,8 | 8-13 | -1 | every:4 | 50%.")
    ] = "all",
    threshold: Annotated[
        float, typer.Option("--threshold", help="AUROC whose first crossing is reported.")
    ] = 0.75,
    stratigraphy: Annotated[
        bool, typer.Option("--stratigraphy/--no-stratigraphy", help="Show where each emerges.")
    ] = True,
    chat: Chat = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Report (JSON); the archives are written beside it."),
    ] = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score every probe at every layer, beside its baselines, from one collection.

    \b
    Examples:
      circuit probes run -m tiny -o probes.json
      circuit probes run -m tiny --category syntactic --layers 0,-1 --no-stratigraphy
    """
    from circuit.stages.probes import Settings, run_probes
    from circuit.stages.running import ModelOptions

    done = run_probes(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code),
        datasets=datasets,
        strata=_strata(category),
        layers=layers,
        chat=chat,
        settings=Settings(threshold=threshold, seed=seed),
        out=output,
        force=force,
        track=console.track,
    )
    if done.reused:
        console.note("this run is there already: nothing was probed again (--force repeats it)")
    console.result(
        done.results, _text(model, done.results, stratigraphy=stratigraphy), as_json=as_json
    )


def _strata(category: str) -> list[str]:
    return [name.strip() for name in category.split(",") if name.strip()]


def _text(model: str, results: dict[str, Any], *, stratigraphy: bool) -> str:
    parts = [_probe(name, probe) for name, probe in results["probes"].items()]
    parts.append(_table(results))
    if stratigraphy:
        parts.append(_stratigraphy(model, results))
    return "\n\n".join(parts)


def _probe(name: str, probe: dict[str, Any]) -> str:
    head = f"Probing: {name} ({probe['category']})"
    size = f"  {probe['n']} prompts in {probe['n_groups']} groups, {probe['n_folds']} folds"
    beside = [f"  {key:>7}: {_score(found)}" for key, found in probe["baselines"].items()]
    layers = [f"  L{layer:>2}: {_score(found)}" for layer, found in probe["layers"].items()]
    return "\n".join([head, size, *beside, *layers])


def _score(found: dict[str, Any]) -> str:
    value, low, high = found["auroc"]
    star = "*" if found["significant"] else " "
    return f"{value:.3f}{star} [{low:.2f}, {high:.2f}]  shuffled up to {found['shuffled'][2]:.2f}"


def _table(results: dict[str, Any]) -> str:
    header = ["probe", "words", "surface", "embed", *(f"L{layer}" for layer in results["layers"])]
    rows = [
        [
            name,
            *(_cell(found) for found in [*probe["baselines"].values(), *probe["layers"].values()]),
        ]
        for name, probe in results["probes"].items()
    ]
    return "\n".join(
        [
            "PROBE ACCURACY BY LAYER",
            f"{results['score']}; words and surface use no model",
            "* the 95 % interval lies above that of shuffled labels",
            console.table(header, rows),
        ]
    )


def _cell(found: dict[str, Any]) -> str:
    return f"{found['auroc'][0]:.2f}{'*' if found['significant'] else ' '}"


def _stratigraphy(model: str, results: dict[str, Any]) -> str:
    lines = [
        "COMPUTATIONAL STRATIGRAPHY",
        f"Model: {model} ({results['n_layers']} layers)",
        f"Threshold: {results['threshold']}",
        "L: first layer above every baseline, and the next two as well",
    ]
    probes = results["probes"].values()
    for category in dict.fromkeys(probe["category"] for probe in probes):
        lines += ["", category.upper()]
        members = [probe for probe in probes if probe["category"] == category]
        lines += [_stratum(probe) for probe in sorted(members, key=_place)]
    return "\n".join(lines)


def _place(probe: dict[str, Any]) -> tuple[bool, int]:
    layer = probe["emergence"]["layer"]
    return layer is None, layer or 0


def _stratum(probe: dict[str, Any]) -> str:
    found = probe["emergence"]
    where = "Never" if found["layer"] is None else f"L{found['layer']}"
    crossed = found["threshold_layer"]
    notes = [f"threshold at {'no layer' if crossed is None else f'L{crossed}'}"]
    notes += ["already in the tokens"] if found["in_tokens"] else []
    notes += ["on the surface of the text"] if found["on_surface"] else []
    return f"  {where:<6}: {probe['name']:<20} {probe['question'] or ''} ({'; '.join(notes)})"
