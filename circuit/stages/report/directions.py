"""What a report says of ``directions.json``: how well one direction separates held-out prompts, and how firmly it is known."""

from collections.abc import Sequence

from circuit.artifacts.manifest.manifest import Manifest
from circuit.methods.probes.permutation import LEVEL
from circuit.methods.uncertainty.splits import enough_groups
from circuit.present.numbers import Record, counted, interval, p_text, size
from circuit.stages.figures import archive as figures
from circuit.stages.figures.archive import Picture
from circuit.stages.report.page import Finding, Section, Table
from circuit.values.thresholds import MIN_CLASS_GROUPS, MIN_GROUPS


def section(manifest: Manifest) -> Section:
    """Findings, figures and tables of the fitted directions; those of a single pair have no held-out score."""
    results = manifest.results
    if "best" not in results:
        names = list(dict.fromkeys(each["name"] for each in results["directions"]))
        vectors = counted(len(results["directions"]), "vector")
        text = "Kept for use, without a held-out score of its own in this file, so nothing is said of its quality here."
        shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        return Section(
            f"{vectors} that are not scored here.", [Finding(shown, "not measured", 0, text)]
        )
    return Section(
        f"{results['label_direction']} at {manifest.parameters['site']}, {manifest.parameters['position']}, by "
        f"{manifest.parameters['method']}; {counted(len(results['directions']), 'direction')} in all.",
        [_finding(results)],
        _pictures(results, manifest.parameters["site"]),
        [_layers(results), *_others(results)],
        _checklist(results),
    )


def _finding(results: Record) -> Finding:
    best = results["best"]
    entry = next(each for each in results["layers"] if each["layer"] == best["layer"])
    score = best["auroc"] or entry["auroc"]
    if best["auroc"] is not None:
        chosen = ", the layer chosen inside the folds"
    else:
        chosen = ", the best of those measured, so optimistic" if len(results["layers"]) > 1 else ""
    word, meaning = _verdict(entry, score)
    text = (
        f"separates held-out prompts with AUROC {interval(score)} (L{best['layer']}{chosen}; {size(entry)}), shuffled labels "
        f"{interval(entry['shuffled'])}, p over the layers {p_text(entry['p_any'])}. {meaning}"
    )
    if entry["split_half_cosine"] is not None:
        text += f" Fitted to halves of the groups, it has cosine {interval(entry['split_half_cosine'])} with itself."
    return Finding(results["label_direction"], word, int(word == "readable"), text)


def _verdict(entry: Record, score: Sequence[float]) -> tuple[str, str]:
    if not _enough(entry):
        return (
            "few groups",
            f"Under {MIN_GROUPS} groups, or {MIN_CLASS_GROUPS} of a class, nothing is claimed.",
        )
    if score[1] > 0.5 and entry["p_any"] is not None and entry["p_any"] <= LEVEL:
        return (
            "readable",
            "One direction tells them apart; the words and the surface of the text may do so as well (not compared here), and use is not shown.",
        )
    return "not readable", "Not shown to separate them. That is not evidence of absence."


def _pictures(results: Record, site: str) -> list[Picture]:
    best = results["best"]["layer"]
    drawn = [figures.quality_picture(results, site)] if len(results["layers"]) > 1 else []
    drawn.append(figures.histogram_picture(results, best))
    if len(results["layers"]) > 1 or len(results["cosines"][0]["names"]) > 1:
        drawn.append(figures.cosine_picture(results, best))
    if results["transfer"] is not None:
        drawn.append(figures.transfer_picture(results))
    return drawn


def _layers(results: Record) -> Table:
    header = ["layer", "AUROC", "shuffled", "p", "d′", "split-half cosine", "distance of means"]
    rows = [
        [f"L{each['layer']}", *_quality(each, each["p_any"]), f"{each['norm']:.3g}"]
        for each in results["layers"]
    ]
    note = f"Cross-fitted; p over the layers. Two random directions have a mean |cosine| of {results['random_cosine']:.2f}."
    return Table(f"{results['label_direction']} by layer", header, rows, note)


def _quality(found: Record, p: float | None) -> list[str]:
    cosine, d_prime = found["split_half_cosine"], found["d_prime"]
    return [
        interval(found["auroc"]),
        interval(found["shuffled"]),
        p_text(p),
        "–" if d_prime is None else f"{d_prime:.2f}",
        "–" if cosine is None else interval(cosine),
    ]


def _others(results: Record) -> list[Table]:
    """List the directions of categories and tools at the best layer."""
    best = results["best"]["layer"]
    others = [
        each
        for each in results["directions"]
        if each["layer"] == best and each["name"] != results["label_direction"]
    ]
    header = ["direction", "AUROC", "shuffled", "p", "d′", "split-half cosine"]
    rows = [[each["name"], *_quality(each["quality"], each["quality"]["p"])] for each in others]
    note = (
        "Each against the others of its kind; p of each by itself, not corrected for their number."
    )
    return [Table(f"Other directions at L{best}", header, rows, note)] if rows else []


def _enough(entry: Record) -> bool:
    return enough_groups(entry["n_groups"], entry["least_groups"])


def _checklist(results: Record) -> list[tuple[str, bool, str]]:
    entry, nested = results["layers"][0], results["best"]["auroc"] is not None
    several = len(results["layers"]) > 1
    return [
        ("rows and groups", _enough(entry), size(entry)),
        ("no group on both sides of a split", True, f"cross-fitted in {entry['n_folds']} folds"),
        (
            "choice of the layer",
            nested or not several,
            "inside the folds" if nested else "none, or on the scored rows",
        ),
        ("shuffled labels", True, f"{entry['n_shuffles']} permutations, the largest of all layers"),
        ("words and surface of the text", False, "`analyze` and `probes run` compare with them"),
        ("use by the model", False, "`steer` with random directions of the same norm tests it"),
    ]
