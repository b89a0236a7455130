"""What a report says of ``probes.json``: each question's verdict in a sentence with the numbers that decide it."""

from collections.abc import Sequence

from circuit.artifacts.manifest.manifest import Manifest
from circuit.methods.probes.permutation import LEVEL
from circuit.methods.probes.verdict import DECODABLE, NOT_DECODABLE, SELECTIVE
from circuit.present.numbers import (
    STRENGTH,
    Record,
    counted,
    emergence_text,
    interval,
    layer_text,
    listed,
    p_text,
    size,
)
from circuit.stages.figures.reports import probes_picture, stratigraphy_picture
from circuit.stages.report.page import Finding, Section, Table
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_GROUPS

# ``known``: the baselines that were run; ``beneath``: those of them that have seen tokens only.
MEANING = {
    "selective": "Readable from the layers, and above {known} and the control task.",
    "decodable": "Readable from the layers, and above {known}, but not shown to be above the control task: a probe of this kind may learn "
    "arbitrary labels as well.",
    "tokens": "Readable, but not shown to be above {beneath}: nothing shows that training put it there.",
    "surface": "Readable, but no layer is shown to be above the words, their neighbours or the surface of the text itself.",
    "unresolved": "Readable, but not shown to be above a baseline (one of {known}) that is not above chance itself: it explains nothing, and "
    "more groups would tell.",
    "not decodable": "Not shown to be readable at any layer. That is not evidence of absence.",
    "few groups": f"Under {MIN_GROUPS} groups, or {MIN_CLASS_GROUPS} of a class, nothing is claimed.",
}
BASELINES = {
    "words": "the words",
    "word_pairs": "pairs of neighbouring words",
    "surface": "the surface of the text",
    "embed": "the token's own embedding",
    "random": "a model with random weights",
}


def section(manifest: Manifest) -> Section:
    """Findings, figures, tables and checklist of a battery."""
    results = manifest.results
    probes = list(results["probes"].values())
    return Section(
        _lead(results, probes),
        [_finding(probe, len(probes)) for probe in probes],
        [stratigraphy_picture(results), probes_picture(results)],
        [_scores(results, probes), _where(probes)],
        [(each["item"], each["controlled"], each["detail"]) for each in results["checklist"]],
    )


def _lead(results: Record, probes: Sequence[Record]) -> str:
    verdicts = [probe["emergence"]["verdict"] for probe in probes]
    counts = [f"{verdicts.count(name)} {name}" for name in MEANING if verdicts.count(name)]
    readable = [probe for probe in probes if STRENGTH.get(probe["emergence"]["verdict"])]
    held = sum(map(_holds, readable))
    corrected = f" {held} of the {len(readable)} that are readable remain after correction for {len(probes)} questions (Holm, p at most {LEVEL})."
    return (
        f"{counted(len(probes), 'question')} put to {results['model']} ({len(results['layers'])} of its {results['n_layers']} layers): "
        f"{listed(counts)}.{corrected if readable else ''}"
    )


def _holds(probe: Record) -> bool:
    return probe["p_battery"] is not None and probe["p_battery"] <= LEVEL


def _finding(probe: Record, n_probes: int) -> Finding:
    found = probe["emergence"]
    word = found["verdict"]
    layer = found["best_layer"] if found["layer"] is None else found["layer"]
    entry = probe["layers"][str(layer)]
    chosen = "where it emerges" if found["layer"] is not None else "the best layer, so optimistic"
    many = "" if len(probe["layers"]) == 1 else f" ({chosen})"
    sentences = [
        f"{probe['question'] or 'A probe'} Held-out AUROC {interval(entry['auroc'])} at L{layer}{many}, {size(probe)}, "
        f"p over all layers {p_text(entry['p_any'])}; beside it {_beside(probe, entry)}.",
        _meaning(word, probe, entry),
    ]
    if word == NOT_DECODABLE and entry["p_any"] is not None and entry["p_any"] <= LEVEL:
        sentences.append(
            "The permutation test alone would say so, but the interval over groups reaches chance."
        )
    # Beside the baselines of its own layer something may emerge that others explain: the verdict wins.
    if word in (DECODABLE, SELECTIVE):
        sentences.append(emergence_text(found["layer"], found))
    if STRENGTH.get(word) and not _holds(probe):
        p = p_text(probe["p_battery"])
        sentences.append(f"It does not survive the correction for {n_probes} probes (p {p}).")
    sentences += [f"{flag[0].upper()}{flag[1:]}." for flag in probe["flags"]]
    strength = STRENGTH.get(word, 0)
    return Finding(
        probe["name"], word, strength if _holds(probe) else min(strength, 1), " ".join(sentences)
    )


def _meaning(word: str, probe: Record, entry: Record) -> str:
    """Say what a verdict means beside the baselines that were run, and no other."""
    run = [*probe["baselines"], *(["random"] if entry["random_weights"] is not None else [])]
    beneath = [BASELINES[name] for name in run if name in {"embed", "random"}]
    known = ", ".join(BASELINES[name] for name in run)
    return MEANING[word].format(known=known, beneath=" or ".join(beneath))


def _beside(probe: Record, entry: Record) -> str:
    found = {name: each["auroc"] for name, each in probe["baselines"].items()}
    found["random weights"] = entry["random_weights"]
    found["control task"] = entry["control"]["auroc"]
    return listed(
        [
            f"{name} {'not run' if score is None else f'{score[0]:.2f}'}"
            for name, score in found.items()
        ]
    )


def _scores(results: Record, probes: Sequence[Record]) -> Table:
    layers = [str(layer) for layer in results["layers"]]
    rows = [
        [
            probe["name"],
            *(_cell(each) for each in probe["baselines"].values()),
            _random(probe),
            *(_cell(probe["layers"][layer]) for layer in layers),
        ]
        for probe in probes
    ]
    note = (
        "Held-out AUROC. A star: the 95 % interval lies above 0.5, p over all layers is at most 0.05, 10 groups or more, 5 of each class. "
        f"Words and surface use no model; random: {_random_note(results)}."
    )
    columns = [*probes[0]["baselines"], "random", *(f"L{layer}" for layer in layers)]
    return Table("Probes by layer", ["probe", *columns], rows, note)


def _random_note(results: Record) -> str:
    return "not run" if results["random_weights"] is None else "the best layer with random weights"


def _cell(entry: Record) -> str:
    return f"{entry['auroc'][0]:.2f}{'*' if entry['significant'] else ''}"


def _random(probe: Record) -> str:
    found = [entry["random_weights"] for entry in probe["layers"].values()]
    return "–" if None in found else f"{max(value for value, _, _ in found):.2f}"


def _where(probes: Sequence[Record]) -> Table:
    rows = [
        [
            probe["name"],
            probe["category"],
            probe["emergence"]["verdict"],
            *(layer_text(probe["emergence"][key]) for key in ("layer", "saturation_layer")),
            layer_text(probe["emergence"]["threshold_layer"]),
            interval(_best(probe)["auroc"]),
            interval(_best(probe)["control"]["auroc"]),
            p_text(probe["p_battery"]),
            str(probe["n"]),
            str(probe["n_groups"]),
        ]
        for probe in probes
    ]
    header = ["probe", "stratum", "verdict", "emerges", "saturates", "threshold", "best layer"]
    header += ["control task", "p (Holm)", "n", "groups"]
    note = "Threshold: the first layer whose AUROC reaches it, whatever its uncertainty; it decides nothing."
    return Table("Verdicts", header, rows, note)


def _best(probe: Record) -> Record:
    found: Record = probe["layers"][str(probe["emergence"]["best_layer"])]
    return found
