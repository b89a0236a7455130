"""What ``circuit directions`` prints: the quality of each direction, the layer, and the cosines between them."""

from typing import Any

from circuit.cli import console
from circuit.cli.agreement_text import agreement

LINE = "=" * 70
WIDEST = 12  # directions whose cosines fit in a printed matrix
Record = dict[str, Any]


def directions_text(results: Record) -> str:
    """Lay out the quality of every layer, of categories and tools at the best one, and the cosines."""
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
            lines += ["(the other layers: with --json)"] if len(results["layers"]) > 1 else []
    return "\n".join([*lines, "", *_orthogonality(results)])


def _title(main: Record) -> str:
    name = f"{main['positive_label'].capitalize()}-mode direction"
    towards = f"{main['negative_label']} -> {main['positive_label']}"
    return f"{LINE}\n{name} ({towards}, {main['method']}, {main['site']})\n{LINE}"


def _layer_table(results: Record) -> list[str]:
    paired = results["layers"][0]["pair_cosine"] is not None
    header = ["Layer", "AUROC", "95% interval", "p", "shuffled", "d'", "split-half cos"]
    header += ["pair cos", "norm"] if paired else ["norm"]
    rows = []
    for each in results["layers"]:
        mark = "*" if each["layer"] == results["best"]["layer"] else ""
        value, low, high = each["auroc"]
        rows.append(
            [
                f"{each['layer']}{mark}",
                f"{value:.3f}",
                f"{low:.2f}-{high:.2f}",
                "-" if each["p_any"] is None else f"{each['p_any']:.3f}",
                f"{each['shuffled'][0]:.2f} ({each['shuffled'][1]:.2f}-{each['shuffled'][2]:.2f})",
                _number(each["d_prime"]),
                _number(each["split_half_cosine"]),
                *([_number(each["pair_cosine"])] if paired else []),
                f"{each['norm']:.3g}",
            ]
        )
    first = results["layers"][0]
    sides = ", paired" if first["paired"] else ""
    counted = f"n = {first['n']} in {first['n_groups']} groups, {first['n_folds']} folds{sides}"
    meaning = "p: permuted labels, over all layers; norm: distance of the class means"
    return [console.table(header, rows), f"({counted}; {meaning})"]


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
    return [
        heading,
        matrix_text(names, matrix) if len(names) <= WIDEST else strongest_text(names, matrix),
    ]


def matrix_text(names: list[str], matrix: list[list[float]]) -> str:
    """Print a matrix with numbered columns."""
    header = ["", *(str(i) for i in range(len(names)))]
    rows = [
        [f"{i} {name}", *(f"{value:.2f}" for value in row)]
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    return console.table(header, rows)


def strongest_text(names: list[str], matrix: list[list[float]]) -> str:
    """List the pairs that are farthest from orthogonal, where the matrix is too wide to print."""
    pairs = [(matrix[i][j], i, j) for i in range(len(names)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    rows = [[f"{names[j]}, {names[i]}", f"{value:.2f}"] for value, i, j in pairs[:WIDEST]]
    rest = f"({len(names)} directions: the {len(rows)} strongest of {len(pairs)} pairs; all with --json)"
    return f"{console.table(['pair', 'cosine'], rows)}\n{rest}"
