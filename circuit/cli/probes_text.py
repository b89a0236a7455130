"""What ``circuit probes`` prints: scores, the stratigraphy in order of depth, the checklist, and readings along tokens."""

from typing import Any

from circuit.cli import console

Record = dict[str, Any]
BAR = 20  # characters of a probability of 1


def report_text(model: str, results: Record, *, stratigraphy: bool) -> str:
    """Lay out a report of ``probes run``."""
    parts = [_probe(name, probe) for name, probe in results["probes"].items()]
    parts.append(_table(results))
    if stratigraphy:
        parts += [_stratigraphy(model, results), _checklist(results)]
    return "\n\n".join(parts)


def _probe(name: str, probe: Record) -> str:
    head = f"Probing: {name} ({probe['category']})"
    size = f"  {probe['n']} prompts in {probe['n_groups']} groups, {probe['n_folds']} folds"
    beside = [f"  {key:>7}: {_score(found)}" for key, found in probe["baselines"].items()]
    layers = [f"  L{layer:>2}: {_layer(found)}" for layer, found in probe["layers"].items()]
    wrong = [f"  ! {flag}" for flag in probe["flags"]]
    return "\n".join([head, size, *wrong, *beside, *layers])


def _score(found: Record) -> str:
    value, low, high = found["auroc"]
    star = "*" if found["significant"] else " "
    return f"{value:.3f}{star} [{low:.2f}, {high:.2f}]"


def _layer(found: Record) -> str:
    """One layer with what stands beside it."""
    p = "-" if found["p_any"] is None else f"{found['p_any']:.3f}"
    random = "" if found["random_weights"] is None else f"  random {found['random_weights'][0]:.2f}"
    return (
        f"{_score(found)}  p {p}  control {found['control']['auroc'][0]:.2f}{random}  "
        f"calibration error {found['calibration_error'][0]:.2f}"
    )


def _table(results: Record) -> str:
    first = next(iter(results["probes"].values()))
    layers = [f"L{k}" for k in results["layers"]]
    header = ["probe", *(n.replace("_", " ") for n in first["baselines"]), "random", *layers]
    rows = [
        [
            name,
            *(_cell(found) for found in probe["baselines"].values()),
            _random(probe),
            *(_cell(found) for found in probe["layers"].values()),
        ]
        for name, probe in results["probes"].items()
    ]
    return "\n".join(
        [
            "PROBE ACCURACY BY LAYER",
            f"{results['score']}; words, word pairs and surface use no model; random: the best layer with random weights",
            "* the 95 % interval lies above 0.5, p over all layers is at most 0.05, 10 groups or more",
            console.table(header, rows),
            "p, above and for the stars: permutation test of a ridge probe on the same folds, not of the AUROC printed",
        ]
    )


def _cell(found: Record) -> str:
    return f"{found['auroc'][0]:.2f}{'*' if found['significant'] else ' '}"


def _random(probe: Record) -> str:
    found = [entry["random_weights"] for entry in probe["layers"].values()]
    return "-" if None in found else f"{max(value for value, _, _ in found):.2f} "


def _stratigraphy(model: str, results: Record) -> str:
    lines = [
        "COMPUTATIONAL STRATIGRAPHY",
        f"Model: {model} ({results['n_layers']} layers)",
        f"Threshold: {results['threshold']}",
        "L: first layer above every baseline, and the next two as well [90 % of resamples]",
    ]
    probes = results["probes"].values()
    for category in dict.fromkeys(probe["category"] for probe in probes):
        lines += ["", category.upper()]
        members = [probe for probe in probes if probe["category"] == category]
        lines += [_stratum(probe) for probe in sorted(members, key=_place)]
    return "\n".join(lines)


def _place(probe: Record) -> tuple[bool, int]:
    layer = probe["emergence"]["layer"]
    return layer is None, layer or 0


def _stratum(probe: Record) -> str:
    found = probe["emergence"]
    where = "Never" if found["layer"] is None else f"L{found['layer']}"
    if found["layer"] is not None:
        where += f" [{_end(found['interval_90'][0])}, {_end(found['interval_90'][1])}]"
    crossed = found["threshold_layer"]
    notes = [found["verdict"], f"threshold at {'no layer' if crossed is None else f'L{crossed}'}"]
    if found["layer"] is not None:
        notes.append(f"saturates at L{found['saturation_layer']}")
    notes += ["already in the tokens"] if found["in_tokens"] else []
    notes += ["on the surface of the text"] if found["on_surface"] else []
    return f"  {where:<14}: {probe['name']:<20} {probe['question'] or ''} ({'; '.join(notes)})"


def _end(layer: int | None) -> str:
    return "never" if layer is None else f"L{layer}"


def _checklist(results: Record) -> str:
    """List what was controlled and what was not."""
    lines = [
        f"  [{'x' if item['controlled'] else ' '}] {item['item']}: {item['detail']}"
        for item in results["checklist"]
    ]
    return "\n".join(["WHAT WAS CONTROLLED", *lines])


def readings_text(results: Record) -> str:
    """Lay out a probe's probabilities along the tokens."""
    classes, quality = results["classes"], results["quality"]
    shown = len(classes) - 1 if len(classes) == 2 else None
    held_out = "" if not quality else f", held-out AUROC {_interval(quality['auroc'])}"
    head = f"Probe: {results['probe']} at L{results['layer']}{held_out}"
    what = f"p({classes[1]})" if shown is not None else "the likeliest class"
    parts = [f"{head}\nShown: {what}"]
    for reading in results["readings"]:
        lines = [f"Prompt: {reading['prompt']}"]
        for k, (token, p) in enumerate(
            zip(reading["tokens"], reading["probabilities"], strict=True)
        ):
            at = shown if shown is not None else p.index(max(p))
            mark = "+" if k >= reading["generated_from"] else " "
            name = "" if shown is not None else f"  {classes[at]}"
            lines.append(f" {mark}{p[at]:.3f} {'#' * round(BAR * p[at]):<{BAR}} {token!r}{name}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _interval(estimate: list[float]) -> str:
    return f"{estimate[0]:.3f} [{estimate[1]:.2f}, {estimate[2]:.2f}]"
