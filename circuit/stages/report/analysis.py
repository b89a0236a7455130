"""What a report says of ``analysis.json``: where labels can be read, the shape of the layers, and what another model moved."""

from collections.abc import Sequence

from circuit.artifacts.manifest.manifest import Manifest
from circuit.present.numbers import (
    STRENGTH,
    Record,
    counted,
    emergence_text,
    interval,
    listed,
    p_text,
    size,
)
from circuit.stages.analyze.run import entries_at
from circuit.stages.figures import archive as figures
from circuit.stages.figures.archive import Picture
from circuit.stages.report.comparison import compared
from circuit.stages.report.page import Finding, Section, Table

MEANING = {
    "decodable": "Readable from the layers and above the baselines that were measured; selectivity was not tested here (`probes run` does).",
    "tokens": "Readable, but not shown to be above the token's own embedding.",
    "surface": "Readable, but no layer is shown to be above the words, their neighbours or the surface of the text itself.",
    "unresolved": "Readable, but not shown to be above a baseline that is not above chance itself: it explains nothing, and more groups "
    "would tell.",
    "not decodable": "Not shown to be readable. That is not evidence of absence.",
    "few groups": "Too few groups: nothing is claimed.",
}


def section(manifest: Manifest) -> Section:
    """Findings, figures and tables of an analysis, and of its comparison where there is one."""
    results = manifest.results
    findings = [_finding(results, curve) for curve in results["curves"]]
    comparison = compared(results) if results["comparison"] is not None else None
    return Section(
        f"{results['model']}: {counted(results['n_prompts'], 'prompt')}, {counted(len(results['layers']), 'place')} (site, position and "
        f"layer) measured.{_blind(results)}" + (f" {comparison.lead}" if comparison else ""),
        [*(comparison.findings if comparison else ()), *findings],
        [*(comparison.pictures if comparison else ()), *_pictures(results)],
        [*(comparison.tables if comparison else ()), *_tables(results)],
        _checklist(results),
    )


def _blind(results: Record) -> str:
    if not results["blind"]:
        return ""
    return f" All prompts have the same activations at {listed(results['blind'])}: AUROC 0.5 there is no finding."


def _finding(results: Record, curve: Record) -> Finding:
    name, word = curve["question"], curve["verdict"]
    question = results["questions"][name]
    entries = entries_at(results, curve["site"], curve["position"])
    at = curve["emergence_layer"]
    entry = _best(entries, name) if at is None else next(e for e in entries if e["layer"] == at)
    probe = entry["probes"][name]
    chosen = "where it emerges" if at is not None else "the best layer, so optimistic"
    many = f" ({chosen})" if len(entries) > 1 else ""
    beside = [f"{key} {each['auroc'][0]:.2f}" for key, each in question["baselines"].items()]
    text = (
        f"{listed(question['classes_order'])}: held-out AUROC {interval(probe['auroc'])} at L{entry['layer']}{many}, {size(question)}, p over "
        f"the layers {p_text(probe['p_any'])}; beside it {listed(beside)}. {MEANING[word]}"
    )
    if STRENGTH.get(word):
        text += f" {emergence_text(at, curve['emergence'])}"
    text += "".join(f" {flag[0].upper()}{flag[1:]}." for flag in question["flags"])
    subject = f"{name} at {curve['site']}, {curve['position']}"
    return Finding(subject, word, STRENGTH.get(word, 0), text)


def _best(entries: Sequence[Record], name: str) -> Record:
    return max(entries, key=lambda entry: entry["probes"][name]["auroc"][0])


def _pictures(results: Record) -> list[Picture]:
    places = dict.fromkeys((each["site"], each["position"]) for each in results["curves"])
    drawn = []
    for place in places:
        entries = entries_at(results, *place)
        if len(entries) > 1 and results["questions"]:
            drawn.append(figures.probe_picture(results, entries, results["curves"][0]["threshold"]))
    drawn += [figures.similarity_picture(s) for s in results["similarity"] if s["cka"]]
    return drawn + [figures.sites_picture(found) for found in results["places"]]


def _tables(results: Record) -> list[Table]:
    places = dict.fromkeys((entry["site"], entry["position"]) for entry in results["layers"])
    return [_table(results, *place, folded=len(places) > 2) for place in places]


def _table(results: Record, site: str, position: str, *, folded: bool) -> Table:
    names = list(results["questions"])
    header = ["layer", "dim 90 %", "dim 95 %", "of"]
    for name in names:
        header += [f"{name} AUROC", "p", "bal. accuracy", "chance"]
    rows = [_row(entry, names) for entry in entries_at(results, site, position)]
    note = (
        "AUROC of probes on held-out groups with 95 % intervals; p over the layers; dim: components that hold 90 and 95 % of the variance, "
        "of how many. A star: interval above 0.5, p at most 0.05, 10 groups or more, 5 of each class."
    )
    return Table(f"Layers of {site}, {position}", header, rows, note, folded=folded)


def _row(entry: Record, names: Sequence[str]) -> list[str]:
    shape = entry["geometry"]
    row = [f"L{entry['layer']}", *(str(shape[key]) for key in ("dim_90", "dim_95", "max_dim"))]
    for name in names:
        probe = entry["probes"][name]
        star = "*" if probe["significant"] else ""
        row += [f"{interval(probe['auroc'])}{star}", p_text(probe["p_any"])]
        row += [f"{probe['balanced_accuracy'][0]:.2f}", f"{probe['chance_balanced_accuracy']:.2f}"]
    return row


def _checklist(results: Record) -> list[tuple[str, bool, str]]:
    known = [key for question in results["questions"].values() for key in question["baselines"]]
    sizes = [f"{name}: {size(question)}" for name, question in results["questions"].items()]
    return [
        ("rows and groups", True, "; ".join(sizes) or "no labels"),
        ("no group on both sides of a split", True, "folds keep groups and equal rows together"),
        ("several layers", True, "permutation with the largest of all layers of a place"),
        ("several sites, positions and questions", False, "each is tested by itself"),
        ("words and surface of the text", "words" in known, "a probe of the text alone"),
        ("embedding of the token", "embed" in known, "collect --sites embed,… provides it"),
        ("model with random weights, control task", False, "`probes run` has both"),
        ("use by the model", False, "readable is not used: steer along a direction"),
    ]
