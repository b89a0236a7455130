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
    return "\n".join([head, size, *wrong, *beside, *layers, *_choosing(probe), *_bits(probe)])


def _choosing(probe: Record) -> list[str]:
    """The score of the best layer, chosen without the rows that it is scored on."""
    found = probe["choosing"]
    if found is None:
        return []
    layers = ", ".join(f"L{layer}" for layer in sorted(set(found["chosen_by_fold"])))
    return [f"  choosing the layer inside the folds ({layers}): {_interval(found['auroc'])}"]


def _bits(probe: Record) -> list[str]:
    """The description length of the labels, where there are prompts enough for one."""
    found = probe["bits"]
    if found is None:
        return []
    (value, low, high), among = found["compression"], len(probe["layers"])
    chosen = f" (the best of {among}, optimistic)" if among > 1 else ""
    return [
        f"  bits: {found['bits']:.0f} for the labels given L{found['layer']}{chosen}, {found['uniform_bits']:.0f} without; "
        f"compression {value:.2f} [{low:.2f}, {high:.2f}], 1 is nothing learned"
    ]


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
            "* the 95 % interval lies above 0.5, p over all layers is at most 0.05, 10 groups or more, 5 of each class",
            console.table(header, rows),
            "p, above and for the stars: permutation test of a ridge probe on the same folds, not of the AUROC printed",
            *_no_bits(results),
        ]
    )


def _no_bits(results: Record) -> list[str]:
    """Say why probes have no description length."""
    missing = [probe for probe in results["probes"].values() if probe["bits"] is None]
    if not missing:
        return []
    which = (
        "no probe here has" if len(missing) == len(results["probes"]) else "some probes have not"
    )
    return [
        f"the description length of the labels (bits) needs {results['bits_from_prompts']} prompts, which {which}: "
        "with fewer even a clear answer compresses them hardly at all"
    ]


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
    classes = results["classes"]
    shown = len(classes) - 1 if len(classes) == 2 else None
    what = f"p({classes[1]})" if shown is not None else "the likeliest class"
    parts = ["\n".join([*_read_out(results), f"Shown: {what}"])]
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


def _read_out(results: Record) -> list[str]:
    """What the probe is worth, and what has to be known before its readings are."""
    score, among = results["quality"].get("auroc"), results["best_of_layers"]
    held_out = "" if score is None else f", held-out AUROC {_interval(score)}"
    chosen = f" (best of {among} layers, optimistic)" if among else ""
    verdict = results["verdict"]
    return [
        f"Probe: {results['probe']} at L{results['layer']}{held_out}{chosen if held_out else ''}",
        *([f"Verdict: {verdict}"] if verdict else []),
        *(f"! {note}" for note in results["notes"]),
        f"Trained and scored at {results['trained_at']}: at other tokens this is an extrapolation",
    ]


def _interval(estimate: list[float]) -> str:
    return f"{estimate[0]:.3f} [{estimate[1]:.2f}, {estimate[2]:.2f}]"
