"""``circuit analyze``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.agreement_text import agreement
from circuit.cli.archive_options import Archive, Folds, Labels, Layers, Position, Site
from circuit.cli.options import Force, Json, Seed

LINE = "=" * 70
Record = dict[str, Any]


def analyze(
    activations: Archive,
    layers: Layers = "all",
    labels: Labels = "prompts",
    site: Site = None,
    position: Position = None,
    umap: Annotated[
        bool, typer.Option("--umap", help="Also lay the prompts out by UMAP; kept in the output.")
    ] = False,
    folds: Folds = 5,
    threshold: Annotated[
        float, typer.Option("--threshold", help="AUROC whose first crossing is reported.")
    ] = 0.75,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write everything to this JSON file.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure each layer: its geometry, and what a probe reads from it on held-out prompts.

    Probes are cross-validated with whole groups (templates) held out. Intervals are 95 % and
    count groups, not prompts; beside each score stands what shuffled labels reach.

    \b
    Examples:
      circuit analyze -a activations.safetensors
      circuit analyze -a activations.safetensors --layers 0,-1 --umap -o layers.json
    """
    from circuit.stages.analyze import analyze as run

    results, reused = run(
        activations,
        output,
        layers=layers,
        site=site,
        position=position,
        umap=umap,
        folds=folds,
        seed=seed,
        threshold=threshold,
        labels=labels,
        force=force,
        note=console.note,
        track=console.track,
    )
    if reused:
        console.note("this run is there already: nothing was computed again (--force repeats it)")
    text = _text(results) + (f"\n\nSaved to: {output}" if output else "")
    console.result(results, text, as_json=as_json)


def _text(results: Record) -> str:
    lines = [
        f"Model: {results['model']} ({results['n_layers']} layers, d_model={results['d_model']})",
        f"Prompts: {results['n_prompts']}",
        *agreement(results["labels"]),
        *(_question(name, q) for name, q in results["questions"].items()),
    ]
    for entry in results["layers"]:
        lines += ["", *_layer(entry, results["questions"])]
    for curves in _by_place(results["curves"]):
        lines += ["", *_comparison(results, curves)]
    return "\n".join(lines)


def _question(name: str, question: Record) -> str:
    classes = ", ".join(f"{c['name']} {c['n']}" for c in question["classes"])
    return f"  {name}: {classes} (n = {question['n']} in {question['n_groups']} groups)"


def _layer(entry: Record, questions: Record) -> list[str]:
    shape, pca = entry["geometry"], entry["pca"]["parameters"]["variance"]
    lines = [
        f"{_place(entry)} layer {entry['layer']}",
        f"  PCA: dim@90%={shape['dim_90']}, dim@95%={shape['dim_95']} of at most "
        f"{shape['max_dim']}, var[0]={pca[0]:.1%}, participation ratio "
        f"{shape['participation_ratio']:.1f}"
        + (f", TwoNN {shape['two_nn']:.1f}" if shape["two_nn"] else ""),
    ]
    for name, probe in entry["probes"].items():
        lines.append(f"  {_title(name, questions[name])}: {_probe(probe)}")
        lines.append(f"    {_separation(entry['separation'][name])}")
    return lines


def _title(name: str, question: Record) -> str:
    binary = name == "label" and len(question["classes"]) == 2
    return "Binary probe" if binary else f"{name.capitalize()} probe"


def _probe(probe: Record) -> str:
    balanced = probe["balanced_accuracy"]
    return (
        f"AUROC {_interval(probe['auroc'])}, shuffled {_interval(probe['shuffled'])}, "
        f"balanced accuracy {balanced[0]:.3f} (chance {probe['chance_balanced_accuracy']:.2f}), "
        f"accuracy {probe['accuracy']:.3f} (majority {probe['majority']:.2f})"
    )


def _separation(separation: Record) -> str:
    return (
        f"silhouette {separation['silhouette']:.3f} (chance "
        f"{separation['silhouette_chance'][0]:.3f}), Fisher ratio {separation['fisher_ratio']:.3f} "
        f"(chance {separation['fisher_ratio_chance'][0]:.3f}), k-means ARI "
        f"{separation['kmeans_adjusted_rand']:.2f}"
    )


def _interval(estimate: list[float]) -> str:
    return f"{estimate[0]:.3f} [{estimate[1]:.2f}, {estimate[2]:.2f}]"


def _place(entry: Record) -> str:
    return f"{entry['site']}@{entry['position']}"


def _by_place(curves: list[Record]) -> list[list[Record]]:
    places: dict[str, list[Record]] = {}
    for curve in curves:
        places.setdefault(_place(curve), []).append(curve)
    return list(places.values())


def _comparison(results: Record, curves: list[Record]) -> list[str]:
    """Compare the layers of one site and position."""
    place, names = _place(curves[0]), [curve["question"] for curve in curves]
    entries = [entry for entry in results["layers"] if _place(entry) == place]
    header = ["Layer", "Dim90", "Dim95"]
    for name in names:
        header += [f"{name} AUROC", "95% interval", "shuffled", "bal. acc"]
    rows = [_row(entry, names) for entry in entries]
    lines = [LINE, f"LAYER GEOMETRY COMPARISON ({place})", LINE, console.table(header, rows)]
    return [*lines, "", *map(_emergence, curves)] if len(entries) > 1 else lines


def _row(entry: Record, names: list[str]) -> list[str]:
    shape = entry["geometry"]
    row = [str(entry["layer"]), str(shape["dim_90"]), str(shape["dim_95"])]
    for name in names:
        probe = entry["probes"][name]
        value, low, high = probe["auroc"]
        row += [
            f"{value:.3f}",
            f"{low:.2f}-{high:.2f}",
            f"{probe['shuffled'][0]:.2f}",
            f"{probe['balanced_accuracy'][0]:.3f}",
        ]
    return row


def _emergence(curve: Record) -> str:
    layer, crossing = curve["emergence_layer"], curve["threshold_layer"]
    found = "not decodable at any measured layer" if layer is None else f"decodable from L{layer}"
    first = "never" if crossing is None else f"first at L{crossing}"
    return f"{curve['question']}: {found}; AUROC >= {curve['threshold']:g} {first}"
