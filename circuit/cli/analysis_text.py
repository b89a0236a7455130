"""What ``circuit analyze`` prints: each layer, the layers side by side, and a comparison of two archives."""

from typing import Any

from circuit.cli import console
from circuit.cli.agreement_text import agreement

LINE = "=" * 70
P_IS_OF = (
    "(p: permutation test of a ridge probe on the same folds, not of the AUROC printed beside it)"
)
Record = dict[str, Any]


def analysis_text(results: Record) -> str:
    """Lay out the results of ``analyze``."""
    lines = [
        f"Model: {results['model']} ({results['n_layers']} layers, d_model={results['d_model']})",
        f"Prompts: {results['n_prompts']}",
        *agreement(results["labels"]),
        *(_question(name, q) for name, q in results["questions"].items()),
        *_blind(results["blind"]),
    ]
    for entry in results["layers"]:
        lines += ["", *_layer(entry, results["questions"])]
    for curves in _by_place(results["curves"]):
        lines += ["", *_layers(results, curves)]
    for found in results["places"]:
        lines += ["", *_sites(found)]
    if results["comparison"] is not None:
        lines += ["", *_comparison(results["comparison"])]
    return "\n".join(lines)


def _question(name: str, question: Record) -> str:
    classes = ", ".join(f"{c['name']} {c['n']}" for c in question["classes"])
    beside = ", ".join(
        f"{key} {found['auroc'][0]:.2f}{_star(found)}"
        for key, found in question["baselines"].items()
    )
    size = f"n = {question['n']} in {question['n_groups']} groups"
    return f"  {name}: {classes} ({size}; without the model's layers: {beside})"


def _blind(places: list[str]) -> list[str]:
    """Say once where nothing can be told apart."""
    if not places:
        return []
    return [
        f"All prompts have the same activations at {', '.join(places)}: AUROC 0.5 there is no finding"
    ]


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
        f"AUROC {_interval(probe['auroc'])}{_star(probe)} (p {probe['p_any']:.3f}), balanced accuracy "
        f"{balanced[0]:.3f} (chance {probe['chance_balanced_accuracy']:.2f}), accuracy "
        f"{probe['accuracy']:.3f} (majority {probe['majority']:.2f}), calibration error "
        f"{probe['calibration_error'][0]:.2f}"
    )


def _star(probe: Record) -> str:
    return "*" if probe["significant"] else ""


def _separation(separation: Record) -> str:
    return (
        f"silhouette {separation['silhouette']:.3f} (chance "
        f"{separation['silhouette_chance'][0]:.3f}), Fisher ratio {separation['fisher_ratio']:.3f} "
        f"(chance {separation['fisher_ratio_chance'][0]:.3f}), k-means ARI "
        f"{separation['kmeans_adjusted_rand']:.2f}"
    )


def _interval(estimate: list[float]) -> str:
    return f"{estimate[0]:z.3f} [{estimate[1]:z.2f}, {estimate[2]:z.2f}]"


def _place(entry: Record) -> str:
    return f"{entry['site']}@{entry['position']}"


def _by_place(curves: list[Record]) -> list[list[Record]]:
    places: dict[str, list[Record]] = {}
    for curve in curves:
        places.setdefault(_place(curve), []).append(curve)
    return list(places.values())


def _layers(results: Record, curves: list[Record]) -> list[str]:
    """Compare the layers of one site and position."""
    place, names = _place(curves[0]), [curve["question"] for curve in curves]
    entries = [entry for entry in results["layers"] if _place(entry) == place]
    header = ["Layer", "Dim90", "Dim95"]
    for name in names:
        header += [f"{name} AUROC", "95% interval", "p", "bal. acc"]
    rows = [_row(entry, names) for entry in entries]
    lines = [LINE, f"LAYER GEOMETRY COMPARISON ({place})", LINE, console.table(header, rows)]
    lines.append(P_IS_OF)
    return [*lines, "", *map(_emergence, curves)] if len(entries) > 1 else lines


def _row(entry: Record, names: list[str]) -> list[str]:
    shape = entry["geometry"]
    row = [str(entry["layer"]), str(shape["dim_90"]), str(shape["dim_95"])]
    for name in names:
        probe = entry["probes"][name]
        value, low, high = probe["auroc"]
        row += [
            f"{value:.3f}{_star(probe) or ' '}",
            f"{low:.2f}-{high:.2f}",
            f"{probe['p_any']:.3f}",
            f"{probe['balanced_accuracy'][0]:.3f}",
        ]
    return row


def _emergence(curve: Record) -> str:
    layer, crossing = curve["emergence_layer"], curve["threshold_layer"]
    found = f"{curve['question']}: {curve['verdict']}"
    if layer is not None:
        low, high = (_end(end) for end in curve["emergence"]["interval_90"])
        found += f"; emerges at L{layer} [{low}, {high}], saturates at L{curve['saturation_layer']}"
    first = "never" if crossing is None else f"first at L{crossing}"
    return f"{found}; AUROC >= {curve['threshold']:g} {first}"


def _sites(found: Record) -> list[str]:
    """Compare sites: of every two, the mean and the most similar pair of their layers."""
    sites = [name.rsplit(".", 1)[0] for name in found["names"]]
    kinds = list(dict.fromkeys(sites))
    rows = []
    for i, one in enumerate(kinds):
        for other in kinds[i + 1 :]:
            cells = [
                (value, found["names"][j], found["names"][k])
                for j, row in enumerate(found["cka"])
                for k, value in enumerate(row)
                if (sites[j], sites[k]) == (one, other) and value is not None
            ]
            rows.append([f"{one}, {other}", *_summary(cells)])
    heading = f"SIMILARITY OF SITES (linear CKA, {found['position']}; every pair of layers: --json, visualize --probes)"
    return [heading, console.table(["sites", "mean", "most", "where"], rows)]


def _summary(cells: list[tuple[float, str, str]]) -> list[str]:
    if not cells:
        return ["-", "-", "all rows are equal"]
    most, one, other = max(cells)
    mean = sum(value for value, _, _ in cells) / len(cells)
    return [f"{mean:z.2f}", f"{most:z.2f}", f"{one}, {other}"]


def _end(layer: int | None) -> str:
    return "never" if layer is None else f"L{layer}"


def _comparison(comparison: Record) -> list[str]:
    """How far each place moved, and what the probes of one archive read in the other."""
    header = ["place", "moved", "cosine", "CKA", "question", "a>a", "b>b", "a>b", "b>a", "lost"]
    rows = [row for entry in comparison["layers"] for row in _moved(entry)]
    return [
        LINE,
        f"COMPARED WITH {comparison['model']}",
        LINE,
        console.table(header, rows),
        "a is this archive, b the other; a>b: AUROC of probes of a read in b; lost: a>b - b>b, paired",
    ]


def _moved(entry: Record) -> list[list[str]]:
    place = f"{_place(entry)}.{entry['layer']}"
    cka = "-" if entry["cka"] is None else f"{entry['cka']:.3f}"
    first = [place, _value(entry["moved"]), _value(entry["cosine"]), cka]
    if entry["probes"] is None:
        return [[*first, "(other width)", *["-"] * 5]]
    return [
        [
            *(first if k == 0 else ["", "", "", ""]),
            name,
            *(f"{probe[key][0]:.3f}" for key in ("a_to_a", "b_to_b", "a_to_b", "b_to_a")),
            _interval(probe["lost_a"]),
        ]
        for k, (name, probe) in enumerate(entry["probes"].items())
    ]


def _value(estimate: list[float] | None) -> str:
    return "-" if estimate is None else f"{estimate[0]:.3f}"
