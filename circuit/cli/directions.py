"""``circuit directions``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.agreement_text import agreement
from circuit.cli.archive_options import Archive, Folds, Labels, Layers, Position, Site
from circuit.cli.options import Force, Json, Seed

LINE = "=" * 70
WIDEST = 12  # directions whose cosines fit in a printed matrix
Record = dict[str, Any]


def directions(
    activations: Archive,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Stem of the archive and its manifest.")
    ],
    layers: Layers = "all",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="mean_diff, pca, lda, logistic, mean_centered, single; controls: random, random_within, shuffled.",
        ),
    ] = "mean_diff",
    per_category: Annotated[
        bool, typer.Option("--per-category", help="Also each category against the others.")
    ] = False,
    per_tool: Annotated[
        bool, typer.Option("--per-tool", help="Also each tool against the other tools.")
    ] = False,
    positive: Annotated[
        str | None, typer.Option("--positive", help="Label to point to [default: the second].")
    ] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", help="Label to point from [default: the others].")
    ] = None,
    labels: Labels = "prompts",
    site: Site = None,
    position: Position = None,
    folds: Folds = 5,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit the direction between two labels at each layer and score it on held-out prompts.

    Every score is cross-fitted: the direction that scores a prompt was fitted without its group
    (template). The layer marked * is the best; its score as a choice is nested.

    \b
    Examples:
      circuit directions -a activations.safetensors -o directions
      circuit directions -a activations.safetensors -o tools --layer 50% --per-tool --method lda
    """
    from circuit.stages.directions import Choices
    from circuit.stages.directions import directions as run

    contrasts = (layers, method, per_category, per_tool, positive, negative)
    choices = Choices(*contrasts, site, position, folds, seed, labels=labels)
    results, reused = run(
        activations, output, choices, force=force, note=console.note, track=console.track
    )
    if reused:
        console.note("this run is there already: nothing was fitted again (--force repeats it)")
    saved = output.with_name(output.name.removesuffix(".safetensors") + ".safetensors")
    console.result(results, f"{_text(results)}\n\nSaved to: {saved}", as_json=as_json)


def _text(results: Record) -> str:
    found = {(d["name"], d["layer"]): d for d in results["directions"]}
    best = results["best"]["layer"]
    main = found[results["label_direction"], best]
    lines = [_title(main), *agreement(results["labels"])]
    lines += [*_layer_table(results), "", *_best(results)]
    for kind in ("category", "tool"):
        chosen = [
            d for (name, at), d in found.items() if at == best and name.startswith(f"{kind}:")
        ]
        if chosen:
            lines += ["", *_per(kind, chosen, best)]
    return "\n".join([*lines, "", *_orthogonality(results)])


def _title(main: Record) -> str:
    name = f"{main['positive_label'].capitalize()}-mode direction"
    towards = f"{main['negative_label']} -> {main['positive_label']}"
    return f"{LINE}\n{name} ({towards}, {main['method']}, {main['site']})\n{LINE}"


def _layer_table(results: Record) -> list[str]:
    header = ["Layer", "AUROC", "95% interval", "shuffled", "d'", "split-half cos", "norm"]
    rows = []
    for each in results["layers"]:
        mark = "*" if each["layer"] == results["best"]["layer"] else ""
        value, low, high = each["auroc"]
        rows.append(
            [
                f"{each['layer']}{mark}",
                f"{value:.3f}",
                f"{low:.2f}-{high:.2f}",
                f"{each['shuffled'][0]:.2f} ({each['shuffled'][1]:.2f}-{each['shuffled'][2]:.2f})",
                _number(each["d_prime"]),
                _number(each["split_half_cosine"]),
                f"{each['norm']:.3g}",
            ]
        )
    first = results["layers"][0]
    paired = ", paired" if first["paired"] else ""
    counted = f"n = {first['n']} in {first['n_groups']} groups, {first['n_folds']} folds{paired}"
    return [console.table(header, rows), f"({counted}; norm: distance of the class means)"]


def _number(value: float | list[float] | None) -> str:
    """Two digits of a number, or of an estimate without its interval."""
    if value is None:
        return "-"
    return f"{value[0] if isinstance(value, list) else value:.2f}"


def _best(results: Record) -> list[str]:
    best = results["best"]
    if best["auroc"] is None:
        return [f"Layer: {best['layer']}"]
    value, low, high = best["auroc"]
    by_fold = ", ".join(map(str, best["chosen_by_fold"]))
    return [
        f"Best layer: {best['layer']} (chosen on the training prompts of each fold: {by_fold})",
        f"  Held-out AUROC of choosing: {value:.3f} [{low:.2f}, {high:.2f}]",
    ]


def _per(kind: str, chosen: list[Record], layer: int) -> list[str]:
    title = {"category": "Per-category", "tool": "Per-tool"}[kind]
    plural = {"category": "categories", "tool": "tools"}[kind]
    header = [kind, "AUROC", "95% interval", "shuffled", "d'", "split-half cos"]
    rows = [
        [
            each["positive_label"],
            f"{each['quality']['auroc'][0]:.3f}",
            f"{each['quality']['auroc'][1]:.2f}-{each['quality']['auroc'][2]:.2f}",
            f"{each['quality']['shuffled'][0]:.2f}",
            _number(each["quality"]["d_prime"]),
            _number(each["quality"]["split_half_cosine"]),
        ]
        for each in chosen
    ]
    heading = f"{title} directions ({len(chosen)} {plural}, each against the others, L{layer}):"
    return [heading, console.table(header, rows)]


def _orthogonality(results: Record) -> list[str]:
    chance = f"random directions: |cos| {results['random_cosine']:.2f}"
    here = next(c for c in results["cosines"] if c["layer"] == results["best"]["layer"])
    if len(here["names"]) > 1:
        title, names, matrix = f"L{here['layer']}", here["names"], here["matrix"]
    elif len(results["layers"]) > 1:
        across = results["across_layers"]
        title, matrix = "between layers", across["matrix"]
        names = [f"L{layer}" for layer in across["layers"]]
    else:
        return [f"One direction; {chance}"]
    heading = f"Orthogonality check (cosine similarities, {title}; {chance}):"
    return [heading, _matrix(names, matrix) if len(names) <= WIDEST else _strongest(names, matrix)]


def _matrix(names: list[str], matrix: list[list[float]]) -> str:
    header = ["", *(str(i) for i in range(len(names)))]
    rows = [
        [f"{i} {name}", *(f"{value:.2f}" for value in row)]
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    return console.table(header, rows)


def _strongest(names: list[str], matrix: list[list[float]]) -> str:
    """List the pairs that are farthest from orthogonal, where the matrix is too wide to print."""
    pairs = [(matrix[i][j], i, j) for i in range(len(names)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    rows = [[f"{names[j]}, {names[i]}", f"{value:.2f}"] for value, i, j in pairs[:WIDEST]]
    rest = f"({len(names)} directions: the {len(rows)} strongest of {len(pairs)} pairs; all with --json)"
    return f"{console.table(['pair', 'cosine'], rows)}\n{rest}"
